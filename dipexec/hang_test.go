package dipexec

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/dipexec/journal"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// inCollective is a rank of two that waits in all_reduce.
func inCollective(count uint64, line int) wire.GroupsReply {
	g := standsAt(count, line)
	g.Operations = []wire.Operation{{Group: "0", Name: "all_reduce", Count: count, Thread: 1}}
	return g
}

// standsAt is a rank of two at a line of the user's.
func standsAt(count uint64, line int) wire.GroupsReply {
	g := world(count)
	g.Groups[0].Default = true
	g.Running = "m"
	g.Threads = []wire.Thread{{ID: 1, Main: true, Frames: []wire.StackFrame{{Frame: wire.Frame{File: "/d/t.py", Line: line, Name: "<module>", Run: "x"}}}}}
	return g
}

// hangsOf are the events of hangs, and the end, as lines.
func hangsOf(rec *recorder) []string {
	return slices.DeleteFunc(rec.lines(), func(line string) bool {
		return !strings.HasPrefix(line, "hang") && !strings.HasPrefix(line, "run_finished")
	})
}

func (p *fakeProcess) asked() int { return strings.Count(p.told(), "groups") }

// Who waits for whom is published within two seconds of the first look, also in the journal, and that it is over, before the end of the run.
func TestHangIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
		pool.ranks[0].stands(always(inCollective(17, 41)))
		pool.ranks[1].stands(always(world(16)))
		id := mustStart(t, e, Request{Path: "/d/t.py", Target: cells.Target{Where: cells.Remote}})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
		x[1].ok()
		time.Sleep(hangAfter - time.Second)
		if asked := pool.ranks[0].asked(); asked != 0 {
			t.Errorf("asked %d times before the first look", asked)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		text := "hang 1 warning finished: all_reduce #17 (default group): rank 0 waits at t.py:41 for rank 1, which has finished this cell"
		eventtest.SameLines(t, hangsOf(rec), text)
		if told := pool.ranks[0].told(); strings.Count(told, `hang {"event":"hang"`) != 1 ||
			!strings.Contains(told, `for rank 1, which has finished this cell"`) || strings.Contains(pool.ranks[1].told(), "hang") {
			t.Errorf("the app was told by %s", told)
		}
		if hangs := e.Hangs(); len(hangs) != 1 || hangs[0].Run != id || hangs[0].Waiting[0].Line != 41 || hangs[0].Missing[0].Why != "has finished this cell" {
			t.Errorf("living are %+v", hangs)
		}
		time.Sleep(5 * time.Minute) // said once
		x[0].ok()
		r := mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		eventtest.SameLines(t, hangsOf(rec), text, "hang 1 is gone", "run_finished ok")
		if len(e.Hangs()) != 0 {
			t.Errorf("living are %+v", e.Hangs())
		}
		reader, err := journal.Read(r.Journal)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		var kept []event.Event
		for {
			ev, _, err := reader.Next()
			if err != nil {
				break
			}
			kept = append(kept, ev)
		}
		if lines := eventtest.Describe(kept); !slices.Contains(lines, text) || !slices.Contains(lines, "hang 1 is gone") {
			t.Errorf("the journal has\n%s", strings.Join(lines, "\n"))
		}
	})
}

// Ranks that make progress are looked at less and less often, and nothing is said about them.
func TestHealthyRanksAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		began := time.Now()
		var looks []int // seconds
		count := uint64(3)
		pool.ranks[0].stands(func() wire.GroupsReply {
			looks = append(looks, int(time.Since(began).Seconds()))
			count++
			return inCollective(count, 41)
		})
		pool.ranks[1].stands(always(world(16)))
		id := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
		time.Sleep(4 * time.Minute)
		x[0].ok()
		x[1].ok()
		mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		eventtest.SameLines(t, hangsOf(rec), "run_finished ok")
		if want := []int{10, 11, 31, 32, 72, 73, 133, 134, 194, 195}; !slices.Equal(looks, want) {
			t.Errorf("looked after %v s, want %v", looks, want)
		}
	})
}

// There is no look if no rank can wait for another, or if none is wanted.
func TestNobodyLooksForHangs(t *testing.T) {
	for _, c := range []struct {
		size  int
		after time.Duration
	}{{1, 0}, {2, -1}} {
		synctest.Test(t, func(t *testing.T) {
			pool := newFakePool(c.size)
			e, _ := start(t, Options{Pool: pool})
			id := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}, HangAfter: c.after})
			time.Sleep(10 * time.Minute)
			for _, p := range pool.ranks {
				if p.asked() > 0 {
					t.Errorf("rank %d of %d was asked", p.rank, c.size)
				}
				p.next().ok()
			}
			mustWait(t, e, id)
		})
	}
}

// The looks at a long run do not keep the next one from being looked at in time.
func TestHangOfALaterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(3)
		e, rec := start(t, Options{Pool: pool})
		first := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}})
		time.Sleep(3 * time.Minute)
		for _, p := range pool.ranks {
			p.next().ok()
		}
		mustWait(t, e, first)
		// A run on some ranks waits for one that it does not go to.
		pool.ranks[0].stands(always(inCollective(17, 41)))
		pool.ranks[1].stands(always(world(16)))
		id := mustStart(t, e, Request{Target: target(t, "ranks:0"), HangAfter: 2 * time.Second})
		x := pool.ranks[0].next()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		x.ok()
		mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		eventtest.SameLines(t, hangsOf(rec), "run_finished ok",
			"hang 1 warning untargeted: all_reduce #17 (default group): rank 0 waits at t.py:41 for rank 1, on which this cell does not run",
			"hang 1 is gone", "run_finished ok")
	})
}

// A late answer is no progress: the finding stays, and keeps its number.
func TestHangOfRanksThatAnswerLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		waits := standsAt(17, 41)
		waits.Operations = []wire.Operation{{Name: "backward", Thread: 1}} // of which torch does not tell the collective
		pool.ranks[0].stands(always(waits))
		pool.ranks[1].stands(always(world(16)))
		id := mustStart(t, e, Request{Path: "/d/t.py", Target: cells.Target{Where: cells.Remote}})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
		x[1].ok()
		time.Sleep(hangAfter + 5*time.Second)
		for _, p := range pool.ranks {
			for _, looks := range []time.Duration{1, 3} {
				p.mutes(true)
				time.Sleep(looks * hangAfter)
				p.mutes(false)
				time.Sleep(3 * hangAfter)
			}
		}
		synctest.Wait()
		late := hangsOf(rec)
		pool.ranks[0].stands(always(standsAt(17, 42)))
		time.Sleep(2 * hangAfter)
		x[0].ok()
		mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		text := "hang 1 warning finished: backward #17 (default group): rank 0 waits at t.py:41 for rank 1, which has finished this cell"
		eventtest.SameLines(t, late, text)
		eventtest.SameLines(t, hangsOf(rec), text, "hang 1 is gone", "run_finished ok")
	})
}

// A slow rank is no alarm. That it has moved on is reported now and then, and at the next look that it has come.
func TestSlowRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		var line atomic.Int32
		pool.ranks[0].stands(func() wire.GroupsReply { return standsAt(16, int(line.Load())) })
		pool.ranks[1].stands(always(inCollective(17, 41)))
		id := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
		for at := range 12 {
			line.Store(int32(60 + at))
			time.Sleep(hangAfter)
		}
		pool.ranks[0].stands(always(standsAt(18, 90)))
		pool.ranks[1].stands(always(standsAt(18, 90)))
		time.Sleep(hangAfter + 2*time.Second)
		synctest.Wait()
		slow := func(line string) string {
			return "hang 1 info slow: rank 0 is still at t.py:" + line + "; rank 1 waits for it in all_reduce #17 (default group) at t.py:41"
		}
		eventtest.SameLines(t, hangsOf(rec), slow("61"), slow("62"), slow("64"), slow("68"), "hang 1 is gone")
		x[0].ok()
		x[1].ok()
		mustWait(t, e, id)
	})
}

// What a hang says about a rank that stands still is not repeated.
func TestStandstillInAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		pool.ranks[0].stands(always(inCollective(17, 41)))
		pool.ranks[1].stands(always(world(16)))
		p := pool.ranks[1]
		p.condition = host.Condition{State: host.Halted, How: "is stopped: kill -CONT 7 lets it go on"}
		p.standsStill("rank 1 (pid 7) is stopped: kill -CONT 7 lets it go on")
		run := func(after time.Duration) {
			id := mustStart(t, e, Request{Target: cells.Target{Where: cells.Remote}, HangAfter: after})
			x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
			time.Sleep(19 * time.Second) // not when the processes are looked at
			x[0].ok()
			x[1].ok()
			mustWait(t, e, id)
		}
		run(2 * time.Second)
		p.standsStill("")
		p.condition = host.Condition{}
		time.Sleep(watchEvery)
		run(-1)
		p.standsStill("rank 1 (pid 7) is stopped: kill -CONT 7 lets it go on")
		p.condition = host.Condition{State: host.Halted, How: "is stopped: kill -CONT 7 lets it go on"}
		run(0)
		e.Close(t.Context())
		<-rec.done
		lines := slices.DeleteFunc(rec.lines(), func(line string) bool { return !strings.HasPrefix(line, "hang") && !strings.HasPrefix(line, "log") })
		eventtest.SameLines(t, lines,
			"hang 1 warning stopped: all_reduce #17 (default group): rank 0 waits at t.py:41 for rank 1, which is stopped: kill -CONT 7 lets it go on", "hang 1 is gone",
			"log warning: rank 1 (pid 7) is stopped: kill -CONT 7 lets it go on",
			"hang 1 warning stopped: all_reduce #17 (default group): rank 0 waits at t.py:41 for rank 1, which is stopped", "hang 1 is gone")
	})
}

// A cell's nested runs are looked at like the cell itself, also while they are interrupted.
func TestHangOfANestedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, rec := start(t, Options{Pool: pool})
		pool.ranks[0].stands(always(inCollective(17, 41)))
		pool.ranks[1].stands(always(world(16)))
		id := mustStart(t, e, Request{Target: cells.Target{Where: cells.Local}, HangAfter: 2 * time.Second})
		local := pool.local.next()
		local.command(`{"id":1,"command":"run","code":"1","ranks":"all","wait":true}`)
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
		time.Sleep(time.Second)
		if err := e.Cancel(id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		hangs := e.Hangs()
		if len(hangs) != 1 || hangs[0].Run == id || hangs[0].Variant != "elsewhere" && hangs[0].Variant != "slow" {
			t.Errorf("living are %+v", hangs)
		}
		x[0].fail("KeyboardInterrupt", "")
		x[1].fail("KeyboardInterrupt", "")
		local.fail("KeyboardInterrupt", "")
		mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		if lines := hangsOf(rec); !slices.Contains(lines, "hang 1 is gone") {
			t.Errorf("told is\n%s", strings.Join(lines, "\n"))
		}
	})
}

// Ranks that wait outside of collectives are reported, as information, once two regular looks have found them there, and again when that has
// lasted twice as long. It is over at the first look that finds one moved.
func TestRanksThatWaitOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(3)
		e, rec := start(t, Options{Pool: pool})
		began := time.Now()
		var looks []int // seconds
		var line atomic.Int32
		line.Store(41)
		pool.ranks[0].stands(func() wire.GroupsReply {
			looks = append(looks, int(time.Since(began).Seconds()))
			return standsAt(3, int(line.Load()))
		})
		pool.ranks[1].stands(always(standsAt(3, 55)))
		pool.ranks[2].stands(always(world(3)))
		for _, p := range pool.ranks {
			p.condition = host.Condition{Still: true, Waits: "in a lock"}
		}
		id := mustStart(t, e, Request{Path: "/d/t.py", Target: cells.Target{Where: cells.Remote}})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
		x[2].ok()
		time.Sleep(95 * time.Second)
		line.Store(42)
		time.Sleep(4 * time.Second)
		if e.hangs() {
			t.Error("it counts as a hang")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if strings.Contains(pool.ranks[0].told(), "stack") {
			t.Error("more than one message for a look")
		}
		x[0].ok()
		x[1].ok()
		mustWait(t, e, id)
		e.Close(t.Context())
		<-rec.done
		waited := func(seconds string) string {
			return "hang 1 info outside: ranks 0-1 have waited for " + seconds + ": rank 0 in a lock at t.py:41, rank 1 in a lock at t.py:55"
		}
		eventtest.SameLines(t, hangsOf(rec), waited("20 s"), waited("40 s"), waited("80 s"), "hang 1 is gone", "run_finished ok")
		if want := []int{10, 30, 40, 50, 60, 70, 80, 90, 100}; !slices.Equal(looks, want) {
			t.Errorf("looked after %v s, want %v", looks, want)
		}
	})
}
