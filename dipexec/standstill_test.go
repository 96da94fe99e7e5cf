package dipexec

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
)

// A process that stands still is reported once, as part of the run that waits for it, and so is that it goes on.
func TestStandstillIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Cell: 3, Target: cells.Target{Where: cells.Remote}})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
		x[0].ok()
		pool.ranks[1].standsStill("rank 1 (pid 7) is stopped")
		time.Sleep(10 * watchEvery)
		pool.ranks[1].standsStill("")
		time.Sleep(2 * watchEvery)
		x[1].ok()
		mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		var logs []*event.Log
		for _, ev := range rec.all() {
			if log, ok := ev.(*event.Log); ok {
				logs = append(logs, log)
			}
		}
		if len(logs) != 2 || logs[0].Text != "rank 1 (pid 7) is stopped" || logs[1].Text != "rank 1 answers again" || logs[0].Run != id || logs[1].Run != id {
			t.Errorf("told is %v", rec.lines())
		}
	})
}

// A process on which no run is may be one that a cell waits for, as a push does.
func TestStandstillOfAnIdleProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		first := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}})
		pool.ranks[0].next().ok()
		mustWait(t, e, first)
		local := mustStart(t, e, Request{})
		x := pool.local.next()
		pool.ranks[0].standsStill("rank 0 (pid 7) is stopped")
		time.Sleep(2 * watchEvery)
		x.ok()
		mustWait(t, e, local)
		e.Close(t.Context())
		<-rec.done
		for _, ev := range rec.all() {
			if log, ok := ev.(*event.Log); ok && log.Text == "rank 0 (pid 7) is stopped" && log.Run == "" && log.Level == event.LevelWarning {
				return
			}
		}
		t.Errorf("told is %v", rec.lines())
	})
}

// A look takes seconds if a process does not answer. A run that is started meanwhile begins no second look.
func TestStandstillIsLookedForOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		var now, most, looks atomic.Int32
		pool.ranks[0].looking = func() {
			looks.Add(1)
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(2 * watchEvery)
			now.Add(-1)
		}
		busy := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}})
		x := pool.ranks[0].next()
		for range 6 {
			time.Sleep(watchEvery + time.Second)
			local := mustStart(t, e, Request{})
			pool.local.next().ok()
			mustWait(t, e, local)
		}
		x.ok()
		mustWait(t, e, busy)
		if most.Load() != 1 || looks.Load() < 2 {
			t.Errorf("%d looks, %d at the same time", looks.Load(), most.Load())
		}
		time.Sleep(3 * watchEvery) // the last look ends
	})
}

// Ranks on which short cells run one after the other are not asked.
func TestStandstillOfBusyRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		var looks atomic.Int32
		pool.ranks[0].looking = func() { looks.Add(1) }
		waits := mustStart(t, e, Request{})
		for range 30 {
			id := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}})
			time.Sleep(recently / 2)
			pool.ranks[0].next().ok()
			mustWait(t, e, id)
		}
		if n := looks.Load(); n != 0 {
			t.Errorf("%d looks while cells ran", n)
		}
		time.Sleep(2 * watchEvery)
		if looks.Load() == 0 {
			t.Error("no look after that")
		}
		pool.local.next().ok()
		mustWait(t, e, waits)
	})
}

// Without runs nobody looks.
func TestStandstillWithoutRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{})
		pool.local.next().ok()
		mustWait(t, e, id)
		pool.local.standsStill("local is stopped")
		time.Sleep(10 * watchEvery)
		e.mu.Lock()
		timer := e.watch.timer
		e.mu.Unlock()
		if timer != nil {
			t.Error("somebody goes on to look")
		}
		e.Close(t.Context())
		<-rec.done
		for _, ev := range rec.all() {
			if _, ok := ev.(*event.Log); ok {
				t.Errorf("told is %v", rec.lines())
			}
		}
	})
}
