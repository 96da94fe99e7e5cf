package dipexec

import (
	"strings"
	"testing"
	"time"

	"dipls/cells"
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

func always(g wire.GroupsReply) func() wire.GroupsReply { return func() wire.GroupsReply { return g } }

// afterCounts is an executor on two ranks whose counts differ, or not, after a run.
func afterCounts(t *testing.T, first, second uint64) (*Executor, *recorder, *fakePool) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Path: "/d/t.py", Line: 1, Target: target(t, "remote")})
	one, two := pool.ranks[0].next(), pool.ranks[1].next()
	one.h.Message(message(wire.TypeError, wire.Error{EName: "ValueError", Frames: []wire.Frame{{File: "/d/t.py", Line: 5}}}))
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
	if r := mustWait(t, e, id); r.Status != StatusOK {
		t.Errorf("report %+v", r)
	}
	for _, p := range pool.ranks {
		if said := p.told(); said != "" {
			t.Errorf("rank %d was asked: %s", p.rank, said)
		}
	}
}

func TestRanksOutOfStep(t *testing.T) {
	e, rec, pool := afterCounts(t, 7, 8)
	for _, where := range []string{"remote", "ranks:1"} {
		r := mustWait(t, e, mustStart(t, e, Request{Target: target(t, where)}))
		want := "rank 0 is 1 collective behind (ValueError at t.py:5)"
		if r.Status != StatusError || !strings.Contains(r.Reason, want) || !strings.Contains(r.Reason, "--anyway") {
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
		case <-time.After(30 * time.Second):
			t.Fatal("no reply")
		}
	}
	x.ok()
	mustWait(t, e, id)

	id = mustStart(t, e, Request{Directive: cells.Directive{Target: target(t, "remote"), Anyway: true}})
	pool.ranks[0].next().counted("ok", map[string]uint64{"0": 8})
	pool.ranks[1].next().counted("ok", map[string]uint64{"0": 8})
	if r := mustWait(t, e, id); r.Status != StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	rec.await(t, "warning", func(ev Event) bool {
		l, ok := ev.(*Log)
		return ok && l.Level == LevelWarning && l.Run == id && strings.HasPrefix(l.Text, "the ranks are out of step")
	})
	id = mustStart(t, e, Request{Target: target(t, "remote")}) // in step again
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, id)
}

// A thread's collectives, which the ranks come to at different times, keep no cell from running.
func TestRanksOnTheirWayIntoStep(t *testing.T) {
	e, _, pool := afterCounts(t, 7, 8)
	count := uint64(7)
	pool.ranks[0].stands(func() wire.GroupsReply { count = min(count+1, 9); return world(count - 1) })
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	if r := mustWait(t, e, id); r.Status != StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
}

// The groups of some ranks only count among these.
func TestSubgroupOutOfStep(t *testing.T) {
	pool := newFakePool(4)
	e, _ := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	for i, p := range pool.ranks {
		count := []uint64{3, 3, 5, 4}[i]
		p.next().counted("ok", map[string]uint64{"0": 9, "pair": count})
		p.stands(always(wire.GroupsReply{Groups: []wire.Group{
			{Name: "0", Ranks: []int{0, 1, 2, 3}, Count: 9}, {Name: "pair", Ranks: [][]int{{0, 1}, {2, 3}}[i/2], Count: count},
		}}))
	}
	mustWait(t, e, id)
	r := mustWait(t, e, mustStart(t, e, Request{Target: target(t, "remote")}))
	if r.Status != StatusError || !strings.Contains(r.Reason, "rank 3 is 1 collective behind in the group of ranks 2-3. ") {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
}

// A rank that a run was given up on is waited for, since it may still come to a collective, but not if it is inside of one.
func TestRankNotBack(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool, InterruptGrace: time.Millisecond})
	id := mustStart(t, e, Request{Target: target(t, "remote"), Timeout: time.Millisecond})
	pool.ranks[0].next().counted("error", map[string]uint64{"0": 4})
	deaf := pool.ranks[1].next()
	if r := mustWait(t, e, id); r.Status != StatusInterrupted {
		t.Fatalf("report %+v", r)
	}
	pool.ranks[0].stands(always(world(4)))
	pool.ranks[1].stands(always(world(4)))

	id = mustStart(t, e, Request{Target: target(t, "remote")})
	rec.await(t, "word of the rank", func(ev Event) bool {
		l, ok := ev.(*Log)
		return ok && l.Run == id && l.Text == "waiting for rank 1, not back from an earlier run"
	})
	inside := world(4)
	inside.Waits, inside.Collective, inside.Path, inside.Line = true, "all_reduce", "/d/t.py", 6
	pool.ranks[1].stands(always(inside))
	if r := mustWait(t, e, id); r.Status != StatusError || !strings.Contains(r.Reason, "rank 1 is still in all_reduce at t.py:6. ") {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
	id = mustStart(t, e, Request{Target: target(t, "remote"), Timeout: 2 * stepPause})
	pool.ranks[1].stands(always(world(4)))
	if r := mustWait(t, e, id); r.Status != StatusInterrupted || !strings.HasPrefix(r.Reason, whyTimeout) {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}

	id = mustStart(t, e, Request{Target: target(t, "remote")})
	deaf.counted("error", map[string]uint64{"0": 4})
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	if r := mustWait(t, e, id); r.Status != StatusOK {
		t.Errorf("ended %s: %s", r.Status, r.Reason)
	}
}
