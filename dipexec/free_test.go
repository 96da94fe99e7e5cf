package dipexec

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// hung is a run of three ranks of which rank 0 has been interrupted, and the others wait for it in a collective until their groups are broken.
type hung struct {
	e    *Executor
	rec  *recorder
	pool *fakePool
	id   string
	x    []*fakeExecution
}

func startHung(t *testing.T, o Options) *hung {
	h := &hung{pool: newFakePool(3)}
	o.Pool = h.pool
	h.e, h.rec = start(t, o)
	h.id = mustStart(t, h.e, Request{Path: "/d/t.py", Target: target(t, "remote"), HangAfter: -1})
	for _, p := range h.pool.ranks {
		h.x = append(h.x, p.next())
		p.stands(always(world(7)))
	}
	h.pool.ranks[0].interrupt = func(string) { h.x[0].counted("error", map[string]uint64{"0": 7}) }
	for i := 1; i < 3; i++ {
		h.pool.ranks[i].stands(always(inside(world(8), "all_reduce", "/d/t.py", 41)))
		h.pool.ranks[i].breaks(func() { h.comesBack(i, 8) })
	}
	return h
}

// comesBack ends a rank's part.
func (h *hung) comesBack(rank int, count uint64) {
	h.pool.ranks[rank].stands(always(world(count)))
	h.x[rank].fail("RuntimeError", "Connection closed by peer")
}

const freed = "log info: ranks 1-2 were in all_reduce at t.py:41 and had to be freed: the process groups have been formed anew"

// An interrupt that does not reach ranks in a collective frees them, mends the groups, and only then the run has ended.
func TestFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		h.pool.ranks[1].mends(func(wire.MendRequest) (*wire.MendReply, error) {
			if slices.ContainsFunc(h.rec.all(), isKind(event.KindRunFinished)) {
				t.Error("the run was told as ended before its ranks agreed")
			}
			return &wire.MendReply{}, nil
		})
		begin := time.Now()
		_ = h.e.Cancel(h.id)
		if r := mustWait(t, h.e, h.id); r.Status != event.StatusInterrupted || r.Parts[2].Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		if d := time.Since(begin); d > time.Second { // it was sure that nobody would come
			t.Errorf("it took %v", d)
		}
		synctest.Wait()
		if lines := linesOf(t, h.rec, h.id); lines[len(lines)-2] != freed {
			t.Error(strings.Join(lines, "\n"))
		}
		for _, p := range h.pool.ranks {
			if said := p.told(); said != "groups, connections, break, groups, mend" {
				t.Errorf("rank %d was asked: %s", p.rank, said)
			}
		}
		id := mustStart(t, h.e, Request{Target: target(t, "remote")}) // nobody is asked before it
		for _, p := range h.pool.ranks {
			p.next().ok()
		}
		mustWait(t, h.e, id)
		if said := h.pool.ranks[1].told(); said != "groups, connections, break, groups, mend" {
			t.Errorf("rank 1 was asked: %s", said)
		}
	})
}

// Nothing is said about groups that nobody will use.
func TestFreeTheLastRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		h.pool.ranks[1].mends(func(wire.MendRequest) (*wire.MendReply, error) {
			return &wire.MendReply{Stale: []wire.Stale{{Name: "model", Type: "DistributedDataParallel", Todo: "wrap it again"}}, Notices: []string{"replicas"}}, nil
		})
		h.e.Last()
		_ = h.e.Cancel(h.id)
		mustWait(t, h.e, h.id)
		synctest.Wait()
		lines := slices.DeleteFunc(linesOf(t, h.rec, h.id), func(line string) bool { return !strings.HasPrefix(line, "log") })
		eventtest.SameLines(t, lines, "log info: ranks 1-2 were in all_reduce at t.py:41 and had to be freed")
	})
}

// Ranks that were at several places are told of one by one.
func TestFreedAtSeveralPlaces(t *testing.T) {
	want := "ranks had to be freed (ranks 0,3 were in all_reduce at t.py:41; ranks 1-2 were in barrier)"
	if got := theyWereFreed([]string{"ranks 0,3 were in all_reduce at t.py:41", "ranks 1-2 were in barrier"}); got != want {
		t.Errorf("got %s", got)
	}
}

// A rank that is not free at the first try is reported once.
func TestFreedAtTheSecondTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		tries := 0
		h.pool.ranks[1].breaks(func() {
			if tries++; tries == 2 {
				h.comesBack(1, 8)
			}
		})
		_ = h.e.Cancel(h.id)
		mustWait(t, h.e, h.id)
		synctest.Wait()
		if lines := linesOf(t, h.rec, h.id); tries != 2 || lines[len(lines)-2] != freed {
			t.Errorf("%d tries: %s", tries, strings.Join(lines, "\n"))
		}
	})
}

// A second interrupt leaves the groups of ranks alone that are in no collective, and frees these as soon as they are in one.
func TestInterruptAgainWhereNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		for _, p := range h.pool.ranks {
			p.stands(always(world(7)))
		}
		h.pool.ranks[0].interrupt = nil
		h.pool.ranks[0].breaks(func() { h.comesBack(0, 7) })
		_ = h.e.Cancel(h.id)
		_ = h.e.Cancel(h.id)
		time.Sleep(10 * time.Second)
		for _, p := range h.pool.ranks {
			if said := p.told(); strings.Contains(said, "break") {
				t.Errorf("rank %d was asked: %s", p.rank, said)
			}
		}
		h.pool.ranks[1].stands(always(inside(world(8), "all_reduce", "/d/t.py", 41)))
		begin := time.Now()
		mustWait(t, h.e, h.id)
		if d := time.Since(begin); d > 500*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

// While all ranks may still come, nothing is broken until they stand still. Code that goes on with its collectives is left alone until the second
// interrupt.
func TestFreeWhereNobodyIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		h.pool.ranks[0].interrupt = nil
		count := uint64(8)
		h.pool.ranks[1].stands(func() wire.GroupsReply {
			count++
			return inside(world(count), "all_reduce", "/d/t.py", 41)
		})
		_ = h.e.Cancel(h.id)
		time.Sleep(30 * time.Second)
		if said := h.pool.ranks[1].told(); strings.Contains(said, "break") {
			t.Errorf("rank 1 was asked: %s", said)
		}
		h.pool.ranks[1].stands(always(inside(world(9), "all_reduce", "/d/t.py", 41)))
		h.pool.ranks[0].breaks(func() { h.comesBack(0, 7) })
		begin := time.Now()
		if r := mustWait(t, h.e, h.id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// The second interrupt frees at once, and so does Free.
func TestFreeAtOnce(t *testing.T) {
	for name, ask := range map[string]func(h *hung){
		"twice":    func(h *hung) { _ = h.e.Cancel(h.id); _ = h.e.Cancel(h.id) },
		"free":     func(h *hung) { _ = h.e.Free(h.id) },
		"whatever": func(h *hung) { _ = h.e.Free("") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHung(t, Options{})
				h.pool.ranks[0].interrupt = nil
				h.pool.ranks[0].breaks(func() { h.comesBack(0, 7) })
				begin := time.Now()
				ask(h)
				if r := mustWait(t, h.e, h.id); r.Status != event.StatusInterrupted {
					t.Errorf("report %+v", r)
				}
				if d := time.Since(begin); d != 0 {
					t.Errorf("it took %v", d)
				}
				if err := h.e.Free(h.id); !errors.Is(err, ErrNoRun) {
					t.Error(err)
				}
				if err := h.e.Free(""); !errors.Is(err, ErrNoRun) {
					t.Error(err)
				}
			})
		})
	}
}

// If no rank can answer at the second interrupt, they are freed as soon as one can, even if none of them stands still.
func TestFreeOnceRanksAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		count := uint64(8)
		for i, p := range h.pool.ranks {
			p.interrupt = nil
			p.breaks(func() { h.comesBack(i, 8) })
			p.mutes(true)
		}
		h.pool.ranks[0].stands(func() wire.GroupsReply {
			count++
			return inside(world(count), "all_reduce", "/d/t.py", 41)
		})
		_ = h.e.Cancel(h.id)
		_ = h.e.Cancel(h.id)
		time.Sleep(10 * time.Second)
		for _, p := range h.pool.ranks {
			p.mutes(false)
		}
		begin := time.Now()
		if r := mustWait(t, h.e, h.id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// A run that is out of time, and one whose pool has broken, free what waits as well; the groups of a dead rank's pool are not mended.
func TestFreeAtOtherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		h.x[0].die()
		if r := mustWait(t, h.e, h.id); r.Status != event.StatusDied || r.Parts[1].Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		if said := h.pool.ranks[1].told(); said != "groups, connections, break" {
			t.Errorf("rank 1 was asked: %s", said)
		}
		if said := h.pool.ranks[0].told(); strings.Contains(said, "break") {
			t.Errorf("rank 0, which is dead, was asked: %s", said)
		}
		if err := h.e.Free(""); !errors.Is(err, ErrNoRun) {
			t.Errorf("there is something to free in a dead pool: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Target: target(t, "remote"), Timeout: 30 * time.Second})
		x := pool.ranks[0].next()
		pool.ranks[0].stands(always(inside(world(3), "recv", "/d/t.py", 2)))
		pool.ranks[0].breaks(func() { x.fail("RuntimeError", "") })
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || r.Reason != "timed out after 30s" || r.Elapsed > 32*time.Second {
			t.Errorf("report %+v", r)
		}
		if said := pool.ranks[0].told(); !strings.HasSuffix(said, "mend") {
			t.Errorf("it was asked: %s", said)
		}
	})
}

// While ranks are freed and mended, other things go on.
func TestFreeMeanwhile(t *testing.T) {
	silence := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	synctest.Test(t, func(t *testing.T) { // a rank never answers, and is not back
		h := startHung(t, Options{})
		h.pool.ranks[2].breaking = func(ctx context.Context, _ wire.BreakRequest) (*wire.BreakReply, error) { return nil, silence(ctx) }
		_ = h.e.Cancel(h.id)
		time.Sleep(time.Minute)
		select {
		case <-h.e.runs[h.id].finished:
			t.Error("the run has ended without rank 2")
		default:
		}
		h.pool.ranks[1].mu.Lock()
		mended := slices.Contains(h.pool.ranks[1].said, "mend")
		h.pool.ranks[1].mu.Unlock()
		if mended {
			t.Error("mended without rank 2")
		}
		h.comesBack(2, 8)
		if r := mustWait(t, h.e, h.id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		if said := h.pool.ranks[1].told(); !strings.HasSuffix(said, "mend") {
			t.Errorf("rank 1 was asked: %s", said)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a rank dies of mending
		h := startHung(t, Options{})
		h.pool.ranks[2].mends(func(wire.MendRequest) (*wire.MendReply, error) {
			return nil, errors.New("rank 2 was killed by SIGKILL")
		})
		h.pool.ranks[1].mending = func(ctx context.Context, _ wire.MendRequest) (*wire.MendReply, error) { return nil, silence(ctx) }
		_ = h.e.Cancel(h.id)
		_ = h.e.Cancel(h.id)
		if r := mustWait(t, h.e, h.id); r.Status != event.StatusInterrupted || r.Elapsed > 2*time.Second {
			t.Errorf("report %+v", r)
		}
		h.rec.await(t, "word of it", func(ev event.Event) bool {
			l, ok := ev.(*event.Log)
			return ok && l.Level == event.LevelWarning &&
				strings.HasSuffix(l.Text, "could not be formed anew (rank 2 was killed by SIGKILL); the next run on the ranks tries again")
		})
		h.pool.ranks[2].mending = nil
		h.pool.ranks[1].mending = nil
		id := mustStart(t, h.e, Request{Target: target(t, "remote")})
		for _, p := range h.pool.ranks {
			p.next().ok()
		}
		mustWait(t, h.e, id)
		if said := h.pool.ranks[1].told(); !strings.HasSuffix(said, "groups, mend") {
			t.Errorf("rank 1 was asked: %s", said)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the executor ends
		h := startHung(t, Options{})
		h.pool.ranks[2].breaks(func() {})
		_ = h.e.Cancel(h.id)
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		begin := time.Now()
		h.e.Close(ctx)
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("it took %v", d)
		}
		if said := h.pool.ranks[1].told(); strings.Contains(said, "mend") {
			t.Errorf("rank 1 was asked: %s", said)
		}
		h.comesBack(2, 8)
	})
}

// Ranks that agree after an interrupt keep their groups; only models that train over them are made to agree.
func TestInterruptThatLeavesRanksInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, _ := start(t, Options{Pool: pool})
		for _, counts := range [][3]uint64{{5, 6, 6}, {6, 6, 6}, {6, 7, 8}} {
			for _, p := range pool.ranks {
				p.said = nil
			}
			id := mustStart(t, e, Request{Target: target(t, "remote")})
			for i, p := range pool.ranks {
				x := p.next()
				p.interrupt = func(string) { x.counted("error", map[string]uint64{"0": counts[i+1]}) }
				p.stands(always(world(counts[i+1])))
			}
			_ = e.Cancel(id)
			mustWait(t, e, id)
			want := "groups, agree"
			switch {
			case counts[1] != counts[2]:
				want = "groups, groups, connections, break, mend"
			case counts[0] == counts[1]: // as after the interrupt before
				want = "groups, agree"
			}
			if said := pool.ranks[0].told(); said != want {
				t.Errorf("%v: rank 0 was asked: %s", counts, said)
			}
		}
	})
}

// Only connections whose both ends are ranks of the pool are broken, unless one of these is silent.
func TestOwnConnections(t *testing.T) {
	here := []wire.Connection{{Local: "127.0.0.1:10", Remote: "127.0.0.1:20"}, {Local: "127.0.0.1:11", Remote: "10.0.0.1:443"}}
	there := []wire.Connection{{Local: "[::ffff:127.0.0.1]:20", Remote: "[::ffff:127.0.0.1]:10"}}
	got := ownConnections([][]wire.Connection{here, there}, false)
	if len(got[0]) != 1 || got[0][0] != here[0] || len(got[1]) != 1 || got[1][0] != there[0] {
		t.Errorf("got %v", got)
	}
	if got := ownConnections([][]wire.Connection{here, nil}, true); len(got[0]) != 2 || got[1] == nil {
		t.Errorf("got %v", got)
	}
}

// Connections to a rank that is dead are broken, too: nobody closes them if the rank's host has lost its power.
func TestBreaksConnectionsToTheDead(t *testing.T) {
	pool := newFakePool(3)
	e, _ := start(t, Options{Pool: pool})
	to := wire.Connection{Local: "10.77.0.11:10", Remote: "10.77.0.13:20"}
	var broken []wire.Connection
	pool.ranks[0].connections = []wire.Connection{to}
	pool.ranks[0].breaking = func(_ context.Context, req wire.BreakRequest) (*wire.BreakReply, error) {
		broken = req.Connections
		return &wire.BreakReply{}, nil
	}
	procs := pool.processes()
	e.breakGroups(context.Background(), procs)
	if len(broken) != 0 {
		t.Errorf("%v was broken, which leads to no rank", broken)
	}
	pool.ranks[2].dead = &ranks.ExitError{Name: "rank 2"}
	close(pool.ranks[2].ended)
	e.breakGroups(context.Background(), procs)
	if !slices.Contains(broken, to) {
		t.Errorf("%v was broken, not %v", broken, to)
	}
}

// A push to ranks that wait in a collective of a run that was given up frees them, also if they are slow to say so.
func TestPushFreesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, pool, stuck := startNotBack(t)
		pool.ranks[1].mutes(true)
		pool.ranks[1].breaks(func() { stuck.fail("RuntimeError", "") })
		id, x := startCell(t, e, pool, "local")
		x.command(`{"id":1,"command":"push","names":["a"]}`)
		time.Sleep(10 * time.Second)
		pool.ranks[1].mutes(false)
		pool.local.answered(t, `{"id":1,"status":"ok","ranks":[0,1],"pool":1}`)
		x.ok()
		mustWait(t, e, id)
		if said := pool.ranks[1].told(); !strings.HasSuffix(said, "break, mend, push, commit") {
			t.Errorf("rank 1 was asked: %s", said)
		}
		if err := e.Free(""); !errors.Is(err, ErrNoRun) {
			t.Error(err)
		}
	})
}

// Ranks that are not back are freed between the cells of a sequence, not after it.
func TestFreeBetweenCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool, InterruptGrace: time.Millisecond, FreeAfter: time.Hour})
		id := mustStart(t, e, Request{Target: target(t, "remote"), Timeout: time.Millisecond})
		stuck := pool.ranks[0].next()
		mustWait(t, e, id)
		pool.ranks[0].stands(always(inside(world(4), "barrier", "", 0)))
		pool.ranks[0].breaks(func() { stuck.fail("RuntimeError", "") })
		ids := mustStartSequence(t, e, false, Request{}, Request{Target: target(t, "remote")})
		local := pool.local.next()
		if err := e.Free(""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if said := pool.ranks[0].told(); !strings.HasSuffix(said, "break, mend") {
			t.Errorf("rank 0 was asked: %s", said)
		}
		local.ok()
		pool.ranks[0].next().ok()
		endsAs(t, e, ids[1], "ok")
	})
}

// A pull is served before the run on the ranks has ended once that run has a hang, and only then.
func TestPullBesideAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHung(t, Options{})
		id, x := startCell(t, h.e, h.pool, "local")
		x.command(`{"id":1,"command":"pull","names":["a"],"ranks":"1"}`)
		x.command(`{"id":2,"command":"push","names":["a"],"ranks":"1"}`)
		time.Sleep(time.Minute)
		if said := h.pool.ranks[1].told(); said != "" {
			t.Errorf("rank 1 was asked: %s", said)
		}
		h.e.mu.Lock()
		h.e.hang.living = []hangTold{{told: &event.Hang{Level: event.LevelWarning}}}
		h.e.mu.Unlock()
		h.pool.local.answered(t, `{"id":1,"status":"ok","payloads":[{"rank":1,"payload":{"of":1}}]}`)
		if said := h.pool.ranks[1].told(); said != "beside:, pull a" {
			t.Errorf("rank 1 was asked: %s", said)
		}
		_ = h.e.Cancel(h.id)
		h.pool.local.answered(t, `{"id":2,"status":"ok","ranks":[1],"pool":1}`)
		x.ok()
		mustWait(t, h.e, id)
	})
}
