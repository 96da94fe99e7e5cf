package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.lsp.dev/jsonrpc2"

	"dipls/internal/contain"
	"dipls/session"
)

// The codes of errors in answers.
const (
	codeSession  jsonrpc2.Code = 1      // data is a session.Error
	codeCanceled jsonrpc2.Code = -32800 // as in LSP
)

// maxServed is how many requests of a client are served at a time. A further one is refused.
const maxServed = 10_000

var errBusy = &session.Error{Code: session.CodeBusy, Text: "too many requests are being served"}

// conn is a connection to a peer. Requests are served at the same time, notifications in their order, before what comes after them.
type conn struct {
	*stream
	serve  func(ctx context.Context, method string, params jsonrpc2.RawMessage) (any, error) // nil: there are no requests
	notice func(method string, params jsonrpc2.RawMessage)
	fault  func(method string, fault *contain.Fault) // is told of a panic
	ended  chan struct{}                             // closed when nothing more is read

	requests sync.WaitGroup // that are being served
	signs    sync.WaitGroup // requests for a sign of life that are being sent
	owed     atomic.Int64   // since when the peer owes one, in nanoseconds since 1970; 0: it owes none

	calling sync.Mutex // guards what follows
	last    int64      // id of a call
	calls   map[int64]chan<- *jsonrpc2.Response
	serving map[jsonrpc2.ID]context.CancelFunc
}

func newConn(c net.Conn, lost func(error)) *conn {
	return &conn{
		stream: newStream(c, lost), ended: make(chan struct{}),
		calls: map[int64]chan<- *jsonrpc2.Response{}, serving: map[jsonrpc2.ID]context.CancelFunc{},
	}
}

// run handles what comes until the connection ends. The requests' contexts come from ctx.
func (c *conn) run(ctx context.Context) {
	defer close(c.ended)
	for {
		m, err := c.next()
		if err != nil {
			return
		}
		c.owed.Store(0)
		switch m := m.(type) {
		case *jsonrpc2.Response:
			c.answered(m)
		case *jsonrpc2.Call:
			c.begin(ctx, m)
		case *jsonrpc2.Notification:
			if m.Method() == methodCancel {
				c.cancel(m.Params())
			} else if c.notice != nil {
				if fault := contain.Do(func() { c.notice(m.Method(), m.Params()) }); fault != nil {
					c.fault(m.Method(), fault)
				}
			}
		}
	}
}

// begin serves a request.
func (c *conn) begin(ctx context.Context, m *jsonrpc2.Call) {
	ctx, cancel := context.WithCancel(ctx)
	c.calling.Lock()
	full := len(c.serving) >= maxServed
	if !full {
		c.serving[m.ID()] = cancel
	}
	c.calling.Unlock()
	if full || c.serve == nil {
		cancel()
		c.answer(m.ID(), nil, errBusy)
		return
	}
	c.requests.Go(func() {
		defer cancel()
		var result any
		var err error
		if fault := contain.Do(func() { result, err = c.serve(ctx, m.Method(), m.Params()) }); fault != nil {
			c.fault(m.Method(), fault)
			err = fault
		}
		c.calling.Lock()
		delete(c.serving, m.ID())
		c.calling.Unlock()
		c.answer(m.ID(), result, err)
	})
}

// cancel ends the context of a request. It may have been answered already.
func (c *conn) cancel(params jsonrpc2.RawMessage) {
	var p cancelParams
	if json.Unmarshal(params, &p) != nil {
		return
	}
	c.calling.Lock()
	defer c.calling.Unlock()
	if cancel := c.serving[jsonrpc2.NewNumberID(p.ID)]; cancel != nil {
		cancel()
	}
}

// answer answers a request. If the connection has ended, nobody waits for it.
func (c *conn) answer(id jsonrpc2.ID, result any, err error) {
	var raw jsonrpc2.RawMessage
	if err == nil {
		raw, err = encode(result)
	}
	if err != nil {
		raw, err = nil, wireError(err)
	}
	if err := c.write(jsonrpc2.NewResponse(id, raw, err)); is[*tooLongError](err) {
		_ = c.write(jsonrpc2.NewResponse(id, nil, wireError(err)))
	}
}

// is reports whether an error is of a type.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// notify sends a notification. It waits until it is written.
func (c *conn) notify(method string, params any) error {
	raw, err := encode(params)
	if err != nil {
		return err
	}
	return c.write(jsonrpc2.NewNotification(method, raw))
}

// manner is how a call waits for its answer.
type manner struct {
	tells   bool          // when its context ends, the peer is told so
	grace   time.Duration // how long the answer is waited for nevertheless; then the error is the context's
	patient bool          // also for a peer that stands still
}

// The manners. Of a peer that does not come to an answer, since its process stands still, nobody waits for ever, whatever the context: the bounds are far
// beyond what one takes that lives.
var (
	startsManner  = manner{grace: 10 * time.Second}              // what starts something, whatever becomes of the context
	atOnceManner  = manner{grace: 3 * time.Second}               // what answers at once, likewise
	waitsManner   = manner{tells: true}                          // what is given up
	looksManner   = manner{tells: true, grace: time.Second}      // what answers by what it knows by then
	settlesManner = manner{tells: true, grace: 10 * time.Second} // what answers what was done by then
	staysManner   = manner{tells: true, patient: true}           // what may take as long as it takes; who has a bound, knows it
)

// How long a call waits until the peer is asked for a sign of life, and how long for that.
var (
	suspicion    = 3 * time.Second
	signPatience = 5 * time.Second
)

// errDeaf says that the peer gives no sign of life.
var errDeaf = errors.New("the peer does not answer")

// isDeaf reports whether the peer has given no sign of life for too long. If it owes none, it is asked for one: whatever comes then is one.
func (c *conn) isDeaf() bool {
	if now := time.Now().UnixNano(); !c.owed.CompareAndSwap(0, now) {
		owed := c.owed.Load()
		return owed != 0 && now-owed >= int64(signPatience)
	}
	c.calling.Lock()
	c.last++
	id := c.last
	c.calling.Unlock()
	c.signs.Go(func() {
		_ = c.write(jsonrpc2.NewCall(jsonrpc2.NewNumberID(id), methodPing, jsonrpc2.RawMessage("null")))
	}) // an error ends the connection
	return false
}

// untilSuspicion is how long a call waits before it asks whether the peer is deaf: not long if that is known.
func (c *conn) untilSuspicion() time.Duration {
	if owed := c.owed.Load(); owed != 0 && time.Now().UnixNano()-owed >= int64(signPatience) {
		return suspicion / 10
	}
	return suspicion
}

// call sends a request and waits for the answer, which it decodes into result.
func (c *conn) call(ctx context.Context, method string, params, result any, how manner) error {
	raw, err := encode(params)
	if err != nil {
		return err
	}
	answer := make(chan *jsonrpc2.Response, 1)
	c.calling.Lock()
	c.last++
	id := c.last
	c.calls[id] = answer
	c.calling.Unlock()
	defer func() {
		c.calling.Lock()
		defer c.calling.Unlock()
		delete(c.calls, id)
	}()
	switch err := c.write(jsonrpc2.NewCall(jsonrpc2.NewNumberID(id), method, raw)); {
	case is[*tooLongError](err):
		return err
	case err != nil:
		return errEnded
	}
	done := ctx.Done()
	var over <-chan time.Time
	doubt := time.NewTimer(c.untilSuspicion())
	defer doubt.Stop()
	for {
		select {
		case m := <-answer:
			return decodeAnswer(ctx, m, result)
		case <-c.ended:
			select {
			case m := <-answer: // it came last
				return decodeAnswer(ctx, m, result)
			default:
				return errEnded
			}
		case <-done:
			done = nil
			if how.tells {
				_ = c.notify(methodCancel, cancelParams{id}) // an error ends the connection
			}
			if how.grace == 0 {
				return ctx.Err()
			}
			over = time.After(how.grace)
		case <-over:
			return ctx.Err()
		case <-doubt.C:
			if !how.patient && c.isDeaf() {
				return errDeaf
			}
			doubt.Reset(signPatience)
		}
	}
}

// errEnded says that the connection has ended; whoever calls knows more.
var errEnded = errors.New("the connection has ended")

func decodeAnswer(ctx context.Context, m *jsonrpc2.Response, result any) error {
	if err := m.Err(); err != nil {
		return readError(ctx, err)
	}
	if result == nil || len(m.Result()) == 0 {
		return nil
	}
	return json.Unmarshal(m.Result(), result)
}

// answered gives an answer to the call that waits for it, if one does.
func (c *conn) answered(m *jsonrpc2.Response) {
	id, _ := m.ID().Number()
	c.calling.Lock()
	defer c.calling.Unlock()
	if answer := c.calls[id]; answer != nil {
		delete(c.calls, id) // there is room for one
		answer <- m
	}
}

// wireError is an error as it is written.
func wireError(err error) *jsonrpc2.Error {
	if known, ok := errors.AsType[*session.Error](err); ok {
		data, _ := encode(known) // it can always be encoded
		return &jsonrpc2.Error{Code: codeSession, Message: known.Error(), Data: data}
	}
	if known, ok := errors.AsType[*jsonrpc2.Error](err); ok {
		return known
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return jsonrpc2.NewError(codeCanceled, err.Error())
	}
	return jsonrpc2.NewError(jsonrpc2.UnknownError, err.Error())
}

// readError is the inverse of wireError. ctx is that of the call.
func readError(ctx context.Context, err error) error {
	e, ok := errors.AsType[*jsonrpc2.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case codeSession:
		known := new(session.Error)
		if json.Unmarshal(e.Data, known) == nil {
			return known
		}
	case codeCanceled:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return context.Canceled
	}
	return e
}

// encode writes what a message carries as events are written: by the standard library, on which the types' own methods rely.
func encode(v any) (jsonrpc2.RawMessage, error) {
	if v == nil {
		return jsonrpc2.RawMessage("null"), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
