package ranks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dipls/ranks/fakerank"
	"dipls/ranks/wire"
)

// transferRank starts a rank that is impatient enough for tests.
func transferRank(t *testing.T, c fakerank.Config) *Process {
	t.Helper()
	n := startFake(t, c, func(o *Options) { o.Ladder = quick })
	n.interruptPatience = 50 * time.Millisecond
	return startPool(t, n, 1).Ranks()[0]
}

func preparePush(t *testing.T, names ...string) *PreparedPush {
	t.Helper()
	req, err := PreparePush(wire.PushRequest{Names: names, Payload: wire.Payload(`{"files":[]}`)})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// wantPrinted fails a test in which code does not print that.
func wantPrinted(t *testing.T, p *Process, code, want string) {
	t.Helper()
	if got := execute(t, p, code); got.output() != want || got.err != nil {
		t.Errorf("%s printed %q, %v, want %q", code, got.output(), got.err, want)
	}
}

func TestPush(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	if err := r.Push(testContext(t), preparePush(t, "a", "häß")); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, r, "vars\nheld", "\n0 2\n")
	r.EndPush(true)
	wantPrinted(t, r, "vars\nheld", "a häß\n0 0\n")

	if err := r.Push(testContext(t), preparePush(t, "b")); err != nil {
		t.Fatal(err)
	}
	r.EndPush(false)
	wantPrinted(t, r, "vars\nheld", "a häß\n0 0\n")
	if r.State() != Ready {
		t.Errorf("rank is %v", r.State())
	}
}

func TestPreparePushOfNonsense(t *testing.T) {
	if _, err := PreparePush(wire.PushRequest{Payload: wire.Payload(`{"fil`)}); err == nil {
		t.Error("a payload that is not JSON was accepted")
	}
}

func TestPull(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	payload, release, err := r.Pull(testContext(t), []string{"a"})
	if err != nil || string(payload) != `{"names":["a"],"rank":0}` {
		t.Fatalf("payload %s, %v", payload, err)
	}
	wantPrinted(t, r, "held", "1 0\n")
	release()
	wantPrinted(t, r, "held", "0 0\n")
	release() // again: nothing
	wantPrinted(t, r, "held", "0 0\n")
}

// wantRefusal fails a test whose error is not that of the process about a variable.
func wantRefusal(t *testing.T, err error, ename, variable string) {
	t.Helper()
	var refusal *wire.ReplyError
	if !errors.As(err, &refusal) || refusal.EName != ename || refusal.Variable != variable {
		t.Errorf("error %v (%+v), want %s of %s", err, refusal, ename, variable)
	}
}

func TestTransferRefused(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	wantRefusal(t, r.Push(testContext(t), preparePush(t, "missing")), "NameError", "missing")
	_, release, err := r.Pull(testContext(t), []string{"missing", "a"})
	wantRefusal(t, err, "NameError", "missing")
	if release != nil {
		t.Error("there is something to release")
	}
	app := "missing"
	_, err = r.SetApp(testContext(t), wire.AppRequest{App: &app})
	wantRefusal(t, err, "NameError", "missing")
	if r.App() != "torch" {
		t.Errorf("app is %s", r.App())
	}
	wantPrinted(t, r, "vars\nheld", "\n0 0\n")
}

// requests are the three requests that the main thread serves, each about one name.
var requests = map[string]func(context.Context, *Process, string) error{
	"push": func(ctx context.Context, p *Process, name string) error {
		req, err := PreparePush(wire.PushRequest{Names: []string{name}})
		if err != nil {
			return err
		}
		return p.Push(ctx, req)
	},
	"pull": func(ctx context.Context, p *Process, name string) error {
		_, _, err := p.Pull(ctx, []string{name})
		return err
	},
	"app": func(ctx context.Context, p *Process, name string) error {
		_, err := p.SetApp(ctx, wire.AppRequest{App: &name})
		return err
	},
}

// begin begins a request that does not end by itself, and returns when the process serves it.
func begin(t *testing.T, ctx context.Context, p *Process, request func(context.Context, *Process, string) error, name string) <-chan error {
	t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- request(ctx, p, name) }()
	await(t, "the request to be served", func() bool {
		st, err := p.Status(testContext(t))
		return err == nil && st.MsgID != ""
	})
	if p.State() != Busy {
		t.Errorf("while it serves, the process is %v", p.State())
	}
	return failed
}

func waitError(t *testing.T, ch <-chan error) error {
	t.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(testTimeout):
		t.Fatal("the request does not end")
		return nil
	}
}

// When the context ends, the process is interrupted, and nothing is left in it.
func TestTransferInterrupted(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	r.node.interruptPatience = testTimeout
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(testContext(t))
			failed := begin(t, ctx, r, request, "slow")
			cancel(errors.New("enough"))
			err := waitError(t, failed)
			wantRefusal(t, err, "KeyboardInterrupt", "slow")
			if !strings.HasPrefix(err.Error(), "enough: ") {
				t.Errorf("error %v does not say why", err)
			}
			wantPrinted(t, r, "vars\nheld", "\n0 0\n")
			await(t, "the rank to be ready", func() bool { return r.State() == Ready })
		})
	}
}

// A request that waits behind a cell is taken out of the queue.
func TestTransferAborted(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	r.node.interruptPatience = testTimeout
	x := start(r, "print on\nwait")
	await(t, "the execution to begin", func() bool { return x.output() != "" })
	ctx, cancel := context.WithCancel(testContext(t))
	failed := make(chan error, 1)
	go func() { failed <- requests["push"](ctx, r, "a") }()
	await(t, "the request to be made", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.serving > 0
	})
	cancel()
	await(t, "its interrupt to be sent", func() bool { return r.State() == Interrupting })
	if err := r.Interrupt(testContext(t), ""); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, waitError(t, failed), "KeyboardInterrupt", "a")
	x.wait(t)
	wantPrinted(t, r, "vars\nheld", "\n0 0\n")
}

func TestTransferCancelledBefore(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, request := range requests {
		if err := request(ctx, r, "stuck"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantPrinted(t, r, "held", "0 0\n")
}

// An interrupt that comes too late changes nothing: the answer counts.
func TestTransferInterruptedTooLate(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	r.node.interruptPatience = testTimeout
	ctx, cancel := context.WithCancel(testContext(t))
	failed := begin(t, ctx, r, requests["push"], "late")
	cancel()
	if err := waitError(t, failed); err != nil {
		t.Error(err)
	}
	r.EndPush(true)
	wantPrinted(t, r, "vars", "late\n")
}

// A process that heeds no interrupt is given up, stays busy, and once it answers keeps nothing.
func TestTransferAnsweredAfterAll(t *testing.T) {
	for _, name := range []string{"push", "pull"} {
		t.Run(name, func(t *testing.T) {
			r := transferRank(t, fakerank.Config{})
			ctx, cancel := context.WithCancel(testContext(t))
			failed := begin(t, ctx, r, requests[name], "tardy")
			cancel()
			err := waitError(t, failed)
			if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "rank 0 does not answer") {
				t.Errorf("error %v", err)
			}
			if r.State() != Interrupting {
				t.Errorf("rank is %v", r.State())
			}
			if err := r.Interrupt(testContext(t), ""); err != nil {
				t.Fatal(err)
			}
			await(t, "the late answer", func() bool { return r.State() == Ready })
			await(t, "nothing to be kept", func() bool { return execute(t, r, "held").output() == "0 0\n" })
		})
	}
}

// An answer that cannot be read is an error, and what it stood for is let go.
func TestTransferRubbish(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	for name, request := range requests {
		if err := request(testContext(t), r, "rubbish"); err == nil || !strings.Contains(err.Error(), "rank 0: content of "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantPrinted(t, r, "vars\nheld", "\n0 0\n")
}

func TestTransferDeath(t *testing.T) {
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			r := transferRank(t, fakerank.Config{})
			err := request(testContext(t), r, "fatal")
			wantError(t, err, "rank 0 exited with code 9")
			var exit *ExitError
			if !errors.As(err, &exit) {
				t.Errorf("%T", err)
			}
			wantError(t, request(testContext(t), r, "a"), "rank 0 exited with code 9")
			r.EndPush(true) // to nobody
		})
	}
}

// A shutdown interrupts what the main thread serves, and ends it if that does not heed.
func TestTransferShutdown(t *testing.T) {
	for name, request := range requests {
		for _, test := range []struct {
			name   string
			ladder Ladder
		}{
			{"slow", Ladder{Ask: testTimeout}}, // the first step suffices
			{"stuck", quick},
		} {
			t.Run(name+" "+test.name, func(t *testing.T) {
				r := transferRank(t, fakerank.Config{})
				failed := begin(t, testContext(t), r, request, test.name)
				if err := r.pool.Shutdown(testContext(t), test.ladder); err != nil {
					t.Error(err)
				}
				if err := waitError(t, failed); err == nil {
					t.Error("the request succeeded")
				}
				if r.State() != Stopped {
					t.Errorf("rank is %v, %v", r.State(), r.Err())
				}
			})
		}
	}
}

func TestSetApp(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	p := startPool(t, n, 3)
	if p.App() != "torch" || p.Method() != StartFork {
		t.Errorf("app %s, %v", p.App(), p.Method())
	}
	loud := "loud"
	notices, err := p.SetApp(testContext(t), wire.AppRequest{App: &loud})
	if err != nil || len(notices) != 1 || notices[0] != "app loud is loud" || p.App() != "loud" {
		t.Errorf("app %s, notices %q, %v", p.App(), notices, err)
	}
}

// A command of a process reaches the handler of what it runs, and the answer gets back.
func TestCommand(t *testing.T) {
	r := transferRank(t, fakerank.Config{})
	h := &commandHandler{run: newRun(), process: r}
	r.ExecutePrepared(Prepare(execRequest(`ask {"id":7,"command":"info"}`)), h)
	h.wait(t)
	if got := h.output(); !strings.Contains(got, `"text":"hello"`) {
		t.Errorf("printed %q, %v", got, h.err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.happened) != 2 || h.happened[1] != Happening(CommandEnd{ID: 7}) {
		t.Errorf("happened: %+v", h.happened)
	}
}

// commandHandler answers every command.
type commandHandler struct {
	*run
	process *Process
}

func (h *commandHandler) Happened(got Happening) {
	h.run.Happened(got)
	if c, ok := got.(Command); ok {
		_ = h.process.Answer(wire.MakeCommandReply{CommandStatus: wire.CommandStatus{ID: c.ID, Status: wire.Status{Status: "ok"}}, Text: "hello"})
	}
}
