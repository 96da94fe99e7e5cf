package dipexec

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
)

func mustStartSequence(t *testing.T, e *Executor, goOn bool, reqs ...Request) []string {
	t.Helper()
	ids, err := e.StartSequence(reqs, goOn)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// endsAs waits for a run's end, and compares that: "skipped: cell 1 failed".
func endsAs(t *testing.T, e *Executor, id, want string) {
	t.Helper()
	r := mustWait(t, e, id)
	got := string(r.Status)
	if r.Reason != "" {
		got += ": " + r.Reason
	}
	if got != want {
		t.Errorf("run %s: %s; want %s", id, got, want)
	}
}

// Each run waits for the one before it, even if that is on other processes; runs that are started later wait for those on their own processes.
func TestSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, false, Request{Cell: 1, Target: target(t, "remote")}, Request{Cell: 2}, Request{Cell: 3, Target: target(t, "remote")})
		later := mustStart(t, e, Request{Cell: 4, Target: target(t, "remote")})
		synctest.Wait()
		if len(pool.local.executions) > 0 {
			t.Error("the second cell has not waited for the first")
		}
		pool.ranks[0].next().ok()
		x := pool.local.next()
		synctest.Wait()
		if len(pool.ranks[0].executions) > 0 {
			t.Error("the third cell has not waited for the second")
		}
		x.ok()
		pool.ranks[0].next().ok()
		pool.ranks[0].next().ok()
		for _, id := range append(ids, later) {
			endsAs(t, e, id, "ok")
		}
		synctest.Wait() // until the events have been read
		var started []string
		for _, ev := range rec.all() {
			if h := ev.Head(); h.Kind == event.KindRunStarted {
				started = append(started, h.Run)
			}
		}
		if want := append(ids, later); !slices.Equal(started, want) {
			t.Errorf("got %q, want %q", started, want)
		}
		if none, err := e.StartSequence(nil, false); none != nil || err != nil {
			t.Error(none, err)
		}
		e.Stop()
		if _, err := e.StartSequence([]Request{{}, {}}, false); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// Cells whose turn does not come have an end and no other event.
func TestSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, false, Request{Cell: 7}, Request{Cell: 8}, Request{Cell: 9, Target: target(t, "remote")})
		pool.local.next().fail("NameError", "x")
		endsAs(t, e, ids[0], "error")
		endsAs(t, e, ids[1], "skipped: cell 7 failed")
		endsAs(t, e, ids[2], "skipped: cell 7 failed")
		synctest.Wait()
		eventtest.SameLines(t, rec.lines(),
			"run_started local see 0",
			"rank_state local busy",
			"error local NameError: x line 0",
			"rank_state local ready error",
			"run_finished error",
			"run_finished skipped: cell 7 failed",
			"run_finished skipped: cell 7 failed")
		last := rec.all()[6].(*event.RunFinished)
		if last.Run != ids[2] || *last.Cell != 9 || last.Seconds != 0 {
			t.Errorf("%+v", last)
		}
	})
}

// Whoever waits for one run of a sequence after the other hears of all of them, however many ended at once.
func TestReportsOfALongSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, false, make([]Request, 3*keptReports)...)
		pool.local.next().ok()
		endsAs(t, e, ids[0], "ok")
		pool.local.next().fail("ValueError", "")
		synctest.Wait()
		endsAs(t, e, ids[1], "error")
		for _, id := range ids[2:] {
			endsAs(t, e, id, "skipped: the run before failed")
		}
		for range 3 * keptReports {
			id := mustStart(t, e, Request{})
			pool.local.next().ok()
			mustWait(t, e, id)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.reports) != keptReports || len(e.order) != keptReports {
			t.Errorf("%d reports are kept, %d can be forgotten", len(e.reports), len(e.order))
		}
	})
}

// The last run of a sequence does not keep the others in memory.
func TestEndedRunsAreForgotten(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	ids := mustStartSequence(t, e, false, Request{}, Request{}, Request{})
	for range ids {
		pool.local.next().ok()
	}
	mustWait(t, e, ids[2])
	e.mu.Lock()
	defer e.mu.Unlock()
	if last := e.procs[ranklist.Local].newest.Load(); last.id != ids[2] || last.before != nil {
		t.Errorf("%s holds %v", last.id, last.before)
	}
}

// Cells that are cancelled together have all been interrupted: none of them was skipped because of another one.
func TestCancelledSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			pool := newFakePool(1)
			e, _ := start(t, Options{Pool: pool})
			ids := mustStartSequence(t, e, false, Request{}, Request{}, Request{}, Request{})
			x := pool.local.next()
			e.CancelAll()
			synctest.Wait()
			x.fail("KeyboardInterrupt", "")
			for _, id := range ids {
				endsAs(t, e, id, "interrupted")
			}
		}
	})
}

func TestWhySkipped(t *testing.T) {
	for want, end := range map[string]struct {
		req Request
		end func(*Executor, string, *fakeExecution)
	}{
		"cell 2 failed":         {Request{Cell: 2}, func(_ *Executor, _ string, x *fakeExecution) { x.fail("ValueError", "") }},
		"%dipush x failed":      {Request{Title: "%dipush x"}, func(_ *Executor, _ string, x *fakeExecution) { x.fail("ValueError", "") }},
		"the run before failed": {Request{}, func(_ *Executor, _ string, x *fakeExecution) { x.fail("ValueError", "") }},
		"cell 2 died":           {Request{Cell: 2}, func(_ *Executor, _ string, x *fakeExecution) { x.die() }},
		"cell 2 timed out after 30s": {
			Request{Cell: 2, Timeout: 30 * time.Second},
			func(_ *Executor, _ string, x *fakeExecution) { time.Sleep(31 * time.Second); x.ok() },
		},
		"cell 2 was interrupted": {Request{Cell: 2}, func(e *Executor, id string, x *fakeExecution) {
			_ = e.Cancel(id)
			synctest.Wait()
			x.fail("KeyboardInterrupt", "")
		}},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := newFakePool(1)
				e, _ := start(t, Options{Pool: pool})
				ids := mustStartSequence(t, e, false, end.req, Request{Cell: 3})
				end.end(e, ids[0], pool.local.next())
				endsAs(t, e, ids[1], "skipped: "+want)
			})
		})
	}
}

func TestSequenceThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, true, Request{Cell: 1}, Request{Cell: 2, Target: target(t, "remote")}, Request{Cell: 3})
		pool.local.next().fail("ValueError", "")
		pool.ranks[0].next().fail("ValueError", "")
		pool.local.next().ok()
		endsAs(t, e, ids[2], "ok")
	})
}

// Nobody waits for the end of a %%px --noblock, and how it ends makes no difference.
func TestSequenceDoesNotWaitForNoBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, false, Request{Cell: 1},
			Request{Cell: 2, Directive: cells.Directive{Target: target(t, "remote"), Px: true, NoBlock: cells.Yes}}, Request{Cell: 3}, Request{Cell: 4})
		x := pool.local.next()
		synctest.Wait()
		if len(pool.ranks[0].executions) > 0 {
			t.Error("the second cell has not waited for the first")
		}
		x.ok()
		px := pool.ranks[0].next()
		pool.local.next().ok()
		endsAs(t, e, ids[2], "ok")
		px.fail("ValueError", "")
		endsAs(t, e, ids[1], "error")
		pool.local.next().ok()
		endsAs(t, e, ids[3], "ok")
	})
}

// If a run is cancelled before its turn, those after it are skipped or, with goOn, run when their turn comes.
func TestCancelInSequence(t *testing.T) {
	for _, goOn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			pool := newFakePool(1)
			e, _ := start(t, Options{Pool: pool})
			ids := mustStartSequence(t, e, goOn, Request{Cell: 1, Target: target(t, "remote")}, Request{Cell: 2}, Request{Cell: 3})
			x := pool.ranks[0].next()
			if err := e.Cancel(ids[1]); err != nil {
				t.Error(err)
			}
			endsAs(t, e, ids[1], "interrupted")
			synctest.Wait()
			if goOn && len(pool.local.executions) > 0 {
				t.Error("the third cell has not waited for the first")
			}
			x.ok()
			endsAs(t, e, ids[0], "ok")
			if !goOn {
				endsAs(t, e, ids[2], "skipped: cell 2 was interrupted")
				return
			}
			pool.local.next().ok()
			endsAs(t, e, ids[2], "ok")
		})
	}
}

func TestCancelAllOfSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, true, Request{Cell: 1}, Request{Cell: 2}, Request{Cell: 3})
		x := pool.local.next()
		e.CancelAll()
		synctest.Wait()
		for _, id := range ids[1:] {
			endsAs(t, e, id, "interrupted")
		}
		x.fail("KeyboardInterrupt", "")
		endsAs(t, e, ids[0], "interrupted")
		synctest.Wait()
		if n := strings.Count(strings.Join(rec.lines(), "\n"), "run_started"); n != 1 {
			t.Errorf("%d runs have begun", n)
		}
	})
}

// A cell that says nothing runs where autodip says when its turn comes.
func TestSequenceIsDecidedOnInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, false, Request{Cell: 1}, Request{Cell: 2}, Request{Cell: 3, NoAutodip: true})
		x := pool.local.next()
		if err := e.SetAutodip(true, ""); err != nil {
			t.Fatal(err)
		}
		x.ok()
		pool.ranks[0].next().ok()
		pool.local.next().ok()
		endsAs(t, e, ids[2], "ok")
	})
}
