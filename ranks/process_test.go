package ranks

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/ranks/fakerank"
	"dipls/ranks/wire"
)

func TestExecute(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	r := startPool(t, n, 1).Ranks()[0]

	got := execute(t, r, "print one\nstderr two\nresult 3\ndisplay image/png AAAA\nprint four")
	if got.output() != "one\ntwo\nfour\n" {
		t.Errorf("printed %q", got.output())
	}
	want := []Happening{
		Result{ExecutionCount: 1, Data: map[string]json.RawMessage{"text/plain": json.RawMessage(`"3"`)}},
		Display{Data: map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`)}},
	}
	if happened := sizeless(t, got.happened); !reflect.DeepEqual(happened, want) {
		t.Errorf("happened: %+v", happened)
	}
	if got.reply == nil || got.reply.Status.Status != "ok" || got.reply.ExecutionCount != 1 {
		t.Errorf("reply %+v, %v", got.reply, got.err)
	}

	got = execute(t, r, "error ValueError no such thing\nprint never")
	if got.output() != "" || got.err != nil || got.reply.EName != "ValueError" || got.reply.EValue != "no such thing" {
		t.Errorf("printed %q, reply %+v, %v", got.output(), got.reply, got.err)
	}
	if r.State() != Ready {
		t.Errorf("state %v", r.State())
	}
}

func TestExecuteInOrder(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	r := startPool(t, n, 1).Ranks()[0]
	var mu sync.Mutex
	var order []int
	var runs []*run
	for i := range 50 {
		x := newRun()
		runs = append(runs, x)
		r.Execute(wire.ExecuteRequest{Code: "print x"}, hookHandler{x, func() {
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
		}})
	}
	for i, x := range runs {
		x.wait(t)
		if x.output() != "x\n" {
			t.Errorf("execution %d printed %q", i, x.output())
		}
	}
	for i, got := range order {
		if got != i {
			t.Fatalf("order %v", order)
		}
	}
}

// hookHandler calls a function at the end.
type hookHandler struct {
	Handler
	done func()
}

func (h hookHandler) Done(reply *wire.ExecuteReply, err error) {
	h.done()
	h.Handler.Done(reply, err)
}

func TestInterrupt(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	r := startPool(t, n, 1).Ranks()[0]
	running, queued, last := newRun(), newRun(), newRun()
	id := r.Execute(wire.ExecuteRequest{Code: "print on\nwait"}, running)
	queuedID := r.Execute(wire.ExecuteRequest{Code: "print never"}, queued)
	r.Execute(wire.ExecuteRequest{Code: "print last"}, last)
	await(t, "the execution to begin", func() bool { return running.output() != "" })
	if st, err := r.Status(testContext(t)); err != nil || st.ExecutionState != "busy" || st.MsgID != id {
		t.Errorf("status %+v, %v; want busy with %s", st, err, id)
	}
	if st, err := r.Stack(testContext(t)); err != nil || len(st.Threads) != 1 || !st.Threads[0].Main {
		t.Errorf("stack %+v, %v", st, err)
	}
	if err := r.Interrupt(testContext(t), queuedID); err != nil {
		t.Error(err)
	}
	if err := r.Interrupt(testContext(t), id); err != nil {
		t.Error(err)
	}
	if running.wait(t); running.reply.EName != "KeyboardInterrupt" {
		t.Errorf("running: %+v", running.reply)
	}
	if queued.wait(t); queued.reply.Status.Status != "aborted" || queued.output() != "" {
		t.Errorf("queued: %+v", queued.reply)
	}
	if last.wait(t); last.reply.Status.Status != "ok" {
		t.Errorf("last: %+v", last.reply)
	}
}

func TestStates(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]string{}
	n := startFake(t, fakerank.Config{}, func(o *Options) {
		o.OnState = func(c StateChange) {
			mu.Lock()
			defer mu.Unlock()
			who := "pool"
			if c.Process != nil {
				who = c.Process.Name()
			}
			if len(seen[who]) == 0 {
				seen[who] = []string{c.From.String()}
			}
			seen[who] = append(seen[who], c.To.String())
		}
	})
	p := startPool(t, n, 2)
	r := p.Ranks()[0]
	x := start(r, "print on\nwait")
	await(t, "the execution to begin", func() bool { return x.output() != "" })
	if p.State() != Busy {
		t.Errorf("pool is %v", p.State())
	}
	if err := r.Interrupt(testContext(t), ""); err != nil {
		t.Error(err)
	}
	x.wait(t)
	execute(t, p.Ranks()[1], "exit 3")
	waitFor(t, "the end of rank 1", p.Ranks()[1].Done())
	if p.State() != Dead || p.Err() == nil {
		t.Errorf("pool is %v, %v", p.State(), p.Err())
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
	waitFor(t, "the end of the pool", p.Done())
	closeNode(t, n)
	want := map[string]string{
		"rank 0": "starting ready busy interrupting ready stopped",
		"rank 1": "starting ready busy dead",
		"pool":   "starting starting ready busy interrupting ready busy dead",
	}
	for who, states := range want {
		if got := strings.Join(seen[who], " "); got != states {
			t.Errorf("%s: %s, want %s", who, got, states)
		}
	}
}

func TestDeath(t *testing.T) {
	for _, test := range []struct {
		name, code string
		want       string // of the error
		output     string
	}{
		{"exit", "print last words\nexit 3", "rank 0 exited with code 3 (os._exit?)", "last words\n"},
		{"exit 0", "exit 0", "rank 0 exited with code 0 (os._exit?)", ""},
		{"killed", "signal SIGKILL", "rank 0 was killed by SIGKILL", ""},
		{"segfault", "print a\nsignal SIGSEGV", "rank 0 was killed by SIGSEGV (segmentation fault)", "a\n"},
		{"tail", "print sent\ntail unsent\nexit 1", "rank 0 exited with code 1 (os._exit?)", "sent\nunsent\n"},
		{"inherited socket", "print a\nlinger 4", "rank 0 exited with code 4 (os._exit?)", "a\n"},
		{"half a message", "print a\nhalf", "rank 0 exited with code 1 (os._exit?)", "a\n"},
		{"not ZMTP", "print a\ngarbage\nstuck", "lost the connection to rank 0 (pid 8388608): ", "a\n"},
		{"endless frame", "long\nstuck", "a frame of 1099511627776 bytes makes the message longer than 1073741824 bytes", ""},
		{"ZMTP command", "command\nstuck", "a ZMTP command after the handshake", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := startFake(t, fakerank.Config{Processes: test.name == "inherited socket"})
			p := startPool(t, n, 2)
			r := p.Ranks()[0]
			x, queued := start(r, test.code), start(r, "print never")
			x.wait(t)
			queued.wait(t)
			var exit *ExitError
			if !errors.As(x.err, &exit) || !strings.Contains(x.err.Error(), test.want) {
				t.Errorf("error %v, want %s", x.err, test.want)
			}
			if x.reply != nil || x.output() != test.output {
				t.Errorf("reply %v, printed %q", x.reply, x.output())
			}
			if queued.err == nil || queued.output() != "" {
				t.Errorf("the next one: %v, printed %q", queued.err, queued.output())
			}
			waitFor(t, "the end", r.Done())
			if r.State() != Dead || p.State() != Dead || r.Err() == nil {
				t.Errorf("rank %v, pool %v, error %v", r.State(), p.State(), r.Err())
			}
			if late := start(r, "print late").wait(t); late.err == nil {
				t.Error("a dead rank took an execution")
			}
			if _, err := r.Status(testContext(t)); !errors.As(err, &exit) {
				t.Errorf("status of a dead rank: %v", err)
			}
			if got := execute(t, p.Ranks()[1], "print alive"); got.output() != "alive\n" {
				t.Errorf("the other rank printed %q, %v", got.output(), got.err)
			}
		})
	}
}

// A process that lives but cannot be reached is killed: nothing of it may be left.
func TestVanish(t *testing.T) {
	n := startFake(t, fakerank.Config{Processes: true})
	n.wordGrace = 100 * time.Millisecond
	r := startPool(t, n, 1).Ranks()[0]
	x := execute(t, r, "vanish")
	if x.err == nil || !strings.HasPrefix(x.err.Error(), "lost the connection to rank 0 (pid ") {
		t.Errorf("error %v", x.err)
	}
	await(t, "its process to be gone", func() bool { return !running(r.ID()) })
}

func TestDroppedMessages(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	r := startPool(t, n, 1).Ranks()[0]
	x := execute(t, r, "print a\nbadsig b\nsession c\nmalformed\nreplay d\nagain e\nprint f")
	if want := "a\nd\ne\nf\n"; x.output() != want || x.err != nil {
		t.Errorf("printed %q, %v; want %q", x.output(), x.err, want)
	}
}

// sizeless gives rich output without its size on the wire, which has to be told.
func sizeless(t *testing.T, happened []Happening) []Happening {
	t.Helper()
	var without []Happening
	for _, h := range happened {
		size := 1
		switch rich := h.(type) {
		case Display:
			size, rich.Size = rich.Size, 0
			h = rich
		case Result:
			size, rich.Size = rich.Size, 0
			h = rich
		}
		if size < 1 {
			t.Errorf("%+v has no size", h)
		}
		without = append(without, h)
	}
	return without
}

// What a process says comes decoded. A message whose type is not known is dropped and named in the log, and one that cannot be read is told of.
func TestHappenings(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	n := startFake(t, fakerank.Config{}, func(o *Options) { o.Log = zap.New(core) })
	r := startPool(t, n, 1).Ranks()[0]
	data := `"data":{"text/plain":"x"},"metadata":{"text/plain":{"a":1}}`
	got := execute(t, r, strings.Join([]string{
		`say display_data {` + data + `,"transient":{"display_id":"d1"}}`,
		`say update_display_data {` + data + `,"transient":{"display_id":"d1"}}`,
		`say clear_output {"wait":true}`,
		`say execute_result {` + data + `,"execution_count":7}`,
		`say error {"ename":"ValueError","evalue":"no","traceback":["line"],"frames":[{"file":"/a.py","line":3,"name":"f","run":"a-1"}]}`,
		`say command_request {"id":4,"command":"info","more":1}`,
		`say command_end {"id":4}`,
		`say display_data {"data":3}`,
		`say news {"of":"tomorrow"}`,
	}, "\n"))
	rich := map[string]json.RawMessage{"text/plain": json.RawMessage(`"x"`)}
	metadata := map[string]json.RawMessage{"text/plain": json.RawMessage(`{"a":1}`)}
	want := []Happening{
		Display{Data: rich, Metadata: metadata, ID: "d1"},
		Display{Data: rich, Metadata: metadata, ID: "d1", Update: true},
		Clear{Wait: true},
		Result{ExecutionCount: 7, Data: rich, Metadata: metadata},
		Failure{EName: "ValueError", EValue: "no", Traceback: []string{"line"}, Frames: []wire.Frame{{File: "/a.py", Line: 3, Name: "f", Run: "a-1"}}},
		Command{wire.Command{ID: 4, Command: "info"}, json.RawMessage(`{"id":4,"command":"info","more":1}`)},
		CommandEnd{ID: 4},
	}
	happened := sizeless(t, got.happened)
	if len(happened) != len(want)+1 || !reflect.DeepEqual(happened[:len(want)], want) {
		t.Fatalf("happened: %+v", happened)
	}
	if u, ok := happened[len(want)].(Unreadable); !ok || u.Type != "display_data" || u.Err == nil {
		t.Errorf("happened: %+v", happened[len(want)])
	}
	if unknown := logs.FilterField(zap.String("type", "news")).All(); len(unknown) != 1 {
		t.Errorf("logged: %+v", logs.All())
	}
}

func TestFlood(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	p := startPool(t, n, 2)
	const size = 20 << 20
	var got int
	var counted sync.WaitGroup
	counted.Add(1)
	h := &countHandler{size: &got, done: counted.Done}
	p.Ranks()[0].Execute(wire.ExecuteRequest{Code: "flood 20971520"}, h)
	big := execute(t, p.Ranks()[1], "big 20971520")
	if len(big.output()) != size {
		t.Errorf("one message: %d bytes, want %d", len(big.output()), size)
	}
	counted.Wait()
	if got != size {
		t.Errorf("%d bytes, want %d", got, size)
	}
}

type countHandler struct {
	size *int
	done func()
}

func (h *countHandler) Happened(got Happening)             { *h.size += len(got.(Output).Data) }
func (h *countHandler) Done(_ *wire.ExecuteReply, _ error) { h.done() }

// A handler that waits holds up its own process: that stops printing when 1 MiB is not acknowledged. It holds up no other.
func TestSlowHandler(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	p := startPool(t, n, 2)
	gate := make(chan struct{})
	slow := newRun()
	h := &gateHandler{run: slow, gate: gate, entered: make(chan struct{})}
	p.Ranks()[0].Execute(wire.ExecuteRequest{Code: "flood 8388608"}, h)
	waitFor(t, "the first output", h.entered)
	for range 20 {
		if got := execute(t, p.Ranks()[1], "print quick"); got.output() != "quick\n" {
			t.Errorf("printed %q", got.output())
		}
	}
	if p.Ranks()[0].State() != Busy {
		t.Errorf("state %v", p.Ranks()[0].State())
	}
	close(gate)
	slow.wait(t)
	if n := len(slow.output()); n != 8<<20 {
		t.Errorf("%d bytes", n)
	}
}

// gateHandler waits at its gate whenever something happens.
type gateHandler struct {
	*run
	gate    chan struct{}
	entered chan struct{}
	once    sync.Once
}

func (h *gateHandler) Happened(got Happening) {
	h.once.Do(func() { close(h.entered) })
	<-h.gate
	h.run.Happened(got)
}

func TestBackground(t *testing.T) {
	n := startFake(t, fakerank.Config{JoinPrint: "a warning of the app"})
	r := startPool(t, n, 1).Ranks()[0]
	got := newRun()
	r.SetBackground(got.Happened)
	if got.output() != "a warning of the app\n" {
		t.Errorf("printed while it started: %q", got.output())
	}
	execute(t, r, "print x\nlater y")
	await(t, "the output after the end", func() bool { return strings.HasSuffix(got.output(), "y\n") })
}

func TestMute(t *testing.T) {
	n := startFake(t, fakerank.Config{}, func(o *Options) { o.Ladder = quick })
	r := startPool(t, n, 1).Ranks()[0]
	x := start(r, "mute")
	if err := end(testContext(t), []*Process{r}, quick); err != nil {
		t.Error(err)
	}
	if x.wait(t); x.err == nil || r.State() != Stopped {
		t.Errorf("error %v, state %v", x.err, r.State())
	}
}
