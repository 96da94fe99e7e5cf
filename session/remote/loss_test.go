package remote_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/sessiontest"
	"dipls/session"
	"dipls/session/remote"
)

// wantCode fails a test whose error has another code.
func wantCode(t testing.TB, err error, want session.Code) *session.Error {
	t.Helper()
	e, ok := errors.AsType[*session.Error](err)
	if !ok || e.Code != want {
		t.Fatalf("error %v, want one of code %q", err, want)
	}
	return e
}

// pair is a connection over a socket: the server's end, and the client's.
func pair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// A client whose session's process is killed says at once that all runs and the pool are dead, and why.
func TestLoss(t *testing.T) {
	p := serveFake(t)
	at, end := pair(t)
	var served sync.WaitGroup
	served.Go(func() { p.server.ServeConn(at) })
	c, _, err := remote.Attach(sessiontest.Context(t), end, remote.Hello{Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{})
	ended := p.start(c, cell(cells.Local, "print before"))
	p.ends(c, ended...)
	runs := p.start(c, cell(cells.Remote, "print on\ngate loss"), cell(cells.Remote, ""))
	front.Printed(runs[0], "on")
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Wait(context.Background(), runs[0])
		waiting <- err
	}()
	at.Close() // as the kernel does for a process that is killed
	events := front.All()
	for _, run := range runs {
		if n := count(events, func(ev *event.RunFinished) bool {
			return ev.Run == run && ev.Status == event.StatusDied && ev.Reason == "the session is gone" && (ev.Seconds > 0) == (run == runs[0])
		}); n != 1 {
			t.Errorf("run %s: %d ends", run, n)
		}
	}
	if n := count(events, func(ev *event.RunFinished) bool { return ev.Run == ended[0] }); n > 1 {
		t.Errorf("%d ends of a run that had ended", n)
	}
	if n := count(events, func(ev *event.PoolState) bool { return ev.State == event.StateDead && ev.Reason != "" }); n != 1 {
		t.Errorf("%d dead pools", n)
	}
	if last, ok := events[len(events)-1].(*event.Log); !ok || last.Level != event.LevelError {
		t.Errorf("%+v", events[len(events)-1])
	}
	wantCode(t, <-waiting, session.CodeClosed)
	_, err = c.Autodip(sessiontest.Context(t))
	wantCode(t, err, session.CodeClosed)
	_, err = c.Subscribe(sessiontest.Context(t), session.SubscribeRequest{})
	wantCode(t, err, session.CodeClosed)
	<-c.Done()
	wantCode(t, c.Err(), session.CodeClosed)
	p.machine.Open("loss")
	served.Wait()
}

// count counts events of a type that are meant.
func count[E event.Event](events []event.Event, meant func(E) bool) (n int) {
	for _, ev := range events {
		if ev, ok := ev.(E); ok && meant(ev) {
			n++
		}
	}
	return n
}

// A session that is stopped tells its clients so, after all that has happened.
func TestStop(t *testing.T) {
	p := serveFake(t)
	c := p.attach(remote.Hello{Program: "test"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{})
	run := p.start(c, cell(cells.Local, "print on\nwait"))
	front.Printed(run[0], "on")
	if err := remote.Stop(sessiontest.Context(t), p.socket, "dipls stop"); err != nil {
		t.Fatal(err)
	}
	events := front.All()
	if n := count(events, func(ev *event.RunFinished) bool { return ev.Run == run[0] && !strings.Contains(ev.Reason, "session") }); n != 1 {
		t.Errorf("%d ends", n)
	}
	if last, ok := events[len(events)-1].(*event.Log); !ok || last.Level != event.LevelInfo || !strings.Contains(last.Text, "stopped by dipls stop (pid ") {
		t.Errorf("%+v", events[len(events)-1])
	}
	<-c.Done()
	if e := wantCode(t, c.Err(), session.CodeClosed); !strings.HasPrefix(e.Text, "the session has ended: stopped by dipls stop") {
		t.Error(e)
	}
	if _, _, err := remote.Dial(sessiontest.Context(t), p.socket, remote.Hello{}); err == nil {
		t.Error("there is still somebody")
	}
}

// slowToClose is a session whose end takes until a test lets it go on.
type slowToClose struct {
	session.API
	closing, goOn chan struct{}
}

func (s slowToClose) Close(ctx context.Context, r session.CloseRequest) error {
	s.closing <- struct{}{}
	<-s.goOn
	return s.API.Close(ctx, r)
}

// A session that a client closes lets nobody in while it ends, though it can be seen; whoever looks after the client has heard of the end finds none, even
// if its process has not got further.
func TestClosedSessionIsNotFound(t *testing.T) {
	slow := slowToClose{closing: make(chan struct{}), goOn: make(chan struct{})}
	p := serveFake(t, func(o *remote.ServerOptions) {
		slow.API = o.API
		o.API, o.Stop = slow, nil
	})
	ctx := sessiontest.Context(t)
	c := p.attach(remote.Hello{Program: "test"})
	closed := make(chan error, 1)
	go func() { closed <- c.Close(ctx, session.CloseRequest{}) }()
	goOn := sync.OnceFunc(func() { close(slow.goOn) })
	defer goOn()
	<-slow.closing
	if _, err := remote.About(ctx, p.socket, false); err != nil {
		t.Error(err)
	}
	_, _, err := remote.Dial(ctx, p.socket, remote.Hello{})
	wantCode(t, err, session.CodeClosed)
	goOn()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	_, err = remote.About(ctx, p.socket, false)
	wantCode(t, err, session.CodeClosed)
	_, _, err = remote.Dial(ctx, p.socket, remote.Hello{})
	wantCode(t, err, session.CodeClosed)
}

// A client that leaves hears nothing more, and what it has started goes on.
func TestDetach(t *testing.T) {
	p := serveFake(t)
	c := p.attach(remote.Hello{Program: "one"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{})
	run := p.start(c, cell(cells.Local, "print on\ngate detach\nprint more"))
	front.Printed(run[0], "on")
	if err := c.Detach(sessiontest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if n := count(front.All(), func(*event.RunFinished) bool { return true }); n > 0 {
		t.Error("it is told that the run has ended")
	}
	if c.Err() != nil {
		t.Error(c.Err())
	}
	next := p.attach(remote.Hello{Program: "two", History: true})
	front = sessiontest.Subscribe(t, next, session.SubscribeRequest{History: true})
	about, err := next.About(sessiontest.Context(t), false)
	if err != nil || len(about.Runs) != 1 || about.Runs[0].By != "one" || about.Runs[0].Since == nil || !about.Used ||
		!slices.ContainsFunc(about.Clients, func(c session.Client) bool { return c.Program == "two" }) {
		t.Errorf("%+v, %v", about, err)
	}
	p.machine.Open("detach")
	var printed strings.Builder
	for _, ev := range front.Until(run[0]) {
		if out, ok := ev.(*event.Stream); ok {
			printed.WriteString(out.Text)
		}
	}
	if printed.String() != "on\nmore\n" {
		t.Errorf("%q", printed.String())
	}
}

// A session whose process stands still answers nothing: whoever has a bound does not wait for ever, whatever the call.
func TestSessionThatStandsStill(t *testing.T) {
	remote.HurryManners(t)
	at, end := pair(t)
	read := make(chan struct{})
	go func() {
		defer close(read)
		const hello = `{"jsonrpc":"2.0","id":1,"result":{"major":1,"about":{"name":"still"}}}`
		const subscribed = `{"jsonrpc":"2.0","id":2,"result":{}}`
		said := bufio.NewReader(at)
		for _, answer := range []string{hello, subscribed} {
			var size int64
			_, _ = fmt.Fscanf(said, "Content-Length: %d\r\n\r\n", &size)
			_, _ = io.CopyN(io.Discard, said, size)
			fmt.Fprintf(at, "Content-Length: %d\r\n\r\n%s", len(answer), answer)
		}
		_, _ = io.Copy(io.Discard, said) // the kernel takes what comes
	}()
	c, _, err := remote.Attach(sessiontest.Context(t), end, remote.Hello{Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	sub, err := c.Subscribe(sessiontest.Context(t), session.SubscribeRequest{Front: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for what, call := range map[string]func() error{
		"About":    func() error { _, err := c.About(ended, true); return err },
		"Autodip":  func() error { _, err := c.Autodip(ended); return err },
		"Cancel":   func() error { _, err := c.Cancel(ended, ""); return err },
		"KillPool": func() error { _, err := c.KillPool(ended); return err },
		"Start":    func() error { _, err := c.Start(ended, session.Caller{}, session.Sequence{}); return err },
		"Subscribe": func() error {
			_, err := c.Subscribe(ended, session.SubscribeRequest{})
			return err
		},
		"Wait": func() error { _, err := c.Wait(ended, "none"); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	remote.HurryDoubts(t)
	for what, call := range map[string]func(context.Context) error{
		"About":   func(ctx context.Context) error { _, err := c.About(ctx, true); return err },
		"Autodip": func(ctx context.Context) error { _, err := c.Autodip(ctx); return err },
		"Restart": func(ctx context.Context) error { _, err := c.RestartPool(ctx, session.Caller{}); return err },
		"Start": func(ctx context.Context) error {
			_, err := c.Start(ctx, session.Caller{}, session.Sequence{})
			return err
		},
		"Stacks": func(ctx context.Context) error { _, err := c.Stacks(ctx, session.StacksRequest{}); return err },
	} {
		if e := wantCode(t, call(context.Background()), session.CodeBusy); !strings.Contains(e.Error(), "session still does not answer") ||
			!strings.Contains(e.Error(), "`dipls stop still`") {
			t.Errorf("%s: %v", what, e)
		}
	}
	sub.Close()
	if err := c.Detach(context.Background()); err != nil {
		t.Error(err)
	}
	<-read
}

// A session that gives signs of life may take its time.
func TestSlowSession(t *testing.T) {
	remote.HurryDoubts(t)
	at, end := pair(t)
	asked, read := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(read)
		said := bufio.NewReader(at)
		for restart, signs := 0, 0; ; {
			var size int
			if _, err := fmt.Fscanf(said, "Content-Length: %d\r\n\r\n", &size); err != nil {
				return
			}
			body := make([]byte, size)
			var m struct {
				ID     int
				Method string
			}
			if _, err := io.ReadFull(said, body); err != nil || json.Unmarshal(body, &m) != nil {
				return
			}
			answer := `{"major":1}`
			switch m.Method {
			case "ping":
				if signs++; signs == 3 {
					text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":"done"}`, restart)
					fmt.Fprintf(at, "Content-Length: %d\r\n\r\n%s", len(text), text)
				}
			case "session/restartPool":
				restart = m.ID
				asked <- struct{}{}
				continue
			}
			text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, m.ID, answer)
			fmt.Fprintf(at, "Content-Length: %d\r\n\r\n%s", len(text), text)
		}
	}()
	c, _, err := remote.Attach(sessiontest.Context(t), end, remote.Hello{Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := c.RestartPool(sessiontest.Context(t), session.Caller{}); err != nil || text != "done" {
		t.Errorf("%q, %v", text, err)
	}
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
	if err := c.Detach(context.Background()); err != nil {
		t.Error(err)
	}
	<-read
}
