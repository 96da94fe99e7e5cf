package afar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dipls/ranks/host"
)

// Bytes that are kept on a host come back as they went, and are gone when they are freed.
func TestKeepAndFetch(t *testing.T) {
	far := newHost(t)
	data := make([]byte, 3<<20+17)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	sizes := []int64{3 << 20, 0, 17}
	for name, h := range map[string]host.Host{"far": far, "local": host.Local{}} {
		files, free, err := h.Keep(testContext(t), sizes, bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var back bytes.Buffer
		if err := h.Fetch(testContext(t), files, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("%s: %d of %d bytes came back, %v", name, back.Len(), len(data), err)
		}
		// Both are this machine, so each can also read what the other keeps.
		back.Reset()
		if err := (host.Local{}).Fetch(testContext(t), files, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("%s: %d of %d bytes are in its memory, %v", name, back.Len(), len(data), err)
		}
		wrong := files[0]
		wrong.Inode++
		if err := h.Fetch(testContext(t), []host.SharedFile{wrong}, io.Discard); err == nil || !strings.Contains(err.Error(), "is not the file that was sent") {
			t.Errorf("%s: another file: %v", name, err)
		}
		free()
		for gone := false; !gone && name == "far"; time.Sleep(time.Millisecond) {
			_, err := os.Stat(files[0].Path)
			gone = errors.Is(err, os.ErrNotExist)
		}
	}
}

// What does not come to its end leaves nothing.
func TestKeepFails(t *testing.T) {
	far := newHost(t)
	for name, h := range map[string]host.Host{"far": far, "local": host.Local{}} {
		if _, _, err := h.Keep(testContext(t), []int64{100}, strings.NewReader("too little")); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: a sender that stops: %v", name, err)
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(testContext(t))
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write(make([]byte, 10))
			cancel(enough)
			w.CloseWithError(enough)
		}()
		if _, _, err := h.Keep(ctx, []int64{100}, r); !errors.Is(err, enough) {
			t.Errorf("%s: a sender that is interrupted: %v", name, err)
		}
	}
	if _, _, err := far.Keep(testContext(t), []int64{1 << 50}, endless{}); err == nil || !strings.Contains(err.Error(), "no room for") {
		t.Errorf("more than there is: %v", err)
	}
}

// The end of one process of the agent does no harm to those that are just being started.
func TestKeepWhileOthersAreKilled(t *testing.T) {
	far, ctx := newHost(t), testContext(t)
	for range 10 {
		observer := 0
		for observer == 0 && ctx.Err() == nil { // it may still be the killed one that is asked
			if printed, err := far.Run(ctx, []string{"sh"}, "-c", "echo $PPID"); err == nil {
				_, _ = fmt.Sscan(string(printed.Out), &observer) // 0 if it is no number
			}
		}
		if observer == 0 {
			t.Fatal(ctx.Err())
		}
		var work sync.WaitGroup
		work.Go(func() { _ = syscall.Kill(observer, syscall.SIGKILL) })
		for range 4 {
			work.Go(func() {
				_, free, err := far.Keep(ctx, []int64{1}, strings.NewReader("x"))
				if err != nil {
					t.Error(err)
					return
				}
				free()
			})
		}
		work.Wait()
	}
}

// endless is a reader of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
