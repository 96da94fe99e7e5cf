package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.lsp.dev/jsonrpc2"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/session"
	"dipls/session/history"
)

// Client is a front's connection to a session in another process. When the connection breaks, subscriptions tell that the runs and the pool are dead, and end;
// calls fail with CodeClosed and the reason.
type Client struct {
	*conn
	mirror  *history.Log
	history bool
	end     uint64 // position of the last event before the client attached
	name    string // of the session, as it was then; "": not known
	minor   int    // version of the session's protocol
	build   string // of the session, for people
	done    chan struct{}
	changes progress // how often the session has said that it is different

	mu     sync.Mutex // guards what follows
	fronts map[string]*subscription
	runs   map[string]living // that have not ended, as far as was told
	order  []string          // their ids, in the order of their starts
	pool   event.PoolState   // as told last
	reason string            // why the session has ended, as it has said; "": it has not
	left   bool              // Detach was called
	err    error             // why the connection has ended; nil: it has not, or as we want
}

var _ session.API = (*Client)(nil)

// environ are the variables of which a client tells the session.
var environ = []string{"VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES"}

// Dial attaches to the session that listens on a socket. If that is of another major version, the error's code is CodeVersion, and what it has welcomed with is
// returned nevertheless. If ctx ends, nothing is left.
func Dial(ctx context.Context, socket string, h Hello) (*Client, Welcome, error) {
	c, err := connect(ctx, socket)
	if err != nil {
		return nil, Welcome{}, err
	}
	return Attach(ctx, c, h)
}

// Attach is Dial on a connection that is there, which is closed if that fails. Whose it is was checked.
func Attach(ctx context.Context, nc net.Conn, h Hello) (*Client, Welcome, error) {
	h.Major, h.Minor, h.PID = Major, Minor, os.Getpid()
	if h.Cwd == "" {
		h.Cwd, _ = os.Getwd()
	}
	if h.Env == nil {
		h.Env = map[string]string{}
		for _, name := range environ {
			if value, ok := os.LookupEnv(name); ok {
				h.Env[name] = value
			}
		}
	}
	c := newClient(nc)
	c.history = h.History
	var w Welcome
	if err := c.call(ctx, methodHello, h, &w, staysManner); err != nil {
		c.close()
		<-c.done
		return nil, w, c.explain(err)
	}
	if w.Major != Major {
		c.close()
		<-c.done
		return nil, w, versionError(w)
	}
	c.end, c.name, c.minor, c.build = w.End, w.About.Name, w.Minor, w.Build
	return c, w, nil
}

func newClient(nc net.Conn) *Client {
	c := &Client{
		mirror: history.New(history.Options{}), done: make(chan struct{}), fronts: map[string]*subscription{}, runs: map[string]living{},
		pool: event.PoolState{State: event.StateNone},
	}
	c.conn = newConn(nc, c.lost)
	c.conn.notice, c.conn.fault = c.told, func(method string, fault *contain.Fault) {
		c.mirror.Append(event.NewLog(event.LevelError, fmt.Sprintf("%s: %v", method, fault)))
	}
	go func() {
		defer close(c.done)
		c.conn.run(context.Background())
		c.finish()
		c.signs.Wait()
	}()
	return c
}

// connect connects to a socket of the same user.
func connect(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	uid, _, err := credentials(c)
	if err == nil {
		err = sameUser(uid)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%s is not talked to: %w", socket, err)
	}
	return c, nil
}

// About describes the session that listens on a socket, of whatever version, without attaching to it.
func About(ctx context.Context, socket string, memory bool) (a session.About, err error) {
	c, err := connect(ctx, socket)
	if err != nil {
		return a, err
	}
	client := newClient(c)
	defer func() { client.close(); <-client.done }()
	var answer aboutAnswer
	err = client.call(ctx, methodAbout, aboutParams{memory}, &answer, looksManner)
	return answer.About, client.explain(err)
}

// Stop asks the session that listens on a socket to end, whatever its version. It returns when that has agreed. by is who asks: "dipls stop".
func Stop(ctx context.Context, socket, by string) error {
	c, err := connect(ctx, socket)
	if err != nil {
		return err
	}
	client := newClient(c)
	defer func() { client.close(); <-client.done }()
	return client.explain(client.call(ctx, methodStop, stopParams{by}, nil, staysManner))
}

// Listener is the process that listens on a socket of the same user, as the kernel knows it.
func Listener(ctx context.Context, socket string) (pid int, err error) {
	c, err := connect(ctx, socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_, pid, err = credentials(c)
	return pid, err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection has ended, an *[session.Error] with CodeClosed; nil if it has not, or after Detach.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AwaitChange waits until the session has said more often than seen that it is different: who is attached, its name, or how long it is kept. It returns how
// often it has; its error means that nothing more will be said, or that ctx has ended.
func (c *Client) AwaitChange(ctx context.Context, seen uint64) (now uint64, err error) {
	c.changes.await(ctx, seen+1, c.done)
	if now = c.changes.now(); now <= seen {
		return now, cmp.Or(ctx.Err(), io.EOF)
	}
	return now, nil
}

// told handles what the session tells.
func (c *Client) told(method string, params jsonrpc2.RawMessage) {
	switch method {
	case methodEvents:
		p, err := readEvents(params)
		if err != nil {
			panic(err)
		}
		events, at := p.parsed()
		c.note(events)
		c.mirror.Mirror(events, at, p.End)
	case methodQuestion:
		var p questionParams
		if json.Unmarshal(params, &p) != nil || p.Question == nil {
			return
		}
		c.mu.Lock()
		f := c.fronts[p.Front]
		c.mu.Unlock()
		if f != nil {
			f.Tell(p.Question)
		}
	case methodChanged:
		c.changes.step()
	case methodEnded:
		var p endedParams
		_ = json.Unmarshal(params, &p) // then there is no reason
		c.mu.Lock()
		c.reason = p.Reason
		if c.reason == "" {
			c.reason = "it was ended"
		}
		c.mu.Unlock()
	}
}

// note notes what lives.
func (c *Client) note(events []event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ev := range events {
		switch ev := ev.(type) {
		case *event.RunQueued, *event.RunStarted:
			h := ev.Head()
			if _, known := c.runs[h.Run]; !known {
				c.order = append(c.order, h.Run)
			}
			run := living{head: *h}
			if began, ok := ev.(*event.RunStarted); ok {
				run.began = began.Began
			}
			c.runs[h.Run] = run
		case *event.RunFinished:
			delete(c.runs, ev.Run)
			c.order = slices.DeleteFunc(c.order, func(run string) bool { return run == ev.Run })
		case *event.PoolState:
			c.pool = *ev
		}
	}
}

// lost is told why the connection has ended.
func (c *Client) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.left:
	case c.reason != "":
		c.err = &session.Error{Code: session.CodeClosed, Text: "the session has ended: " + c.reason}
	case hasGone(err):
		c.err = &session.Error{Code: session.CodeClosed, Text: "the session's process has ended without a word, so its ranks have, too"}
	default:
		c.err = &session.Error{Code: session.CodeClosed, Text: fmt.Sprintf("the connection to the session has broken: %v", err)}
	}
}

// finish tells subscriptions what is dead, and ends them.
func (c *Client) finish() {
	c.mu.Lock()
	var events []event.Event
	if c.err != nil {
		reason := c.err.Error()
		for _, run := range c.order {
			if r, active := c.runs[run]; active {
				events = append(events, r.dead())
			}
		}
		if state := c.pool.State; state != event.StateNone && state != event.StateDead && state != event.StateStopped {
			events = append(events, &event.PoolState{Header: event.Header{Kind: event.KindPoolState}, State: event.StateDead, Reason: reason})
		}
		level := event.LevelError
		if c.reason != "" {
			level = event.LevelInfo
		}
		events = append(events, event.NewLog(level, reason))
	}
	c.runs, c.order = nil, nil
	c.mu.Unlock()
	c.mirror.Append(events...)
	c.mirror.Close()
}

// living is a run that has not ended.
type living struct {
	head  event.Header // of an event of the run
	began time.Time    // zero: its turn has not come
}

// dead is the end of a run whose session is gone. Why that is, a sentence tells that is about all of them.
func (r living) dead() *event.RunFinished {
	h := event.Header{Kind: event.KindRunFinished, Run: r.head.Run, Cell: r.head.Cell}
	ev := &event.RunFinished{Header: h, Status: event.StatusDied, Reason: "the session is gone"}
	if !r.began.IsZero() {
		ev.Seconds = max(0, time.Since(r.began).Seconds())
	}
	return ev
}

// explain is the error of a call, for one that has no answer since the connection has ended, or the session stands still.
func (c *Client) explain(err error) error {
	if errors.Is(err, errDeaf) {
		return session.NoAnswer(c.name)
	}
	if !errors.Is(err, errEnded) {
		return err
	}
	if known := c.Err(); known != nil {
		return known
	}
	return &session.Error{Code: session.CodeClosed, Text: "the session was left"}
}

// subscription is a cursor on the mirror.
type subscription struct {
	*history.Cursor
	c     *Client
	front string
	kinds []event.Kind

	earlier int // names what comes before; 0: nothing
	number  int // of the answer that Next wants of it
	before  atomic.Bool
}

// Subscribe implements [session.API].
func (c *Client) Subscribe(ctx context.Context, r session.SubscribeRequest) (session.Subscription, error) {
	sub := &subscription{c: c, front: r.Front, kinds: r.Kinds}
	if r.History && r.From == "" {
		sub.Cursor = c.mirror.CursorAtStart(r.Kinds...)
		sub.Begin(c.end)
	} else {
		sub.Cursor = c.mirror.Cursor(r.Kinds...)
	}
	if r.Front != "" {
		c.mu.Lock()
		taken := c.fronts[r.Front] != nil
		if !taken {
			c.fronts[r.Front] = sub
		}
		c.mu.Unlock()
		if taken {
			sub.Cursor.Close()
			return nil, &session.Error{Code: session.CodeInvalid, Text: fmt.Sprintf("a front %q has subscribed already", r.Front)}
		}
	}
	var begun subscribed
	if err := c.call(ctx, "session/subscribe", subscribeParams{r.Front, r.From, r.Types}, &begun, atOnceManner); err != nil {
		sub.forget()
		sub.Cursor.Close()
		return nil, c.explain(err)
	}
	if !r.History || r.From != "" {
		sub.Seek(begun.At)
		sub.earlier, sub.number = begun.Earlier, 1
		sub.before.Store(begun.Earlier != 0)
	}
	return sub, nil
}

// Next implements [session.Subscription]. What comes before is asked for batch by batch, as the reader takes it.
func (u *subscription) Next(ctx context.Context) ([]event.Event, error) {
	for u.before.Load() {
		var answer earlierEvents
		if err := u.c.call(ctx, "session/earlier", earlierParams{Earlier: u.earlier, Number: u.number}, &answer, waitsManner); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			answer = earlierEvents{} // what follows says why there is no more
		}
		u.number++
		u.before.Store(answer.More)
		var events []event.Event
		for _, raw := range answer.Events {
			if ev, err := event.ParseJSON(raw); err == nil && (len(u.kinds) == 0 || slices.Contains(u.kinds, ev.Head().Kind)) {
				events = append(events, ev)
			}
		}
		if len(events) > 0 {
			return events, nil
		}
	}
	return u.Cursor.Next(ctx)
}

// Position implements [session.Subscription].
func (u *subscription) Position() uint64 {
	if u.before.Load() {
		return 0
	}
	return u.Cursor.Position()
}

// forget gives the front's name free.
func (u *subscription) forget() {
	if u.front == "" {
		return
	}
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	if u.c.fronts[u.front] == u {
		delete(u.c.fronts, u.front)
	}
}

// Close implements [session.Subscription].
func (u *subscription) Close() {
	u.c.mu.Lock()
	registered := u.front != "" && u.c.fronts[u.front] == u
	u.c.mu.Unlock()
	u.Cursor.Close()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if u.earlier != 0 { // an error of these means that nobody is there
		_ = u.c.call(now, "session/earlier", earlierParams{Earlier: u.earlier, Close: true}, nil, atOnceManner)
	}
	if registered {
		_ = u.c.call(now, "session/unsubscribe", frontParams{u.front}, nil, atOnceManner)
		u.forget()
	}
}
