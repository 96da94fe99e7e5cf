package journal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// A run can be read while sections of its journal are removed.
func TestLimitWhileItIsRead(t *testing.T) {
	j := open(t, Options{})
	rj, err := j.Begin(Record{Run: "r1", Started: time.Now()}, 64<<10, Hooks{Failed: func(err error) { t.Error(err) }, Full: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	f := rj.Output(ranklist.Rank(0))
	write := func(from, to int) {
		for i := from; i < to; i++ {
			f.Print(event.StreamNames[i%2], fmt.Appendf(nil, "line %d\n", i))
		}
	}
	write(0, 3000)
	r, err := Read(rj.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	last, gaps, written := -1, 0, 3000
	for i := 0; ; i++ {
		ev, _, err := r.Next()
		if err != nil {
			break
		}
		switch ev := ev.(type) {
		case *event.Stream:
			for line := range strings.Lines(ev.Text) {
				var n int
				if _, err := fmt.Sscanf(line, "line %d\n", &n); err != nil {
					continue // cut by the end of what was written when it was read
				}
				if n <= last {
					t.Fatalf("line %d comes after line %d", n, last)
				}
				last = n
			}
		case *event.Log:
			gaps++
		}
		if i%500 == 499 && written < 20_000 {
			write(written, written+3000)
			written += 3000
		}
	}
	if gaps == 0 || last < 3000 {
		t.Errorf("read up to line %d of %d, with %d gaps", last, written, gaps)
	}
	f.Close()
	rj.release()
}
