package dipexec

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// counted ends an execution with what the rank says of its groups.
func (x *fakeExecution) counted(status string, groups map[string]uint64) {
	x.h.Done(&wire.ExecuteReply{Status: wire.Status{Status: status}, Groups: groups}, nil)
}

// world is how a rank of two stands with the group of all.
func world(count uint64) wire.GroupsReply {
	return wire.GroupsReply{Groups: []wire.Group{{Name: "0", Ranks: []int{0, 1}, Count: count}}}
}

func (p *fakeProcess) stands(f func() wire.GroupsReply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups = func() *wire.GroupsReply { g := f(); return &g }
}

func (p *fakeProcess) mends(f func(wire.MendRequest) (*wire.MendReply, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mending = func(_ context.Context, req wire.MendRequest) (*wire.MendReply, error) { return f(req) }
}

// breaks says what happens when the rank's groups are broken.
func (p *fakeProcess) breaks(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.breaking = func(context.Context, wire.BreakRequest) (*wire.BreakReply, error) {
		f()
		return &wire.BreakReply{}, nil
	}
}

// inside is how a rank stands whose main thread is in a collective.
func inside(g wire.GroupsReply, name, path string, line int) wire.GroupsReply {
	g.Operations = []wire.Operation{{Group: "0", Name: name, Thread: 1}}
	g.Threads = []wire.Thread{{ID: 1, Main: true}}
	if line > 0 {
		g.Threads[0].Frames = []wire.StackFrame{{Frame: wire.Frame{File: wire.Path(path), Line: line, Run: "1"}}}
	}
	return g
}

// linesOf describes the events of a run that has ended, one a line.
func linesOf(t *testing.T, rec *recorder, run string) []string {
	t.Helper()
	rec.await(t, "end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == run })
	return eventtest.Describe(slices.DeleteFunc(rec.all(), func(ev event.Event) bool { return ev.Head().Run != run }))
}

func always(g wire.GroupsReply) func() wire.GroupsReply { return func() wire.GroupsReply { return g } }

// afterCounts is an executor on two ranks whose counts differ, or not, after a run.
func afterCounts(t *testing.T, first, second uint64) (*Executor, *recorder, *fakePool) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Path: "/d/t.py", Line: 1, Target: target(t, "remote")})
	one, two := pool.ranks[0].next(), pool.ranks[1].next()
	one.h.Happened(ranks.Failure{EName: "ValueError", Frames: []wire.Frame{{File: "/d/t.py", Line: 5}}})
	one.counted("error", map[string]uint64{"0": first})
	two.counted("ok", map[string]uint64{"0": second})
	mustWait(t, e, id)
	pool.ranks[0].stands(always(world(first)))
	pool.ranks[1].stands(always(world(second)))
	return e, rec, pool
}

func TestRanksInStepAreNotAsked(t *testing.T) {
	e, _, pool := afterCounts(t, 1<<63+4, 1<<63+4) // one has raised, which is nothing to the others
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	pool.ranks[0].next().counted("ok", map[string]uint64{"0": 9, "1": 3}) // a member of a group
	pool.ranks[1].next().counted("ok", map[string]uint64{"0": 9})
	mustWait(t, e, id)
	id = mustStart(t, e, Request{Target: target(t, "remote")})
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	if r := mustWait(t, e, id); r.Status != event.StatusOK {
		t.Errorf("report %+v", r)
	}
	for _, p := range pool.ranks {
		if said := p.told(); said != "" {
			t.Errorf("rank %d was asked: %s", p.rank, said)
		}
	}
}

// Ranks that are out of step are mended before a cell runs on any of them, and that is said.
func TestRanksOutOfStep(t *testing.T) {
	e, rec, pool := afterCounts(t, 7, 8)
	pool.ranks[0].mends(func(wire.MendRequest) (*wire.MendReply, error) {
		pool.ranks[0].stands(always(world(1)))
		return &wire.MendReply{Stale: []wire.Stale{{Name: "model", Type: "DDP", Todo: "wrap it again"}}, Notices: []string{"made to agree"}}, nil
	})
	pool.ranks[1].mends(func(wire.MendRequest) (*wire.MendReply, error) {
		pool.ranks[1].stands(always(world(1)))
		return &wire.MendReply{Stale: []wire.Stale{{Name: "model", Type: "DDP", Todo: "wrap it again"}, {Name: "best", Type: "DDP", Todo: "wrap it again"}}}, nil
	})
	id := mustStart(t, e, Request{Target: target(t, "ranks:1")})
	pool.ranks[1].next().counted("ok", map[string]uint64{"0": 1})
	if r := mustWait(t, e, id); r.Status != event.StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	eventtest.SameLines(t, linesOf(t, rec, id),
		"run_started ranks:1 see 1",
		"log info: the ranks were out of step (rank 0 is 1 collective behind (ValueError at t.py:5)): their process groups have been formed anew",
		"log warning: model (DDP) belongs to the old group: wrap it again",
		"log warning: best (DDP) belongs to the old group: wrap it again (rank 1)",
		"log info: made to agree (rank 0)",
		"rank_state rank 1 busy", "rank_state rank 1 ready ok", "run_finished ok")
	for _, p := range pool.ranks {
		if said := p.told(); said != "groups, groups, connections, break, mend" {
			t.Errorf("rank %d was asked: %s", p.rank, said)
		}
	}
	id = mustStart(t, e, Request{Target: target(t, "remote")}) // in step again: nobody is asked
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, id)
	if said := pool.ranks[0].told(); strings.Count(said, "groups") != 2 {
		t.Errorf("rank 0 was asked: %s", said)
	}
}

// No cell runs before a rank has told its counts that may be out of step, however slow it is.
func TestSilentRankOutOfStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, pool := afterCounts(t, 7, 8)
		pool.ranks[0].mutes(true)
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		time.Sleep(30 * time.Second)
		pool.ranks[0].mutes(false)
		for _, p := range pool.ranks {
			p.next().ok()
			if said := p.told(); !strings.HasSuffix(said, "groups, connections, break, mend") {
				t.Errorf("rank %d was asked: %s", p.rank, said)
			}
		}
		mustWait(t, e, id)
	})
}

// Ranks that cannot be mended refuse a cell, unless it says --anyway.
func TestRanksThatCannotBeMended(t *testing.T) {
	e, rec, pool := afterCounts(t, 7, 8)
	pool.ranks[1].mends(func(wire.MendRequest) (*wire.MendReply, error) {
		return nil, &wire.ReplyError{Name: "rank 1", Request: "mend_request", EName: "RuntimeError", EValue: "no store"}
	})
	for _, where := range []string{"remote", "ranks:1"} {
		r := mustWait(t, e, mustStart(t, e, Request{Target: target(t, where)}))
		want := "rank 0 is 1 collective behind (ValueError at t.py:5); their process groups could not be formed anew: " +
			"rank 1: mend_request failed: RuntimeError: no store. "
		if r.Status != event.StatusError || !strings.Contains(r.Reason, want) || !strings.Contains(r.Reason, "--anyway") {
			t.Errorf("%s: ended %s: %s", where, r.Status, r.Reason)
		}
	}
	id := mustStart(t, e, Request{Target: target(t, "local")})
	x := pool.local.next()
	x.command(`{"id":1,"command":"run","code":"1","ranks":"all","wait":true}`)
	x.command(`{"id":2,"command":"pull","names":["a"],"ranks":"0"}`)
	for range 2 {
		select {
		case reply := <-pool.local.answers:
			refused := strings.Contains(reply, `"run_status":"error","reason":"the ranks are out of step`)
			if pulled := strings.Contains(reply, `"id":2,"status":"ok"`); refused == pulled {
				t.Error(reply)
			}
		case <-time.After(testTimeout):
			t.Fatal("no reply")
		}
	}
	x.ok()
	mustWait(t, e, id)

	id = mustStart(t, e, Request{Directive: cells.Directive{Target: target(t, "remote"), Anyway: true}})
	pool.ranks[0].next().counted("ok", map[string]uint64{"0": 8})
	pool.ranks[1].next().counted("ok", map[string]uint64{"0": 8})
	if r := mustWait(t, e, id); r.Status != event.StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	rec.await(t, "warning", func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && l.Level == event.LevelWarning && l.Run == id && strings.HasPrefix(l.Text, "the ranks are out of step")
	})
}

// With --anyway, groups of ranks that are only out of step stay as they were.
func TestAnywayMendsNothing(t *testing.T) {
	e, _, pool := afterCounts(t, 7, 8)
	id := mustStart(t, e, Request{Directive: cells.Directive{Target: target(t, "ranks:0"), Anyway: true}})
	pool.ranks[0].next().counted("ok", map[string]uint64{"0": 8})
	if r := mustWait(t, e, id); r.Status != event.StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	pool.ranks[0].stands(always(world(8)))
	id = mustStart(t, e, Request{Target: target(t, "remote")})
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, id)
	if said := pool.ranks[0].told(); said != "groups, groups" {
		t.Errorf("rank 0 was asked: %s", said)
	}
}

// A thread's collectives, which the ranks come to at different times, keep no cell from running.
func TestRanksOnTheirWayIntoStep(t *testing.T) {
	e, _, pool := afterCounts(t, 7, 8)
	count := uint64(7)
	pool.ranks[0].stands(func() wire.GroupsReply { count = min(count+1, 9); return world(count - 1) })
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	if r := mustWait(t, e, id); r.Status != event.StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
}

// The groups of some ranks are compared only among these.
func TestSubgroupOutOfStep(t *testing.T) {
	pool := newFakePool(4)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	for i, p := range pool.ranks {
		count := []uint64{3, 3, 5, 4}[i]
		p.next().counted("ok", map[string]uint64{"0": 9, "pair": count})
		p.stands(always(wire.GroupsReply{Groups: []wire.Group{
			{Name: "0", Ranks: []int{0, 1, 2, 3}, Count: 9}, {Name: "pair", Ranks: [][]int{{0, 1}, {2, 3}}[i/2], Count: count},
		}}))
	}
	mustWait(t, e, id)
	id = mustStart(t, e, Request{Target: target(t, "remote")})
	for _, p := range pool.ranks {
		p.next().ok()
	}
	mustWait(t, e, id)
	if text := linesOf(t, rec, id)[1]; !strings.Contains(text, "out of step (rank 3 is 1 collective behind in the group of ranks 2-3): ") {
		t.Error(text)
	}
}

// startNotBack is an executor on two ranks of which rank 1 waits in a collective of a run that was given up.
func startNotBack(t *testing.T) (*Executor, *recorder, *fakePool, *fakeExecution) {
	t.Helper()
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool, InterruptGrace: time.Millisecond})
	id := mustStart(t, e, Request{Target: target(t, "remote"), Timeout: time.Millisecond})
	pool.ranks[0].next().counted("error", map[string]uint64{"0": 4})
	stuck := pool.ranks[1].next()
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
		t.Fatalf("report %+v", r)
	}
	pool.ranks[0].stands(always(world(4)))
	pool.ranks[1].stands(always(inside(world(4), "all_reduce", "/d/t.py", 6)))
	return e, rec, pool, stuck
}

// A rank that a run was given up on is waited for, since it may still come to a collective, and freed if it is inside of one.
func TestRankNotBack(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool, InterruptGrace: time.Millisecond})
	id := mustStart(t, e, Request{Target: target(t, "remote"), Timeout: time.Millisecond})
	pool.ranks[0].next().counted("error", map[string]uint64{"0": 4})
	deaf := pool.ranks[1].next()
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
		t.Fatalf("report %+v", r)
	}
	pool.ranks[0].stands(always(world(4)))
	pool.ranks[1].stands(always(world(4)))
	if said := pool.ranks[1].told(); said != "" {
		t.Errorf("rank 1, which is not back, was asked: %s", said)
	}

	id = mustStart(t, e, Request{Target: target(t, "remote"), Timeout: 2 * stepPause})
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || !strings.HasPrefix(r.Reason, whyTimeout) {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	id = mustStart(t, e, Request{Target: target(t, "remote")})
	rec.await(t, "word of the rank", func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && l.Run == id && l.Text == "waiting for rank 1, not back from an earlier run"
	})
	pool.ranks[1].breaks(func() { deaf.counted("error", map[string]uint64{"0": 5}) })
	pool.ranks[1].stands(always(inside(world(4), "all_reduce", "/d/t.py", 6)))
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	if r := mustWait(t, e, id); r.Status != event.StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	want := "log info: the ranks were out of step (rank 1 is still in all_reduce at t.py:6): their process groups have been formed anew"
	if text := linesOf(t, rec, id)[2]; text != want {
		t.Error(text)
	}
}

// Ranks that are slow to tell their connections keep these at the first tries. They are freed once they have told.
func TestRankNotBackAtTheFirstTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, rec, pool, stuck := startNotBack(t)
		for _, p := range pool.ranks {
			p.silent = context.DeadlineExceeded
		}
		breaks := 0
		pool.ranks[1].breaking = func(_ context.Context, req wire.BreakRequest) (*wire.BreakReply, error) {
			if breaks++; len(req.Connections) > 0 {
				stuck.counted("error", map[string]uint64{"0": 5})
			}
			if breaks == 2 {
				pool.ranks[0].tells(wire.Connection{Local: "127.0.0.1:10", Remote: "127.0.0.1:20"})
				pool.ranks[1].tells(wire.Connection{Local: "127.0.0.1:20", Remote: "127.0.0.1:10"})
			}
			return &wire.BreakReply{}, nil
		}
		begin := time.Now()
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		pool.ranks[0].next().ok()
		pool.ranks[1].next().ok()
		if r := mustWait(t, e, id); r.Status != event.StatusOK {
			t.Errorf("ended %s: %s", r.Status, r.Reason)
		}
		if d := time.Since(begin); d != 2*againPause+stepPause {
			t.Errorf("it took %v", d)
		}
		want := "log info: the ranks were out of step (rank 1 is still in all_reduce at t.py:6): their process groups have been formed anew"
		if text := linesOf(t, rec, id)[1]; text != want {
			t.Error(text)
		}
		once := "connections, break, "
		if said := pool.ranks[1].told(); said != "groups, groups, "+once+once+once+"mend" {
			t.Errorf("rank 1 was asked: %s", said)
		}
		if asked := len(pool.ranks[1].interrupts); asked != 2 { // once by the run that gave up
			t.Errorf("rank 1 was interrupted %d times", asked)
		}
	})
}

// The tries to bring a rank back end, and a cell that is interrupted meanwhile ends at once.
func TestRankThatNeverComesBack(t *testing.T) {
	ignores := func(context.Context, wire.BreakRequest) (*wire.BreakReply, error) { return &wire.BreakReply{}, nil }
	silence := func(ctx context.Context, _ wire.BreakRequest) (*wire.BreakReply, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, c := range map[string]struct {
		breaking func(context.Context, wire.BreakRequest) (*wire.BreakReply, error)
		tries    int
		took     time.Duration
	}{
		"ignored":    {ignores, 3, 2*againPause + lastPause},
		"unanswered": {silence, 2, backPatience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, _, pool, stuck := startNotBack(t)
				pool.ranks[1].breaking = c.breaking
				begin := time.Now()
				r := mustWait(t, e, mustStart(t, e, Request{Target: target(t, "remote")}))
				if r.Status != event.StatusError || !strings.Contains(r.Reason, "rank 1 is not back from an earlier run, and no interrupt gets through. ") {
					t.Errorf("ended %s: %s", r.Status, r.Reason)
				}
				if d := time.Since(begin) - stepPause; d != c.took {
					t.Errorf("it took %v", d)
				}
				if tries := strings.Count(pool.ranks[1].told(), "break"); tries != c.tries {
					t.Errorf("%d tries", tries)
				}
				id := mustStart(t, e, Request{Target: target(t, "remote")})
				time.Sleep(time.Second) // it is at the first try
				begin = time.Now()
				_ = e.Cancel(id)
				if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || time.Since(begin) != 0 {
					t.Errorf("ended %s: %s after %v", r.Status, r.Reason, time.Since(begin))
				}
				stuck.ok()
			})
		})
	}
}
