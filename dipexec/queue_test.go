package dipexec

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// nobody is a holder that cannot be cancelled.
type nobody struct{}

func (nobody) cancel() {}

// taking takes a turn in the background and tells when it has come.
func taking(t *testing.T, tk *ticket) <-chan struct{} {
	taken := make(chan struct{})
	go func() {
		if err := tk.take(t.Context()); err == nil {
			close(taken)
		}
	}()
	return taken
}

func has(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(queue)
		first, second := q.enter(place{1, itself}, nobody{}), q.enter(place{2, itself}, nobody{})
		late := taking(t, second)
		if has(late) {
			t.Error("a turn came before its time")
		}
		early := taking(t, first)
		if !has(early) || q.current() == nil {
			t.Error("the first was not let go")
		}
		command := q.enter(place{2, 3}, nobody{}) // what the second run's cell asks for, though the run waits already
		turn := taking(t, command)
		if has(turn) {
			t.Error("a command ran in the middle of a run")
		}
		first.leave()
		if !has(turn) || has(late) {
			t.Error("the command did not go before its run")
		}
		command.leave()
		command.leave() // again: nothing happens
		if !has(late) {
			t.Error("the second was not let go")
		}
		second.leave()
		if q.current() != nil || len(q.waiting) > 0 {
			t.Error("the queue is not empty")
		}
	})
}

// A holder that does not want its turn yet keeps its place; one that leaves lets the next one go.
func TestQueueKeepsPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(queue)
		first, second := q.enter(place{1, itself}, nobody{}), q.enter(place{2, itself}, nobody{})
		turn := taking(t, second)
		if has(turn) {
			t.Error("the second has overtaken the first")
		}
		ctx, cancel := context.WithCancel(t.Context())
		third := q.enter(place{3, itself}, nobody{})
		failed := make(chan error, 1)
		go func() { failed <- third.take(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-failed; err == nil {
			t.Error("a turn came after the end")
		}
		third.leave()
		first.leave()
		if !has(turn) || len(q.waiting) > 0 {
			t.Error("the second was not let go")
		}
		second.leave()
		if err := q.enter(place{4, itself}, nobody{}).take(ctx); err == nil || q.current() != nil {
			t.Error("a turn was taken after the end")
		}
	})
}

const (
	asking  = "%dipush" // marks a cell as one that may ask for the ranks
	failing = "fail"    // has a cell fail
)

// scriptedPool has one rank, and a local namespace that carries out the cells' code: commands between semicolons.
type scriptedPool struct {
	local *scriptedProcess
	rank  *scriptedProcess

	mu    sync.Mutex
	log   []string // what happened on the rank, in order
	users int      // how many are on the rank
}

func (p *scriptedPool) Local(context.Context) (Process, error)   { return p.local, nil }
func (p *scriptedPool) Ranks(context.Context) ([]Process, error) { return []Process{p.rank}, nil }

func (p *scriptedPool) Info(context.Context) wire.PoolInfo { return wire.PoolInfo{} }

func (p *scriptedPool) Make(context.Context, wire.MakeCommand) (string, error) {
	p.onRank("make")
	return "", nil
}

// onRank occupies the rank for a while.
func (p *scriptedPool) onRank(what string) {
	p.mu.Lock()
	p.log = append(p.log, what)
	if p.users++; p.users > 1 {
		p.log = append(p.log, "overlap!")
	}
	p.mu.Unlock()
	time.Sleep(rand.N(10 * time.Millisecond))
	p.mu.Lock()
	p.users--
	p.mu.Unlock()
}

type scriptedProcess struct {
	*fakeProcess
	pool *scriptedPool

	mu        sync.Mutex
	id        int
	interrupt map[string]chan struct{} // closed: by the id of an execution
}

func (p *scriptedProcess) ExecutePrepared(_ *ranks.PreparedRequest, h ranks.Handler) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.id++
	id := fmt.Sprint(p.rank, ".", p.id)
	interrupted := make(chan struct{})
	p.interrupt[id] = interrupted
	code := h.(*part).r.req.Code
	go func() {
		reply := &wire.ExecuteReply{Status: wire.Status{Status: "ok"}}
		if !p.who.IsLocal() {
			name, rest, _ := strings.Cut(code, ":")
			p.pool.onRank(name)
			if rest == failing {
				reply.Status.Status = "error"
			}
		} else if !p.script(code, h, interrupted) {
			reply.Status.Status = "error"
		}
		h.Done(reply, nil)
	}()
	return id
}

// script carries out a cell's code; it reports false if it failed or was interrupted.
func (p *scriptedProcess) script(code string, h ranks.Handler, interrupted chan struct{}) bool {
	_, code, _ = strings.Cut(code, ":")
	for content := range strings.SplitSeq(code, ";") {
		switch content {
		case "", asking:
			continue
		case failing:
			return false
		}
		p.mu.Lock()
		p.id++
		id := p.id
		p.mu.Unlock()
		h.Happened(commanded(fmt.Sprintf(`{"id":%d,%s}`, id, content)))
		select {
		case <-p.answers:
		case <-interrupted:
			h.Happened(ranks.CommandEnd{ID: id})
			<-p.answers
			return false
		}
	}
	return true
}

func (p *scriptedProcess) Interrupt(_ context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.interrupt[id]; c != nil {
		close(c)
		delete(p.interrupt, id)
	}
	return nil
}

func (p *scriptedProcess) Push(context.Context, *ranks.PreparedPush) error {
	p.pool.onRank("push")
	return nil
}

func newScriptedPool() *scriptedPool {
	p := &scriptedPool{}
	for who, where := range map[ranklist.Who]**scriptedProcess{ranklist.Local: &p.local, ranklist.Rank(0): &p.rank} {
		*where = &scriptedProcess{fakeProcess: newFakeProcess(who), pool: p, interrupt: map[string]chan struct{}{}}
	}
	return p
}

// scenario is what somebody does, and what has to happen on the rank.
type scenario struct {
	sequences []scriptedSequence
	want      []string
}

// scriptedSequence is requests that are started together.
type scriptedSequence struct {
	requests []Request
	goOn     bool
	want     []event.Status
}

// start starts all runs of a scenario.
func (s scenario) start(t *testing.T, e *Executor) (ids []string) {
	t.Helper()
	for _, seq := range s.sequences {
		begun, err := e.StartSequence(seq.requests, seq.goOn)
		if err != nil || len(begun) != len(seq.requests) {
			t.Fatal(begun, err)
		}
		ids = append(ids, begun...)
	}
	return ids
}

func randomScenario(t *testing.T, r *rand.Rand) scenario {
	var s scenario
	var seq *scriptedSequence
	autodip := false
	skipping := false // the rest of the sequence does not run
	for i := range 1 + r.IntN(12) {
		if seq == nil || r.IntN(2) == 0 {
			s.sequences = append(s.sequences, scriptedSequence{goOn: r.IntN(3) == 0})
			seq = &s.sequences[len(s.sequences)-1]
			skipping = false
		}
		if r.IntN(8) == 0 {
			seq.requests = append(seq.requests, RequestForPool(wire.MakeCommand{}))
			if skipping {
				seq.want = append(seq.want, event.StatusSkipped)
			} else {
				seq.want = append(seq.want, event.StatusOK)
				s.want = append(s.want, "make")
			}
			continue
		}
		where := []string{"", "local", "remote", "everywhere"}[r.IntN(4)]
		req := Request{NoAutodip: r.IntN(4) == 0}
		if where != "" {
			req.Target = target(t, where)
		}
		open := where == "" && !req.NoAutodip
		name := fmt.Sprint("cell ", i)
		req.Code = name + ":"
		var want []string
		switchedTo := autodip
		onRank := where == "remote" || where == "everywhere" || open && autodip
		if where == "everywhere" || !onRank {
			for n := range r.IntN(4) {
				var content, log string
				switch r.IntN(6) {
				case 0:
					content, log = `"command":"push","names":["x"]`, "push"
				case 1:
					content, log = `"command":"make"`, "make"
				case 2, 3:
					log = fmt.Sprintf("%s.%d", name, n)
					content = fmt.Sprintf(`"command":"run","wait":%t,"code":"%s:"`, r.IntN(2) == 0, log)
				case 4:
					content = `"command":"info"`
				case 5:
					switchedTo = r.IntN(2) == 0
					content = fmt.Sprintf(`"command":"autodip","on":%t`, switchedTo)
				}
				req.Code += content + ";"
				if log != "" {
					req.Code += asking + ";"
					want = append(want, log)
				}
			}
		}
		status := event.StatusOK
		if where != "everywhere" && r.IntN(6) == 0 { // that one would fail in the local namespace or on the rank
			req.Code += failing
			status = event.StatusError
		}
		if where == "remote" && r.IntN(3) == 0 {
			req.Directive = cells.Directive{Target: req.Target, Px: true, NoBlock: cells.Yes}
		}
		if onRank {
			want = append(want, name)
		}
		seq.requests = append(seq.requests, req)
		if skipping {
			seq.want = append(seq.want, event.StatusSkipped)
			continue
		}
		seq.want = append(seq.want, status)
		s.want = append(s.want, want...)
		autodip = switchedTo
		skipping = status != event.StatusOK && !seq.goOn && req.Directive.NoBlock != cells.Yes
	}
	return s
}

// Whatever runs there are and whatever their cells ask for, in the end all have had their turn: one at a time, in the order
// in which a person would run them.
func TestEverythingHasItsTurn(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			s := randomScenario(t, rand.New(rand.NewPCG(seed, 1)))
			pool := newScriptedPool()
			e := New(Options{Pool: pool, Manager: pool})
			ids := s.start(t, e)
			e.waitAll()
			for _, seq := range s.sequences {
				for _, want := range seq.want {
					if r := mustWait(t, e, ids[0]); r.Status != want || (r.Reason != "") != (want == event.StatusSkipped) {
						t.Errorf("seed %d: run %s: %+v, want %s", seed, ids[0], r, want)
					}
					ids = ids[1:]
				}
			}
			e.Close(t.Context())
			if !slices.Equal(pool.log, s.want) {
				t.Fatalf("seed %d: on the rank were\n%q\nwant\n%q", seed, pool.log, s.want)
			}
		})
	}
}

// Whatever is cancelled at whatever time, everything ends, and what happens happens in order.
func TestCancelledTurns(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			s := randomScenario(t, r)
			pool := newScriptedPool()
			e := New(Options{Pool: pool, Manager: pool})
			ids := s.start(t, e)
			for range 1 + r.IntN(3) {
				time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
				_ = e.Cancel(ids[r.IntN(len(ids))]) // it may have ended
			}
			e.waitAll()
			e.Close(t.Context())
			if q := &e.queues[poolNamespace]; q.active != nil || len(q.waiting) > 0 || len(e.commands) > 0 {
				t.Fatalf("seed %d: something is left: %+v", seed, q)
			}
			last := 0
			for _, what := range pool.log {
				cell := last
				_, _ = fmt.Sscanf(what, "cell %d", &cell) // what has no number is not a cell's own
				if what == "overlap!" || cell < last {
					t.Fatalf("seed %d: %q", seed, pool.log)
				}
				last = cell
			}
		})
	}
}

// waitAll waits until no run is left.
func (e *Executor) waitAll() {
	for {
		e.mu.Lock()
		var left *run
		for _, left = range e.runs {
			break
		}
		e.mu.Unlock()
		if left == nil {
			return
		}
		<-left.finished
	}
}
