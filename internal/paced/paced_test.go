package paced_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"dipls/internal/paced"
)

func TestWriter(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	var got bytes.Buffer
	var told []int
	n, err := paced.Writer(&got, func() { told = append(told, got.Len()) }).Write(want)
	if n != len(want) || err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("wrote %d of %d bytes: %v", n, len(want), err)
	}
	before := 0
	for _, at := range told {
		if at <= before || at > before+16<<10 {
			t.Fatalf("progress is told at %v", told)
		}
		before = at
	}
	if before != len(want) {
		t.Errorf("progress is told at %v, not at the end, %d", told, len(want))
	}
}

// broken takes some bytes, and no more.
type broken int

func (b *broken) Write(p []byte) (int, error) {
	n := min(len(p), int(*b))
	*b -= broken(n)
	if n < len(p) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

func TestWriterToAReaderWhoGoes(t *testing.T) {
	w := broken(20_000)
	told := 0
	n, err := paced.Writer(&w, func() { told++ }).Write(make([]byte, 100_000))
	if n != 20_000 || !errors.Is(err, io.ErrClosedPipe) || told != 1 {
		t.Errorf("wrote %d bytes, told %d times: %v", n, told, err)
	}
}
