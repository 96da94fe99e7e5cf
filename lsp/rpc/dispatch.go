package rpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/internal/contain"
)

// Handler serves the messages of a connection.
type Handler struct {
	// Methods are those that are known. $/cancelRequest is the connection's own.
	Methods map[string]Method
	// Admit reports why a method that is known cannot be served now; nil: it can.
	Admit func(method string) error
	// Enter returns the context for a message that has just come, with what its handler is to see as of now.
	Enter func(context.Context) context.Context
	// Log is told of notifications that failed, and of faults of ours. It may write to the client.
	Log *zap.Logger
}

// Method serves a request or a notification of one name.
type Method struct {
	// serve decodes the parameters and answers. Notifications answer nil.
	serve func(ctx context.Context, params jsonrpc2.RawMessage) (any, error)
	// released lets later messages be handled while serve runs. Without it they wait until serve returns, so serve must not wait for anything,
	// least of all for the client.
	released bool
}

// Request is a request that is answered while later messages are handled. Its ctx ends when the client cancels it.
func Request[P, R any](f func(context.Context, *P) (R, error)) Method {
	m := InOrder(f)
	m.released = true
	return m
}

// InOrder is a request that is answered before the next message is handled, unless it calls [Release].
func InOrder[P, R any](f func(context.Context, *P) (R, error)) Method {
	return Method{serve: func(ctx context.Context, params jsonrpc2.RawMessage) (any, error) {
		p, err := decodeParams[P](params)
		if err != nil {
			return nil, err
		}
		return f(ctx, p)
	}}
}

// Notification is one, handled before the next message. Its error is logged.
func Notification[P any](f func(context.Context, *P) error) Method {
	return InOrder(func(ctx context.Context, p *P) (any, error) { return nil, f(ctx, p) })
}

// decodeParams decodes parameters; where there are none, all are zero.
func decodeParams[P any](params jsonrpc2.RawMessage) (*P, error) {
	p := new(P)
	if len(params) == 0 {
		return p, nil
	}
	if err := protocol.Unmarshal(params, p); err != nil {
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "the parameters do not fit: %v", err)
	}
	return p, nil
}

type releaseKey struct{}

// Release lets later messages be handled while the handler that has ctx runs on. From then on it may wait, and call the client.
func Release(ctx context.Context) {
	if release, ok := ctx.Value(releaseKey{}).(func()); ok {
		release()
	}
}

// incoming is a request of the client, or without an id a notification.
type incoming struct {
	method string
	params jsonrpc2.RawMessage
	id     jsonrpc2.ID
}

// String names the message in a trace.
func (in incoming) String() string {
	if !in.id.IsValid() {
		return "notification " + in.method
	}
	return fmt.Sprintf("request %v", in.id)
}

// handle serves a message. It returns when the next one may be handled: when this one has been answered or released.
func (c *Conn) handle(ctx context.Context, h Handler, in incoming) {
	next := make(chan struct{})
	release := sync.OnceFunc(func() { close(next) })
	ctx, done := c.begin(context.WithValue(h.Enter(ctx), releaseKey{}, release), in.id)
	c.requests.Go(func() {
		defer release()
		defer done()
		came := c.trace.Now()
		result, err := c.serve(ctx, h, in)
		if t := c.trace; t.On() {
			t.Phase(t.PID(), in.String(), in.method, came, t.Now()) // those that were released overlap
		}
		switch {
		case in.id.IsValid():
			c.answer(h, in, result, err)
		case err != nil:
			h.Log.Warn("a notification was ignored", zap.String("method", in.method), zap.Error(err))
		}
	})
	<-next
}

// serve finds the method and has it serve a message. A panic becomes the error.
func (c *Conn) serve(ctx context.Context, h Handler, in incoming) (result any, err error) {
	m, known := h.Methods[in.method]
	if !known {
		if !in.id.IsValid() && strings.HasPrefix(in.method, "$/") {
			return nil, nil // LSP: to be ignored
		}
		return nil, jsonrpc2.Errorf(jsonrpc2.MethodNotFound, "%q is not supported", in.method)
	}
	if err := h.Admit(in.method); err != nil {
		return nil, err
	}
	if m.released {
		Release(ctx)
	}
	if fault := contain.Do(func() { result, err = m.serve(ctx, in.params) }); fault != nil {
		logFault(h.Log, in.method, fault)
		return nil, jsonrpc2.Errorf(jsonrpc2.InternalError, "%s: a fault of ours: %v", in.method, fault.Value)
	}
	return result, err
}

func logFault(log *zap.Logger, in string, fault *contain.Fault) {
	log.Error("a fault of ours", zap.String("in", in), zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
}

// answer sends what a request was answered with.
func (c *Conn) answer(h Handler, in incoming, result any, err error) {
	if errors.Is(err, context.Canceled) {
		err = protocol.ErrRequestCancelled
	}
	if err == nil {
		err = c.stream.send("", func(b []byte) ([]byte, error) { return appendResult(b, in.id, result) })
		if err == nil {
			return
		}
		var fault *contain.Fault
		if errors.As(err, &fault) {
			logFault(h.Log, in.method, fault)
		}
		err = jsonrpc2.Errorf(jsonrpc2.InternalError, "%s: the answer cannot be encoded: %v", in.method, err)
	}
	_ = c.stream.send("", func(b []byte) ([]byte, error) { return jsonrpc2.AppendResponse(b, in.id, nil, err), nil }) // it has no error of its own
}

// begin makes a request one that can be cancelled. done must be called at its end.
func (c *Conn) begin(ctx context.Context, id jsonrpc2.ID) (_ context.Context, done func()) {
	if !id.IsValid() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving[id] = cancel
	return ctx, func() {
		c.mu.Lock()
		delete(c.serving, id)
		c.mu.Unlock()
		cancel()
	}
}

// withCancel adds $/cancelRequest to a handler.
func (c *Conn) withCancel(h Handler) Handler {
	h.Methods = maps.Clone(h.Methods)
	h.Methods[protocol.MethodCancelRequest] = Notification(c.cancelRequest)
	return h
}

// cancelRequest is $/cancelRequest. What it names may have been answered already.
func (c *Conn) cancelRequest(_ context.Context, p *protocol.CancelParams) error {
	var id jsonrpc2.ID
	switch n := p.ID.(type) {
	case protocol.Integer:
		id = jsonrpc2.NewNumberID(int64(n))
	case protocol.String:
		id = jsonrpc2.NewStringID(string(n))
	default:
		return errors.New("want the id of a request: a number or a string")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.serving[id]; cancel != nil {
		cancel()
	}
	return nil
}
