package rpc

import (
	"context"
	"io"
	"sync"

	"dipls/internal/paced"
	"dipls/internal/trace"
)

const (
	// roomBytes is how much may wait for the client before output waits as well, which can wait where it comes from.
	roomBytes = 1 << 20
	// fullBytes is how much may wait for the client before notifications are dropped and its requests are no longer read: their answers cannot
	// be dropped. It is much more than roomBytes, because the server must not wait for a client that writes a lot before it reads.
	fullBytes = 64 << 20
	// writeBytes is about how much one write takes.
	writeBytes = 64 << 10
	// spareBytes is the size of the largest buffer that is kept to be used again.
	spareBytes = 16 << 20
)

// outbox is what waits to be written to the client. Putting something in never blocks, so a client that does not read cannot hold up a rank, a run or
// the reading of its own requests. One goroutine writes; it joins small messages.
type outbox struct {
	w     io.Writer     // tells of its progress
	trace *trace.Tracer // set by traced, before there is anything to write
	track trace.Track
	wake  chan struct{} // capacity 1: there is something to write, or the outbox is closed
	done  chan struct{} // closed when nothing more is written

	mu     sync.Mutex
	frames []frame
	latest map[string]int // key → index in frames
	bytes  int            // of frames
	spare  []byte         // the buffer of a large frame that has been written: a fresh one costs more than filling it
	busy   bool           // frames have been taken out and are being written
	closed bool
	failed func(error)   // told of the first write that fails
	told   trace.Time    // until when the trace knows what was written; only the writer uses it
	moved  chan struct{} // closed when the client has taken something; nil while nobody waits for that
}

// frame is a message with its header. A frame with a key replaces one with the same key that still waits.
type frame struct {
	key  string
	data []byte
	at   trace.Time // 0 without a trace
}

// newOutbox returns an outbox that writes to w until it is closed or a write fails.
func newOutbox(w io.Writer, failed func(error)) *outbox {
	o := &outbox{failed: failed, wake: make(chan struct{}, 1), done: make(chan struct{}), latest: map[string]int{}}
	o.w = paced.Writer(w, o.progress)
	go o.write()
	return o
}

// traced has the outbox tell a trace how long messages took to be written.
func (o *outbox) traced(t *trace.Tracer) {
	o.trace, o.track = t, t.NewTrack("to the editor")
}

// traceWritten tells the trace of frames that have been written.
func (o *outbox) traceWritten(frames []frame) {
	if !o.trace.On() {
		return
	}
	// The trace already has the time before the last write, also for frames that waited then.
	from, now := max(frames[0].at, o.told), o.trace.Now()
	o.trace.Span(o.track, "write", from, now, trace.Int("messages", int64(len(frames))))
	o.told = now
}

// put queues a frame.
func (o *outbox) put(key string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.bytes += len(data)
	if i, waits := o.latest[key]; waits && key != "" {
		o.bytes -= len(o.frames[i].data)
		o.keep(o.frames[i].data)
		o.frames[i].data = data
		return
	}
	if key != "" {
		o.latest[key] = len(o.frames)
	}
	o.frames = append(o.frames, frame{key, data, o.trace.Now()})
	o.poke()
}

// takeSpare takes the buffer of a large frame that has been written; nil if there is none.
func (o *outbox) takeSpare() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	spare := o.spare
	o.spare = nil
	return spare
}

// keepSpare keeps a buffer for takeSpare.
func (o *outbox) keepSpare(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(b)
}

// keep is keepSpare under the lock.
func (o *outbox) keep(b []byte) {
	if n := cap(b); n > max(writeBytes, cap(o.spare)) && n <= spareBytes && !o.closed {
		o.spare = b
	}
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// full reports whether what can be left out should be.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes >= fullBytes
}

// awaitRoom waits until there is room for output. It calls progress when the client takes something meanwhile.
func (o *outbox) awaitRoom(ctx context.Context, progress func()) error {
	first := true
	return o.await(ctx, func() bool {
		if !first {
			progress()
		}
		first = false
		return o.bytes < roomBytes
	})
}

// flush waits until everything has been written.
func (o *outbox) flush(ctx context.Context) error {
	return o.await(ctx, func() bool { return len(o.frames) == 0 && !o.busy })
}

// await waits for a condition. It checks it under the lock, at once and whenever the client has taken something. It ends with ctx and with the outbox.
func (o *outbox) await(ctx context.Context, condition func() bool) error {
	for {
		o.mu.Lock()
		if condition() {
			o.mu.Unlock()
			return nil
		}
		if o.moved == nil {
			o.moved = make(chan struct{})
		}
		moved := o.moved
		o.mu.Unlock()
		select {
		case <-moved:
		case <-o.done:
			return io.ErrClosedPipe
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close drops what has not been written. A write in progress ends when its caller closes the stream.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.frames, o.bytes, o.spare = nil, 0, nil
	clear(o.latest)
	o.poke()
}

func (o *outbox) write() {
	defer close(o.done)
	var buffer []byte
	for range o.wake {
		for {
			frames, closed := o.take()
			if closed {
				return
			}
			if len(frames) == 0 {
				break
			}
			if err := o.writeAll(frames, &buffer); err != nil {
				o.close()
				o.failed(err)
				return
			}
			o.traceWritten(frames)
			o.written(frames)
		}
	}
}

// take takes out as many frames as go into one write, at least one.
func (o *outbox) take() (frames []frame, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, size := 0, 0
	for n < len(o.frames) && (n == 0 || size+len(o.frames[n].data) <= writeBytes) {
		size += len(o.frames[n].data)
		delete(o.latest, o.frames[n].key)
		n++
	}
	frames, o.frames = o.frames[:n:n], o.frames[n:]
	for key := range o.latest {
		o.latest[key] -= n
	}
	o.bytes -= size
	o.busy = n > 0
	return frames, o.closed
}

func (o *outbox) writeAll(frames []frame, buffer *[]byte) error {
	if len(frames) == 1 {
		_, err := o.w.Write(frames[0].data)
		return err
	}
	*buffer = (*buffer)[:0]
	for _, f := range frames {
		*buffer = append(*buffer, f.data...)
	}
	_, err := o.w.Write(*buffer)
	return err
}

// written is called when frames have been written. It keeps a large buffer and wakes those who wait.
func (o *outbox) written(frames []frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	for _, f := range frames {
		o.keep(f.data)
	}
	o.tellMoved()
}

// progress is called when the client has taken some of what is being written. It wakes those who wait.
func (o *outbox) progress() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tellMoved()
}

// tellMoved has those who wait check their condition again. mu is held.
func (o *outbox) tellMoved() {
	if o.moved != nil {
		close(o.moved)
		o.moved = nil
	}
}
