package dipexec

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
)

// Before the first cell of a sequence begins, one message has all of them compiled. What does not compile is told, and nothing runs.
func TestCheckSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		ids := mustStartSequence(t, e, false,
			Request{Path: "/a.py", Cell: 1, Code: "train()", Line: 2},
			Request{Path: "/a.py", Cell: 2, Code: "x = = 1", Line: 5, Target: target(t, "remote")},
			Request{Path: "/a.py", Cell: 3, Code: "y"},
			Request{Path: "/a.py", Cell: 4, Code: "z = = 1", Line: 9})
		endsAs(t, e, ids[0], "skipped: cell 2 does not compile")
		endsAs(t, e, ids[1], "error: "+whyNothing)
		endsAs(t, e, ids[2], "skipped: cell 2 does not compile")
		endsAs(t, e, ids[3], "error: "+whyNothing)
		synctest.Wait()
		eventtest.SameLines(t, rec.lines(),
			"run_finished skipped: cell 2 does not compile",
			"run_started remote see 0",
			"rank_state local busy",
			"error local SyntaxError: invalid syntax line 5",
			"rank_state local ready error",
			"run_finished error: "+whyNothing,
			"run_finished skipped: cell 2 does not compile",
			"run_started local see 0",
			"rank_state local busy",
			"error local SyntaxError: invalid syntax line 9",
			"rank_state local ready error",
			"run_finished error: "+whyNothing)
		if n := len(pool.local.executions); n > 0 || pool.local.checks != 1 {
			t.Errorf("%d cells have run, and the process was asked %d times", n, pool.local.checks)
		}
		if report := mustWait(t, e, ids[1]); report.Parts[0].Failure == nil || report.Parts[0].Failure.EName != "SyntaxError" {
			t.Errorf("%+v", report)
		}
	})
}

// A cell by itself, operations, and cells of which each runs whatever becomes of the others, are not compiled ahead. Nor does a check that fails keep
// cells from running.
func TestUnchecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		one := mustStart(t, e, Request{Code: "x = = 1"})
		pool.local.next().ok()
		endsAs(t, e, one, "ok")
		for _, id := range mustStartSequence(t, e, true, Request{Code: "x = = 1"}, Request{Code: "y"}) {
			pool.local.next().ok()
			endsAs(t, e, id, "ok")
		}
		local := cells.Target{Where: cells.Local}
		for _, id := range mustStartSequence(t, e, false, RequestForMemory(local), RequestForMemory(local)) {
			pool.local.next().ok()
			endsAs(t, e, id, "ok")
		}
		if pool.local.checks != 0 {
			t.Errorf("checked %d times", pool.local.checks)
		}
		pool.local.checking = errors.New("no")
		for _, id := range mustStartSequence(t, e, false, Request{Code: "x = = 1"}, Request{Code: "y"}) {
			pool.local.next().ok()
			endsAs(t, e, id, string(event.StatusOK))
		}
	})
}

// A run that is cancelled while it waits for its processes, or for the check, has not begun.
func TestCancelledCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		pool.local.checking = errForever
		ids := mustStartSequence(t, e, false, Request{Code: "x"}, Request{Code: "y"})
		synctest.Wait()
		e.CancelAll()
		endsAs(t, e, ids[0], "interrupted")
		endsAs(t, e, ids[1], "interrupted")
		synctest.Wait()
		eventtest.SameLines(t, rec.lines(), "run_finished interrupted", "run_finished interrupted")
	})
}

// The cells are compiled by a rank that they run on. One that is not back from a run that was given up is not asked, and one that does not answer is not
// waited for: the run begins all the same.
func TestCheckOfRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		two := func(on string) []string {
			return mustStartSequence(t, e, false, Request{Code: "x", Target: target(t, on)}, Request{Code: "y", Target: target(t, on)})
		}
		for _, id := range two("ranks:1") {
			pool.ranks[1].next().ok()
			endsAs(t, e, id, "ok")
		}
		if pool.ranks[0].checks != 0 || pool.ranks[1].checks != 1 {
			t.Errorf("rank 0 was asked %d times, rank 1 %d times", pool.ranks[0].checks, pool.ranks[1].checks)
		}

		pool.ranks[1].checking = errForever
		began := time.Now()
		for _, id := range two("ranks:1") {
			pool.ranks[1].next().ok()
			endsAs(t, e, id, "ok")
		}
		if waited := time.Since(began); waited != checkPatience {
			t.Errorf("waited %s", waited)
		}

		stuck := mustStart(t, e, Request{Target: target(t, "ranks:1"), Timeout: time.Second})
		late := pool.ranks[1].next()
		endsAs(t, e, stuck, "interrupted: timed out after 1s")
		ids := two("ranks:1")
		synctest.Wait()
		if lines := rec.lines(); lines[len(lines)-2] != "run_started ranks:1 see 1" {
			t.Errorf("the run has not begun:\n%s", strings.Join(lines, "\n"))
		}
		if pool.ranks[1].checks != 2 {
			t.Errorf("a rank that is not back was asked: %d", pool.ranks[1].checks)
		}
		late.ok()
		for _, id := range ids {
			pool.ranks[1].next().ok()
			endsAs(t, e, id, "ok")
		}
	})
}
