package dipexec

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

func TestRunLocally(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Path: "/t.py", Cell: 3, Line: 10})
	x := pool.local.next()
	x.print("hello\n")
	x.result(7, "42")
	x.ok()
	r := mustWait(t, e, id)
	if r.Status != event.StatusOK || len(r.Parts) != 1 || !r.Parts[0].Who.IsLocal() || r.Parts[0].ExecutionCount != 7 {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "run_finished", isKind(event.KindRunFinished))
	eventtest.SameLines(t, rec.lines(),
		"run_started local see 0",
		"rank_state local busy",
		`stream local stdout "hello\n"`,
		"result local 7 42",
		"rank_state local ready ok",
		"run_finished ok")
	for _, ev := range rec.all() {
		if h := ev.Head(); h.Run != id || h.Cell == nil || *h.Cell != 3 {
			t.Errorf("header %+v", h)
		}
	}
}

func TestRunOnRanks(t *testing.T) {
	pool := newFakePool(3)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Path: "/t.py", Line: 10, Directive: cells.Directive{Target: target(t, "remote"), See: ranklist.All}})
	x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
	x[1].fail("NameError", "foobar", wire.Frame{File: "/t.py", Line: 12}, wire.Frame{File: "/lib.py", Line: 99})
	x[0].ok()
	x[2].ok()
	r := mustWait(t, e, id)
	if r.Status != event.StatusError || r.Parts[1].Status != event.StatusError || r.Parts[1].Failure.Line != 12 || r.Parts[2].Status != event.StatusOK {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "run_finished", isKind(event.KindRunFinished))
	eventtest.SameLines(t, rec.lines(),
		"run_started remote see all",
		"rank_state rank 0 busy",
		"rank_state rank 1 busy",
		"rank_state rank 2 busy",
		"error rank 1 NameError: foobar line 12",
		"rank_state rank 1 ready error",
		"rank_state rank 0 ready ok",
		"rank_state rank 2 ready ok",
		"run_finished error")
	for _, ev := range rec.all() {
		if h := ev.Head(); h.Cell != nil {
			t.Errorf("a run of no cell: %s of cell %d", h.Kind, *h.Cell)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		command, directive, autodip string
		see                         string
		want                        string
	}{
		{"", "", "", "", "local see 0"},
		{"", "", "remote", "", "remote see 0"},
		{"", "local", "remote", "", "local see 0"},
		{"everywhere", "local", "remote", "", "everywhere see 0"},
		{"ranks:1-2", "", "", "", "ranks:1-2 see 1"},
		{"", "ranks:2,1", "", "all", "ranks:1-2 see all"},
	} {
		var req Request
		var auto cells.Target
		for s, tg := range map[string]*cells.Target{c.command: &req.Target, c.directive: &req.Directive.Target, c.autodip: &auto} {
			if s != "" {
				*tg = target(t, s)
			}
		}
		if c.see != "" {
			req.See, _ = ranklist.Parse(c.see)
		}
		tg := Resolve(req.Target, req.Directive.Target, auto, cells.Target{})
		if got := tg.String() + " see " + resolveSee(req.See, req.Directive.See, tg); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
		otherwise := target(t, "everywhere:3")
		if c.command+c.directive+c.autodip == "" {
			tg = otherwise
		}
		if got := Resolve(req.Target, req.Directive.Target, auto, otherwise); !got.Equal(tg) {
			t.Errorf("%+v: got %s, and without anything else %s", c, got, tg)
		}
	}
}

func TestAutodip(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	if err := e.SetAutodip(true, ""); err != nil {
		t.Fatal(err)
	}
	id := mustStart(t, e, Request{})
	pool.ranks[0].next().ok()
	mustWait(t, e, id)
	if err := e.SetAutodip(false, ""); err != nil {
		t.Fatal(err)
	}
	id = mustStart(t, e, Request{})
	pool.local.next().ok()
	mustWait(t, e, id)
}

func TestEverywhereIsLocalFirst(t *testing.T) {
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool})
	everywhere := mustStart(t, e, Request{Target: target(t, "everywhere")})
	local := mustStart(t, e, Request{})
	pool.local.next().ok()
	first := pool.ranks[0].next()
	pool.local.next().ok() // the local namespace is free again while the ranks still run
	mustWait(t, e, local)
	first.ok()
	mustWait(t, e, everywhere)
	rec.await(t, "end", isKind(event.KindRunFinished))

	failing := mustStart(t, e, Request{Target: target(t, "everywhere")})
	pool.local.next().fail("ImportError", "no such module")
	if r := mustWait(t, e, failing); r.Status != event.StatusError || len(r.Parts) != 1 {
		t.Errorf("report %+v", r)
	}
	if len(pool.ranks[0].executions) > 0 {
		t.Error("the ranks ran what had failed locally")
	}
}

func TestNamespacesAreQueues(t *testing.T) {
	pool := newFakePool(2)
	e, _ := start(t, Options{Pool: pool})
	a := mustStart(t, e, Request{Cell: 1, Target: target(t, "remote")})
	b := mustStart(t, e, Request{Cell: 2, Target: target(t, "ranks:1")})
	c := mustStart(t, e, Request{Cell: 3, Target: target(t, "everywhere")})
	d := mustStart(t, e, Request{Cell: 4})

	pool.local.next().ok() // c's local part does not wait for the ranks
	pool.local.next().ok()
	mustWait(t, e, d)
	a0, a1 := pool.ranks[0].next(), pool.ranks[1].next()
	if len(pool.ranks[1].executions) > 0 {
		t.Error("two runs on the ranks at a time")
	}
	a1.ok()
	a0.ok()
	mustWait(t, e, a)
	pool.ranks[1].next().ok()
	mustWait(t, e, b)
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, c)
}

func TestRequestsThatCannotRun(t *testing.T) {
	pool := newFakePool(4)
	e, _ := start(t, Options{Pool: pool})
	r := mustWait(t, e, mustStart(t, e, Request{Target: target(t, "ranks:3,7,9")}))
	if r.Status != event.StatusError || r.Reason != "there are no ranks 7,9: the pool has ranks 0-3" {
		t.Errorf("report %+v", r)
	}
	pool.err = errors.New("no GPU; use -n 4 for CPU ranks")
	r = mustWait(t, e, mustStart(t, e, Request{Target: target(t, "remote")}))
	if r.Status != event.StatusDied || r.Reason != pool.err.Error() {
		t.Errorf("report %+v", r)
	}
	if _, err := e.Wait(context.Background(), "nonsense"); !errors.Is(err, ErrNoRun) {
		t.Errorf("got %v", err)
	}
	if err := e.Cancel(r.Run); !errors.Is(err, ErrNoRun) {
		t.Errorf("got %v", err)
	}
}

func TestCancel(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	running := mustStart(t, e, Request{Target: target(t, "remote")})
	queued := mustStart(t, e, Request{Target: target(t, "remote")})
	after := mustStart(t, e, Request{Target: target(t, "remote")})
	x0, x1 := pool.ranks[0].next(), pool.ranks[1].next()

	if err := e.Cancel(queued); err != nil {
		t.Fatal(err)
	}
	if r := mustWait(t, e, queued); r.Status != event.StatusInterrupted || r.Elapsed != 0 || r.Parts != nil {
		t.Errorf("report %+v", r)
	}
	x1.ok()
	interrupted := make(chan string, 1)
	pool.ranks[0].interrupt = func(id string) { interrupted <- id }
	if err := e.Cancel(running); err != nil {
		t.Fatal(err)
	}
	if id := <-interrupted; id != x0.id {
		t.Errorf("execution %s was interrupted", id)
	}
	x0.fail("KeyboardInterrupt", "")
	if r := mustWait(t, e, running); r.Status != event.StatusInterrupted || r.Parts[1].Status != event.StatusOK {
		t.Errorf("report %+v", r)
	}
	if len(pool.ranks[1].interrupts) > 0 {
		t.Error("a rank that had finished was interrupted")
	}
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, after)
	rec.await(t, "interrupting", func(ev event.Event) bool {
		rs, ok := ev.(*event.RankState)
		return ok && rs.State == "interrupting" && *rs.Rank == 0
	})
}

func TestCancelWhileThePoolStarts(t *testing.T) {
	pool := newFakePool(1)
	pool.gate = make(chan struct{})
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	rec.await(t, "run_started", isKind(event.KindRunStarted))
	if err := e.Cancel(id); err != nil {
		t.Fatal(err)
	}
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
		t.Errorf("report %+v", r)
	}
}

// If a rank was stopped, the user is told why it does not answer.
func TestInterruptOfStoppedRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(3)
		e, rec := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
		pool.ranks[1].mu.Lock()
		pool.ranks[1].condition = host.Condition{State: host.Halted, How: "is stopped: kill -CONT 4711 lets it go on"}
		pool.ranks[1].mu.Unlock()
		x[2].ok()
		_ = e.Cancel(id)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		lines := rec.lines()
		eventtest.SameLines(t, lines[len(lines)-2:],
			"log warning: rank 1 has not answered the interrupt for 5s: it is stopped: kill -CONT 4711 lets it go on",
			"log warning: rank 0 has not answered the interrupt for 5s; native code or a handler of SIGINT may be the reason")
		x[0].ok()
		x[1].ok()
		mustWait(t, e, id)
	})
}

func TestUnansweredInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(3)
		e, rec := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
		x[1].ok()
		_ = e.Cancel(id)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		lines := rec.lines()
		const want = "log warning: ranks 0,2 have not answered the interrupt for 5s; native code or a handler of SIGINT may be the reason"
		if last := lines[len(lines)-1]; last != want {
			t.Errorf("got %s", last)
		}
		_ = e.Cancel(id) // again
		synctest.Wait()
		if n := len(pool.ranks[2].interrupts); n != 2 {
			t.Errorf("%d interrupts", n)
		}
		x[0].fail("KeyboardInterrupt", "")
		x[2].ok()
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, _ := start(t, Options{Pool: pool})
		begin := time.Now()
		id := mustStart(t, e, Request{Target: target(t, "everywhere"), Timeout: 30 * time.Second})
		x := pool.local.next()
		time.Sleep(20 * time.Second)
		x.ok()
		pool.ranks[0].next().ok()
		deaf := pool.ranks[1].next()
		r := mustWait(t, e, id)
		if r.Status != event.StatusInterrupted || r.Reason != "timed out after 30s" || time.Since(begin) != 35*time.Second {
			t.Errorf("report %+v after %v", r, time.Since(begin))
		}
		deaf.print("late\n")
		deaf.ok()
		synctest.Wait()
	})
}

// A rank that failed before the others were interrupted is the reason, whoever has interrupted them.
func TestInterruptedAfterFailure(t *testing.T) {
	for _, test := range []struct {
		timeout time.Duration
		want    string
	}{
		{0, "rank 1: ValueError (train.py:14); ranks 0,2 were then interrupted"},
		{30 * time.Second, "rank 1: ValueError (train.py:14); ranks 0,2 were then interrupted, since the cell had run for 30s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			pool := newFakePool(3)
			e, _ := start(t, Options{Pool: pool})
			ids := mustStartSequence(t, e, false, Request{Cell: 1, Path: "/d/train.py", Target: target(t, "remote"), Timeout: test.timeout}, Request{})
			for i, p := range pool.ranks {
				x := p.next()
				if i == 1 {
					x.fail("ValueError", "no", wire.Frame{File: "/d/train.py", Line: 14})
					continue
				}
				p.mu.Lock()
				p.interrupt = func(string) { x.fail("KeyboardInterrupt", "") }
				p.mu.Unlock()
			}
			synctest.Wait()
			if test.timeout == 0 {
				_ = e.Cancel(ids[0])
			}
			endsAs(t, e, ids[0], "interrupted: "+test.want)
			endsAs(t, e, ids[1], "skipped: cell 1 failed")
		})
	}
}

// A rank has failed by itself also if the interrupt comes before its reply.
func TestInterruptedBetweenFailureAndReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, _ := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		for i, p := range pool.ranks {
			x := p.next()
			if i == 1 {
				x.h.Happened(ranks.Failure{EName: "ValueError"})
			}
			p.mu.Lock()
			p.interrupt = func(string) { x.h.Done(&wire.ExecuteReply{Status: wire.Status{Status: "error"}}, nil) }
			p.mu.Unlock()
		}
		_ = e.Cancel(id)
		endsAs(t, e, id, "interrupted: rank 1: ValueError; rank 0 was then interrupted")
		r := mustWait(t, e, id)
		if r.Parts[0].Status != event.StatusInterrupted || r.Parts[1].Status != event.StatusError {
			t.Errorf("report %+v", r)
		}
	})
}

// Code that goes on after the interrupt, or to its end, still counts as timed out.
func TestTimeoutOfCodeThatEndsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Target: target(t, "everywhere"), Timeout: 30 * time.Second})
		x := pool.local.next()
		pool.local.mu.Lock()
		pool.local.interrupt = func(string) { x.ok() }
		pool.local.mu.Unlock()
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || r.Reason != "timed out after 30s" || len(r.Parts) != 1 {
			t.Errorf("report %+v", r)
		}
		synctest.Wait()
		if len(pool.ranks[0].executions) > 0 {
			t.Error("the ranks ran the code after its time was over")
		}
	})
}

// Ranks that were told to end have not died.
func TestAskedEnd(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
	x[0].end(true)
	x[1].ok()
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || r.Reason != "" || r.Parts[0].Status != event.StatusInterrupted {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "end", isKind(event.KindRunFinished))
	eventtest.SameLines(t, rec.lines()[3:], "rank_state rank 0 stopped interrupted", "rank_state rank 1 ready ok", "run_finished interrupted")
}

func TestDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(3)
		e, rec := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
		pool.ranks[0].interrupt = func(string) { x[0].fail("KeyboardInterrupt", "") }
		begin := time.Now()
		x[1].die()
		r := mustWait(t, e, id)
		if r.Status != event.StatusDied || r.Reason != "rank 1 was killed by SIGKILL" {
			t.Errorf("report %+v", r)
		}
		if d := time.Since(begin); d != 8*time.Second { // the grace after the death and that after the interrupt
			t.Errorf("it took %v", d)
		}
		synctest.Wait()
		lines := rec.lines()
		eventtest.SameLines(t, lines[4:],
			"rank_state rank 1 dead died: rank 1 was killed by SIGKILL",
			"log warning: rank 1 was killed by SIGKILL: interrupting ranks 0,2, which may wait for it",
			"rank_state rank 0 interrupting",
			"rank_state rank 2 interrupting",
			"error rank 0 KeyboardInterrupt:  line 0",
			"rank_state rank 0 ready interrupted",
			"log warning: rank 2 has not answered the interrupt for 5s; native code or a handler of SIGINT may be the reason",
			"run_finished died: rank 1 was killed by SIGKILL")
		x[2].ok()
		// A run that asks for the dead rank reports the death again, and ends.
		next := mustStart(t, e, Request{Target: target(t, "ranks:1")})
		if r := mustWait(t, e, next); r.Status != event.StatusDied {
			t.Errorf("report %+v", r)
		}
	})
}

func TestDeathBetweenRuns(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Target: target(t, "remote")})
	pool.ranks[0].next().ok()
	x := pool.ranks[1].next()
	e.processDied(pool.ranks[1], errors.New("in a run: not told here"))
	x.die()
	mustWait(t, e, id)
	e.processDied(pool.ranks[1], errors.New("told already"))
	e.processDied(pool.ranks[0], errors.New("rank 0 exited with code 3"))
	e.processDied(pool.ranks[0], errors.New("told already"))
	e.StateChanged(ranks.StateChange{Pool: new(ranks.Pool), From: ranks.Starting, To: ranks.Starting})
	e.StateChanged(ranks.StateChange{Pool: new(ranks.Pool), From: ranks.Starting, To: ranks.Ready})
	e.StateChanged(ranks.StateChange{Pool: new(ranks.Pool), From: ranks.Ready, To: ranks.Busy})
	rec.await(t, "pool_state", func(ev event.Event) bool { ps, ok := ev.(*event.PoolState); return ok && ps.State == "ready" })
	eventtest.SameLines(t, rec.lines()[4:],
		"rank_state rank 1 dead died: rank 1 was killed by SIGKILL",
		"run_finished died: rank 1 was killed by SIGKILL",
		"rank_state rank 0 dead: rank 0 exited with code 3",
		"pool_state starting",
		"pool_state ready")
}

func TestLateOutput(t *testing.T) {
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{})
	x := pool.local.next()
	x.ok()
	mustWait(t, e, id)
	pool.local.later("from a thread\n")
	next := mustStart(t, e, Request{})
	y := pool.local.next()
	pool.local.later("still the first run's \xe2\x82")
	y.print("the second's\n")
	y.ok()
	mustWait(t, e, next)
	rec.await(t, "end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == next })
	var got []string
	for _, ev := range rec.all() {
		if s, ok := ev.(*event.Stream); ok {
			got = append(got, strings.TrimPrefix(s.Run, e.session)+" "+s.Text)
		}
	}
	eventtest.SameLines(t, got, "-1 from a thread\n", "-1 still the first run's ", "-1 ��", "-2 the second's\n")
}

func TestMessagesThatMakeNoSense(t *testing.T) {
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{})
	x := pool.local.next()
	x.h.Happened(ranks.Unreadable{Type: wire.TypeError, Err: errors.New("ename is a number")})
	x.h.Happened(ranks.Unreadable{Type: wire.TypeCommandRequest, Err: errors.New("it is a list")})
	x.h.Done(nil, errors.New("local: content of execute_reply: nonsense"))
	if r := mustWait(t, e, id); r.Status != event.StatusError {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "end", isKind(event.KindRunFinished))
	n := 0
	for _, l := range rec.lines() {
		if strings.HasPrefix(l, "log local error: ") {
			n++
		}
	}
	if n != 3 {
		t.Errorf("got %s", strings.Join(rec.lines(), "\n"))
	}
}

func TestCloseGivesUp(t *testing.T) {
	pool := newFakePool(1)
	e := New(Options{Pool: pool})
	sub := e.Subscribe()
	stuck := mustStart(t, e, Request{Target: target(t, "remote")})
	queued := mustStart(t, e, Request{Target: target(t, "remote")})
	x := pool.ranks[0].next()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e.Close(ctx)
	if _, err := e.Start(Request{}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	for _, id := range []string{stuck, queued} {
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
	}
	finished := 0
	for _, ev := range eventtest.Drain(t, sub) {
		if ev.Head().Kind == event.KindRunFinished {
			finished++
		}
	}
	if finished != 2 {
		t.Errorf("%d runs finished", finished)
	}
	x.print("nobody listens\n")
	x.die()
	if evs := eventtest.Drain(t, e.Subscribe()); evs != nil {
		t.Errorf("got %v", evs)
	}
}

func TestBackpressureReachesTheRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e := New(Options{Pool: pool, QueueBytes: 100})
		sub := e.Subscribe()
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		x0, x1 := pool.ranks[0].next(), pool.ranks[1].next()
		x0.print(strings.Repeat("x", 100))
		printed := make(chan struct{})
		go func() {
			x0.print("waits\n")
			close(printed)
		}()
		synctest.Wait()
		select {
		case <-printed:
			t.Error("the rank did not wait")
		default:
		}
		x1.ok() // nobody else waits
		for {
			evs, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := evs[len(evs)-1].(*event.Stream); ok && s.Text == "waits\n" {
				break
			}
		}
		<-printed
		x0.ok()
		mustWait(t, e, id)
		e.Close(t.Context())
	})
}

// A subscription to some kinds of events gets no others, however many there are.
func TestSubscriptionOfKinds(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	some := e.Subscribe(event.KindHang, event.KindRunFinished)
	id := mustStart(t, e, Request{})
	x := pool.local.next()
	x.print("output\n")
	e.Publish(&event.Hang{Header: event.Header{Kind: event.KindHang, Run: id}, Hang: 1})
	x.ok()
	mustWait(t, e, id)
	e.Close(t.Context())
	var kinds []event.Kind
	for _, ev := range eventtest.Drain(t, some) {
		kinds = append(kinds, ev.Head().Kind)
	}
	if len(kinds) != 2 || kinds[0] != event.KindHang || kinds[1] != event.KindRunFinished {
		t.Errorf("got %v", kinds)
	}
}

// A note about a run belongs to the run while it goes on.
func TestNote(t *testing.T) {
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{})
	x := pool.local.next()
	e.Note(t.Context(), id, event.LevelWarning, "while it runs")
	x.ok()
	mustWait(t, e, id)
	e.Note(t.Context(), id, event.LevelInfo, "after its end")
	e.Close(t.Context())
	<-rec.done
	told := map[string]string{}
	for _, ev := range rec.all() {
		if log, ok := ev.(*event.Log); ok {
			told[log.Text] = log.Run
		}
	}
	if run, ok := told["while it runs"]; !ok || run != id {
		t.Errorf("told %v", told)
	}
	if run, ok := told["after its end"]; !ok || run != "" {
		t.Errorf("told %v", told)
	}
}

// BenchmarkDispatch is a run of "pass" on 1,024 ranks that answer at once: the executor's own cost.
func BenchmarkDispatch(b *testing.B) {
	for _, c := range []struct {
		name    string
		journal bool
	}{{"bare", false}, {"journal", true}} {
		b.Run(c.name, func(b *testing.B) {
			const size = 1024
			pool := &benchPool{}
			for i := range size {
				pool.procs = append(pool.procs, &benchProcess{rank: i})
			}
			o := Options{Pool: pool}
			if c.journal {
				o.Journal = journal.Open(journal.Options{Dir: b.TempDir()})
				defer o.Journal.Close()
			}
			e := New(o)
			defer e.Close(context.Background())
			rec := record(e.Subscribe())
			rec.mu.Lock()
			rec.events = nil
			rec.mu.Unlock()
			req := Request{Target: cells.Target{Where: cells.Remote}, Code: "pass"}
			b.ReportAllocs()
			for b.Loop() {
				id, err := e.Start(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := e.Wait(context.Background(), id); err != nil {
					b.Fatal(err)
				}
				rec.mu.Lock()
				rec.events = rec.events[:0]
				rec.mu.Unlock()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/size, "µs/rank")
		})
	}
}

type benchPool struct{ procs []Process }

func (p *benchPool) Local(context.Context) (Process, error)   { return nil, errors.New("none") }
func (p *benchPool) Ranks(context.Context) ([]Process, error) { return p.procs, nil }

type benchProcess struct {
	Process // for what no run asks of it: nil
	rank    int
}

func (p *benchProcess) Who() ranklist.Who                       { return ranklist.Rank(p.rank) }
func (p *benchProcess) Seed() *int64                            { return nil }
func (p *benchProcess) Host() host.Host                         { return host.Local{} }
func (p *benchProcess) GroupTimeout() time.Duration             { return 0 }
func (p *benchProcess) SetBackground(func(ranks.Happening))     {}
func (p *benchProcess) Done() <-chan struct{}                   { return nil }
func (p *benchProcess) Interrupt(context.Context, string) error { return nil }
func (p *benchProcess) ExecutePrepared(_ *ranks.PreparedRequest, h ranks.Handler) string {
	h.Done(&wire.ExecuteReply{Status: wire.Status{Status: "ok"}}, nil)
	return ""
}
