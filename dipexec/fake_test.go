package dipexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// testTimeout is for what should take no time at all.
const testTimeout = 2 * time.Minute

// fakeProcess is a Process whose every answer a test gives by hand.
type fakeProcess struct {
	who        ranklist.Who
	rank       int // its number; 0: also the local namespace
	seed       *int64
	on         host.Host // nil: this machine
	executions chan *fakeExecution
	ended      chan struct{} // closed when it has died
	answers    chan string   // replies to its commands

	mu         sync.Mutex
	count      int
	dead       *ranks.ExitError
	background func(ranks.Happening)
	interrupts []string
	interrupt  func(id string) // nil: ignored
	said       []string        // pushes, pulls, and what became of them
	push, pull func(context.Context) error
	groups     func() *wire.GroupsReply // nil: it has joined none
	breaking   func(context.Context, wire.BreakRequest) (*wire.BreakReply, error)
	mending    func(context.Context, wire.MendRequest) (*wire.MendReply, error)

	checks   int   // how often it was asked to compile cells
	checking error // instead of an answer

	connections []wire.Connection
	silent      error // instead
	mute        bool  // it does not say how its groups stand

	standstill string
	condition  host.Condition
	looking    func()                      // what there is to do until it is known; nil: nothing
	names      []string                    // that its namespace binds
	look       func(context.Context) error // comes of a lookup; nil: an answer
}

type fakeExecution struct {
	p  *fakeProcess
	id string
	h  ranks.Handler
}

func newFakeProcess(who ranklist.Who) *fakeProcess {
	rank, _ := who.Rank()
	return &fakeProcess{
		who: who, rank: rank, executions: make(chan *fakeExecution, 64), ended: make(chan struct{}), answers: make(chan string, 64)}
}

func (p *fakeProcess) Seed() *int64 { return p.seed }

func (p *fakeProcess) GroupTimeout() time.Duration { return 0 }

func (p *fakeProcess) Who() ranklist.Who { return p.who }

func (p *fakeProcess) ExecutePrepared(_ *ranks.PreparedRequest, h ranks.Handler) string {
	p.mu.Lock()
	dead := p.dead
	p.count++
	id := fmt.Sprintf("%d-%d", p.rank, p.count)
	p.mu.Unlock()
	if dead != nil {
		h.Done(nil, dead)
		return ""
	}
	p.executions <- &fakeExecution{p, id, h}
	return id
}

func (p *fakeProcess) Push(ctx context.Context, _ *ranks.PreparedPush) error {
	p.mu.Lock()
	p.said = append(p.said, "push")
	f := p.push
	p.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

func (p *fakeProcess) TellHang(event []byte) { p.say("hang " + string(event)) }

func (p *fakeProcess) TellColumns(columns int) { p.say(fmt.Sprintf("columns %d", columns)) }

func (p *fakeProcess) EndPush(commit bool) {
	word := "forget"
	if commit {
		word = "commit"
	}
	p.say(word)
}

func (p *fakeProcess) Pull(ctx context.Context, names []string) (wire.Payload, func(), error) {
	p.mu.Lock()
	p.said = append(p.said, "pull "+strings.Join(names, " "))
	f := p.pull
	p.mu.Unlock()
	if f != nil {
		if err := f(ctx); err != nil {
			return nil, nil, err
		}
	}
	return wire.Payload(fmt.Sprintf(`{"of":%d}`, p.rank)), func() { p.say("release") }, nil
}

func (p *fakeProcess) PullBeside(ctx context.Context, names []string) (wire.Payload, func(), error) {
	p.say("beside:")
	return p.Pull(ctx, names)
}

// Answer keeps the reply as the process gets it.
func (p *fakeProcess) Answer(reply any) error {
	b, err := json.Marshal(reply)
	if err == nil {
		p.answers <- string(b)
	}
	return err
}

// AnswerInput keeps the reply as the process gets it.
func (p *fakeProcess) AnswerInput(reply wire.InputReply) {
	b, _ := json.Marshal(reply)
	p.answers <- string(b)
}

func (p *fakeProcess) Names(_ context.Context, names []string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead != nil {
		return nil, p.dead
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(p.names, name) }), nil
}

func (p *fakeProcess) Groups(ctx context.Context) (*wire.GroupsReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, "groups")
	if p.mute {
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return nil, ctx.Err()
	}
	if p.groups == nil {
		return &wire.GroupsReply{}, nil
	}
	return p.groups(), nil
}

func (p *fakeProcess) Connections(context.Context) ([]wire.Connection, error) {
	p.say("connections")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connections, p.silent
}

func (p *fakeProcess) Break(ctx context.Context, req wire.BreakRequest) (*wire.BreakReply, error) {
	p.say("break")
	p.mu.Lock()
	f := p.breaking
	p.mu.Unlock()
	if f == nil {
		return &wire.BreakReply{}, nil
	}
	return f(ctx, req)
}

func (p *fakeProcess) Mend(ctx context.Context, req wire.MendRequest) (*wire.MendReply, error) {
	p.say(map[bool]string{false: "mend", true: "agree"}[req.Keep])
	p.mu.Lock()
	f := p.mending
	p.mu.Unlock()
	if f == nil {
		return &wire.MendReply{}, nil
	}
	return f(ctx, req)
}

// errForever stands for an answer that never comes.
var errForever = errors.New("no answer")

func (p *fakeProcess) Check(ctx context.Context, req wire.CheckRequest) (*wire.CheckReply, error) {
	p.checks++
	if p.checking == errForever {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	reply := new(wire.CheckReply)
	for i, c := range req.Cells {
		if strings.Contains(c.Code, "= =") {
			frame := wire.Frame{File: c.Path, Line: c.Line, Name: "<module>"}
			reply.Faults = append(reply.Faults, wire.Fault{Cell: i, Error: wire.Error{EName: "SyntaxError", EValue: "invalid syntax", Frames: []wire.Frame{frame}}})
		}
	}
	return reply, p.checking
}

func (p *fakeProcess) Complete(ctx context.Context, req wire.CompleteRequest) (*wire.CompleteReply, error) {
	reply := &wire.CompleteReply{Matches: []string{fmt.Sprintf("%s on %v", req.Code, p.who)}}
	return reply, p.lookedUp(ctx)
}

func (p *fakeProcess) Inspect(ctx context.Context, req wire.InspectRequest) (*wire.InspectReply, error) {
	reply := &wire.InspectReply{Found: true, Data: wire.InspectData{Text: fmt.Sprintf("%s on %v", req.Code, p.who)}}
	return reply, p.lookedUp(ctx)
}

func (p *fakeProcess) Table(context.Context, wire.TableRequest) (*wire.TableReply, error) {
	return nil, ranks.ErrBusy
}

func (p *fakeProcess) Variables(ctx context.Context, _ wire.VariablesRequest) (*wire.VariablesReply, error) {
	return &wire.VariablesReply{Variables: []wire.Object{{Name: fmt.Sprintf("on %v", p.who)}}}, p.lookedUp(ctx)
}

func (p *fakeProcess) lookedUp(ctx context.Context) error {
	p.mu.Lock()
	f := p.look
	p.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

func (p *fakeProcess) say(word string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, word)
}

// told returns what the process was asked and told, a word each.
func (p *fakeProcess) told() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, ", ")
}

func (p *fakeProcess) Done() <-chan struct{} { return p.ended }

func (p *fakeProcess) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead == nil {
		return nil
	}
	return p.dead
}

func (p *fakeProcess) Stack(context.Context) (*wire.StackReply, error) {
	p.say("stack")
	return &wire.StackReply{}, nil
}

func (p *fakeProcess) Vitals(context.Context) (host.Vitals, bool) {
	return host.Vitals{At: time.Now()}, true
}

func (p *fakeProcess) Condition(context.Context, host.Vitals, host.Vitals, bool) host.Condition {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.condition
}

func (p *fakeProcess) Standstill(context.Context) string {
	p.mu.Lock()
	looking := p.looking
	p.mu.Unlock()
	if looking != nil {
		looking()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standstill
}

// tells says what connections the process has, from now on.
func (p *fakeProcess) tells(connections ...wire.Connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connections, p.silent = connections, nil
}

func (p *fakeProcess) mutes(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

func (p *fakeProcess) standsStill(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standstill = why
}

func (p *fakeProcess) SetBackground(f func(ranks.Happening)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.background = f
}

func (p *fakeProcess) Interrupt(_ context.Context, id string) error {
	p.mu.Lock()
	p.interrupts = append(p.interrupts, id)
	f := p.interrupt
	p.mu.Unlock()
	if f != nil {
		f(id)
	}
	return nil
}

// next waits for an execution.
func (p *fakeProcess) next() *fakeExecution { return <-p.executions }

// later prints after the last execution has ended.
func (p *fakeProcess) later(text string) {
	p.mu.Lock()
	f := p.background
	p.mu.Unlock()
	f(outputOf(event.Stdout, text))
}

// command gives a command while the execution goes on.
func (x *fakeExecution) command(content string) {
	x.h.Happened(commanded(content))
}

// endCommand tells that nothing more is needed of a command.
func (x *fakeExecution) endCommand(id int) {
	x.h.Happened(ranks.CommandEnd{ID: id})
}

// command gives a command when nothing is executed.
func (p *fakeProcess) command(content string) {
	p.mu.Lock()
	f := p.background
	p.mu.Unlock()
	f(commanded(content))
}

// answered waits for the next reply and compares it.
func (p *fakeProcess) answered(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-p.answers:
		if got != want {
			t.Errorf("got the reply\n\t%s\nwant\n\t%s", got, want)
		}
	case <-time.After(testTimeout):
		t.Fatalf("no reply; want %s", want)
	}
}

// commanded is a command, as its process writes it.
func commanded(content string) ranks.Command {
	c := ranks.Command{Content: json.RawMessage(content)}
	if err := json.Unmarshal(c.Content, &c.Command); err != nil {
		panic(err)
	}
	return c
}

// outputOf is output to a stream.
func outputOf(stream, text string) ranks.Output {
	return ranks.Output{Stream: stream, Data: []byte(text)}
}

func (x *fakeExecution) print(text string)  { x.h.Happened(outputOf(event.Stdout, text)) }
func (x *fakeExecution) stderr(text string) { x.h.Happened(outputOf(event.Stderr, text)) }

func (x *fakeExecution) result(count int, text string) {
	x.h.Happened(ranks.Result{Data: eventtest.Plain(text), ExecutionCount: count, Size: len(text)})
}

func (x *fakeExecution) display(d ranks.Display) {
	d.Size = 100
	x.h.Happened(d)
}

func (x *fakeExecution) ok() {
	x.h.Done(&wire.ExecuteReply{Status: wire.Status{Status: "ok"}, ExecutionCount: 7}, nil)
}

func (x *fakeExecution) fail(ename, evalue string, frames ...wire.Frame) {
	x.h.Happened(ranks.Failure{EName: ename, EValue: evalue, Traceback: []string{ename + ": " + evalue}, Frames: frames})
	x.h.Done(&wire.ExecuteReply{Status: wire.Status{Status: "error", EName: ename, EValue: evalue}}, nil)
}

func (x *fakeExecution) die() { x.end(false) }

// end ends the process; asked: because the server wanted it so.
func (x *fakeExecution) end(asked bool) {
	rank := x.p.rank
	err := &ranks.ExitError{Name: fmt.Sprintf("rank %d", rank), Rank: &rank, Exit: host.Exit{Signal: "SIGKILL"}, Asked: asked}
	x.p.mu.Lock()
	x.p.dead = err
	close(x.p.ended)
	x.p.mu.Unlock()
	x.h.Done(nil, err)
}

// fakePool is a Pool of fake processes.
type fakePool struct {
	local *fakeProcess
	ranks []*fakeProcess
	err   error
	gate  chan struct{} // Ranks waits for it, unless nil
}

func newFakePool(size int) *fakePool {
	p := &fakePool{local: newFakeProcess(ranklist.Local)}
	for i := range size {
		p.ranks = append(p.ranks, newFakeProcess(ranklist.Rank(i)))
	}
	return p
}

func (p *fakePool) Local(context.Context) (Process, error) { return p.local, nil }

func (p *fakePool) Ranks(ctx context.Context) ([]Process, error) {
	if p.gate != nil {
		select {
		case <-p.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.processes(), nil
}

func (p *fakePool) processes() (procs []Process) {
	for _, r := range p.ranks {
		procs = append(procs, r)
	}
	return procs
}

// recorder reads a subscription and keeps what it got.
type recorder struct {
	sub  *event.Subscription
	done chan struct{}

	mu      sync.Mutex
	events  []event.Event
	arrived chan struct{} // closed and replaced at every arrival
}

func record(sub *event.Subscription) *recorder {
	r := &recorder{sub: sub, done: make(chan struct{}), arrived: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			evs, err := sub.Next(context.Background())
			if err != nil {
				return
			}
			r.mu.Lock()
			r.events = append(r.events, evs...)
			close(r.arrived)
			r.arrived = make(chan struct{})
			r.mu.Unlock()
		}
	}()
	return r
}

// await waits until an event is there for which f answers true.
func (r *recorder) await(t *testing.T, what string, f func(event.Event) bool) {
	t.Helper()
	timeout := time.After(testTimeout)
	for {
		r.mu.Lock()
		found := slices.ContainsFunc(r.events, f)
		arrived := r.arrived
		r.mu.Unlock()
		if found {
			return
		}
		select {
		case <-arrived:
		case <-timeout:
			t.Fatalf("no %s among\n%s", what, strings.Join(r.lines(), "\n"))
		}
	}
}

func (r *recorder) all() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// lines describes the events, one a line.
func (r *recorder) lines() []string { return eventtest.Describe(r.all()) }

func isKind(k event.Kind) func(event.Event) bool {
	return func(e event.Event) bool { return e.Head().Kind == k }
}

// start starts an executor that the test's end closes.
func start(t *testing.T, o Options) (*Executor, *recorder) {
	t.Helper()
	e := New(o)
	rec := record(e.Subscribe())
	t.Cleanup(func() {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		if t.Failed() { // what the test has left running would be waited for
			stop()
		}
		e.Close(ctx)
		<-rec.done
	})
	return e, rec
}

func mustStart(t *testing.T, e *Executor, req Request) string {
	t.Helper()
	id, err := e.Start(req)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustWait(t *testing.T, e *Executor, id string) event.Report {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), testTimeout)
	defer stop()
	r, err := e.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func target(t *testing.T, s string) cells.Target {
	t.Helper()
	tg, err := cells.ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

// fakeHost is a machine of which only the name counts.
type fakeHost struct {
	host.Local
	name string
}

func (h *fakeHost) Name() string { return h.name }

func (p *fakeProcess) Host() host.Host {
	if p.on == nil {
		return host.Local{}
	}
	return p.on
}

// newFakePoolOn is a pool with a rank on each of the hosts that are named, in this order.
func newFakePoolOn(names ...string) *fakePool {
	pool := newFakePool(len(names))
	hosts := map[string]host.Host{}
	for i, name := range names {
		if hosts[name] == nil {
			hosts[name] = &fakeHost{name: name}
		}
		pool.ranks[i].on = hosts[name]
	}
	return pool
}
