package lsp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/lsp/docs"
)

// method serves a request or a notification of one name.
type method struct {
	// serve decodes the parameters and answers. Notifications answer nil.
	serve func(ctx context.Context, params jsonrpc2.RawMessage) (any, error)
	// released lets the next messages be handled while serve goes on. Without it serve runs in the order of the messages, must not wait for
	// anything, and above all not call the client.
	released bool
}

// call is a request that is answered while later messages are handled. Its ctx ends when the client cancels it, and has the documents as they
// were when it came: see snapshotOf.
func call[P, R any](f func(context.Context, *P) (R, error)) method {
	m := inOrder(f)
	m.released = true
	return m
}

// inOrder is a request that is answered before the next message is handled.
func inOrder[P, R any](f func(context.Context, *P) (R, error)) method {
	return method{serve: func(ctx context.Context, params jsonrpc2.RawMessage) (any, error) {
		p, err := decodeParams[P](params)
		if err != nil {
			return nil, err
		}
		return f(ctx, p)
	}}
}

// notification is one, handled in the order of the messages. An error is logged.
func notification[P any](f func(context.Context, *P) error) method {
	return inOrder(func(ctx context.Context, p *P) (any, error) { return nil, f(ctx, p) })
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

// allMethods are the methods of the server and of its features.
func (s *server) allMethods() map[string]method {
	all := map[string]method{}
	for _, some := range []map[string]method{s.lifecycleMethods(), s.documentMethods(), s.config.methods(), s.commandMethods()} {
		maps.Copy(all, some)
	}
	for _, f := range s.features {
		for name, m := range f.methods {
			if _, twice := all[name]; twice {
				panic("lsp: two features handle " + name) // a mistake in the program, found by any test
			}
			all[name] = m
		}
	}
	return all
}

// handle is the connection's handler. The library ends a connection when a handler panics or a notification's handler returns an error; here
// neither leaves this function.
func (s *server) handle(ctx context.Context, req *jsonrpc2.Request) (result any, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("a fault of ours", zap.String("in", req.Method()), zap.Any("panic", r), zap.Stack("stack"))
			result, err = nil, jsonrpc2.Errorf(jsonrpc2.InternalError, "%s: a fault of ours: %v", req.Method(), r)
		}
		if errors.Is(err, context.Canceled) {
			err = protocol.ErrRequestCancelled
		}
		if err != nil && !req.IsCall() {
			s.log.Warn("a notification was ignored", zap.String("method", req.Method()), zap.Error(err))
			err = nil
		}
	}()
	if t := s.deps.Trace; t.On() {
		came := t.Now()
		// Those that are answered while others are handled overlap.
		defer func() { t.Phase(t.PID(), traceID(req), req.Method(), came, t.Now()) }()
	}
	return s.route(ctx, req)
}

// traceID names a message in a trace.
func traceID(req *jsonrpc2.Request) string {
	if !req.IsCall() {
		return "notification " + req.Method()
	}
	return fmt.Sprintf("request %v", req.ID())
}

// route finds the method and serves it. The context that the library makes for a request is used again for another one as soon as this one
// has been answered, also by contexts made of it, so methods get one of the connection's.
func (s *server) route(requestCtx context.Context, req *jsonrpc2.Request) (any, error) {
	m, known := s.methods[req.Method()]
	if !known {
		if !req.IsCall() && strings.HasPrefix(req.Method(), "$/") {
			return nil, nil // LSP: to be ignored
		}
		return nil, jsonrpc2.Errorf(jsonrpc2.MethodNotFound, "%q is not supported", req.Method())
	}
	if err := s.admits(req.Method()); err != nil {
		return nil, err
	}
	ctx := context.WithValue(s.ctx, requestKey{}, &request{
		documents: s.docs.View(), release: sync.OnceFunc(func() { jsonrpc2.Async(requestCtx) }),
	})
	if req.IsCall() {
		var done func()
		ctx, done = s.calls.begin(ctx, req.ID())
		defer done()
	}
	if m.released {
		release(ctx)
	}
	return m.serve(ctx, req.Params())
}

// request is what a request's context carries.
type request struct {
	documents docs.View // when it came
	release   func()
}

type requestKey struct{}

// release lets the next messages be handled while the request of ctx goes on: it may wait from then on, and call the client.
func release(ctx context.Context) {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		r.release()
	}
}

// calls are the requests that are being handled, so that the client can cancel them.
type calls struct {
	mu     sync.Mutex
	cancel map[jsonrpc2.ID]context.CancelFunc
}

// begin enters a request; done must be called at its end.
func (c *calls) begin(ctx context.Context, id jsonrpc2.ID) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		c.cancel = map[jsonrpc2.ID]context.CancelFunc{}
	}
	c.cancel[id] = cancel
	return ctx, func() {
		c.mu.Lock()
		delete(c.cancel, id)
		c.mu.Unlock()
		cancel()
	}
}

// cancelRequest is $/cancelRequest. What it names may have been answered already.
func (c *calls) cancelRequest(_ context.Context, p *protocol.CancelParams) error {
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
	if cancel := c.cancel[id]; cancel != nil {
		cancel()
	}
	return nil
}

// viewOf is the open documents as they were when a request came.
func viewOf(ctx context.Context) docs.View {
	r, _ := ctx.Value(requestKey{}).(*request)
	if r == nil {
		return nil
	}
	return r.documents
}

// snapshotOf is the document that a request is about, as it was when the request came. Its error is for the client.
func snapshotOf(ctx context.Context, u uri.URI) (*docs.Snapshot, error) {
	if d := viewOf(ctx)[u]; d != nil {
		return d, nil
	}
	if u == "" {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "which document? There is no uri")
	}
	return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "%s is not open: send textDocument/didOpen first", u)
}
