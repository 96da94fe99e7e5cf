package rpc

import (
	"context"
	"io"
	"runtime"
	"testing"
)

// Who waits for room is told that the client gets on with what is large, and nothing while it does not.
func TestOutboxTellsOfProgress(t *testing.T) {
	client, server := io.Pipe()
	o := newOutbox(server, func(error) {})
	o.put("", make([]byte, 4*roomBytes))
	o.put("", make([]byte, 2*roomBytes))
	progress := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error)
	go func() {
		waited <- o.awaitRoom(ctx, func() {
			select {
			case progress <- struct{}{}:
			default:
			}
		})
	}()
	select {
	case <-progress:
		t.Error("progress is told before anything was read")
	default:
	}
	for range 3 {
		awaited := func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.moved != nil
		}
		for !awaited() { // else what is read now is told to nobody
			runtime.Gosched()
		}
		if _, err := io.CopyN(io.Discard, client, 64<<10); err != nil {
			t.Fatal(err)
		}
		<-progress
	}
	cancel()
	if err := <-waited; err == nil {
		t.Error("there is room")
	}
	o.close()
	_ = client.Close()
	<-o.done
}
