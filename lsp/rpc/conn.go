package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/internal/trace"
)

// errEnded is why a call has no answer.
var errEnded = errors.New("the connection has ended")

// Conn is a connection to a client. A notification never waits for the client. A call waits for its answer, so a handler that keeps later messages waiting
// must not make one: see [Method].
type Conn struct {
	stream *stream
	log    *zap.Logger // does not write to the client
	trace  *trace.Tracer

	requests sync.WaitGroup // that are being served
	ended    chan struct{}  // closed when no more messages are handled
	dropping sync.Once      // tells that messages are dropped

	mu      sync.Mutex                          // guards what follows
	last    int64                               // id of a call
	calls   map[int64]chan<- *jsonrpc2.Response // that wait for their answers
	serving map[jsonrpc2.ID]context.CancelFunc  // requests that can be cancelled
}

// New makes a connection on a stream of bytes, which Close closes. Messages are handled once [Conn.Serve] is called. log must not write to the client.
func New(rwc io.ReadWriteCloser, log *zap.Logger, t *trace.Tracer) *Conn {
	c := &Conn{
		stream: newStream(rwc), log: log, trace: t, ended: make(chan struct{}),
		calls: map[int64]chan<- *jsonrpc2.Response{}, serving: map[jsonrpc2.ID]context.CancelFunc{},
	}
	c.stream.out.traced(t)
	return c
}

// Serve handles the client's messages, in the order in which they come, until the stream or ctx ends. Requests that are being served then may outlive it:
// see [Conn.Close].
func (c *Conn) Serve(ctx context.Context, h Handler) {
	defer close(c.ended)
	h = c.withCancel(h)
	for {
		m, err := c.stream.next(ctx)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *jsonrpc2.Response:
			c.answered(m)
		case *jsonrpc2.Call:
			c.handle(ctx, h, incoming{m.Method(), m.Params(), m.ID()})
		case *jsonrpc2.Notification:
			c.handle(ctx, h, incoming{m.Method(), m.Params(), jsonrpc2.ID{}})
		}
	}
}

// Notify sends a notification. It is dropped if the client is too far behind.
func (c *Conn) Notify(method string, params any) {
	if c.stream.out.full() {
		c.dropping.Do(func() { c.log.Error("the editor has stopped reading: messages are being dropped") })
		return
	}
	c.notify("", method, params)
}

// NotifyLatest sends a notification of which only the last version counts: it replaces an older one with the same method and key that has not been
// written. It is never dropped.
func (c *Conn) NotifyLatest(key, method string, params any) { c.notify(method+" "+key, method, params) }

func (c *Conn) notify(key, method string, params any) {
	if err := c.stream.send(key, func(b []byte) ([]byte, error) { return appendRequest(b, jsonrpc2.ID{}, method, params) }); err != nil {
		c.log.Error("a notification cannot be encoded", zap.String("method", method), zap.Error(err))
	}
}

// Call sends a request and waits for the answer. If ctx ends first, the client is told that nobody waits any more. The error is the client's, a
// *[jsonrpc2.Error], or says why there is no answer. A nil result takes none.
func (c *Conn) Call(ctx context.Context, method string, params, result any) error {
	if err := c.call(ctx, method, params, result); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

func (c *Conn) call(ctx context.Context, method string, params, result any) error {
	answer := make(chan *jsonrpc2.Response, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.calls[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.calls, id)
	}()
	if err := c.stream.send("", func(b []byte) ([]byte, error) { return appendRequest(b, jsonrpc2.NewNumberID(id), method, params) }); err != nil {
		return err
	}
	select {
	case m := <-answer:
		if m.Err() != nil || result == nil {
			return m.Err()
		}
		return unmarshal(m.Result(), result)
	case <-c.ended:
		return errEnded
	case <-ctx.Done():
		c.notify("", protocol.MethodCancelRequest, &protocol.CancelParams{ID: protocol.Integer(id)})
		return ctx.Err()
	}
}

// answered gives an answer to the call that waits for it, if one does.
func (c *Conn) answered(m *jsonrpc2.Response) {
	id, _ := m.ID().Number()
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer := c.calls[id]; answer != nil {
		delete(c.calls, id) // there is room for one
		answer <- m
	}
}

// AwaitRoom waits until little waits to be written. It is for messages that can wait where they come from. It calls progress when the client takes
// something meanwhile.
func (c *Conn) AwaitRoom(ctx context.Context, progress func()) error {
	return c.stream.out.awaitRoom(ctx, progress)
}

// Flush waits until everything has been written.
func (c *Conn) Flush(ctx context.Context) error { return c.stream.out.flush(ctx) }

// Close closes the stream, and waits for the requests that are being served. What has not been written is lost. It is called once Serve has returned, and
// the context that Serve was given has ended.
func (c *Conn) Close() {
	c.stream.close()
	c.requests.Wait()
}

// AwaitWriter waits, after Close, until nothing is being written, or until ctx ends: nothing can interrupt some writes to a client that does not read.
func (c *Conn) AwaitWriter(ctx context.Context) {
	select {
	case <-c.stream.out.done:
	case <-ctx.Done():
	}
}
