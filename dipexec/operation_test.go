package dipexec

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

func rankList(t *testing.T, s string) ranklist.List {
	t.Helper()
	l, err := ranklist.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// People see the magic that does the same.
func TestTitlesOfOperations(t *testing.T) {
	gpus := "3,1"
	for want, req := range map[string]Request{
		"%dipush x y":         RequestForTransfer(Transfer{Names: []string{"x", "y"}}),
		"%dipush -r 0,2-3 x":  RequestForTransfer(Transfer{Names: []string{"x"}, Ranks: rankList(t, "0,2-3")}),
		"%dipull x":           RequestForTransfer(Transfer{Pull: true, Names: []string{"x"}}),
		"%dipull -r 1 x":      RequestForTransfer(Transfer{Pull: true, Names: []string{"x"}, Ranks: rankList(t, "1")}),
		"%makedip":            RequestForPool(wire.MakeCommand{}),
		"%makedip -g 3,1 -r":  RequestForPool(wire.MakeCommand{GPUs: &gpus, Restart: true}),
		"%makedip -n 2 -t 90": RequestForPool(wire.MakeCommand{Ranks: 2, Timeout: 90}),
		`%makedip -a "a b"`:   RequestForPool(wire.MakeCommand{App: "a b"}),
		"x y to a b.npz":      RequestForFile(File{Path: "/d/a b.npz", Names: []string{"x", "y"}, Write: true}, cells.Target{}),
		"x from w.pt":         RequestForFile(File{Path: "/d/w.pt", Names: []string{"x"}}, cells.Target{}),
		"free GPU memory":     RequestForMemory(cells.Target{}),
	} {
		if req.Title != want {
			t.Errorf("got %q, want %q", req.Title, want)
		}
	}
}

func TestTransferAsItIsAskedFor(t *testing.T) {
	for _, test := range []struct {
		Transfer
		want wire.Transfer
	}{
		{Transfer{Names: []string{"x"}}, wire.Transfer{Names: []string{"x"}, Ranks: "all"}},
		{Transfer{Names: []string{"x"}, Ranks: rankList(t, "0,2")}, wire.Transfer{Names: []string{"x"}, Ranks: "0,2"}},
		{Transfer{Pull: true, Names: []string{"x"}}, wire.Transfer{Pull: true, Names: []string{"x"}, Ranks: "0"}},
	} {
		if got := test.wired(); !reflect.DeepEqual(*got, test.want) {
			t.Errorf("got %+v, want %+v", got, test.want)
		}
	}
}

// A transfer has its places before its command comes, and the command goes the way of every other.
func TestTransferTakesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		id := mustStart(t, e, RequestForTransfer(Transfer{Names: []string{"x"}}))
		later := mustStart(t, e, Request{Target: target(t, "remote")})
		x := pool.local.next()
		synctest.Wait()
		if len(pool.ranks[0].executions) > 0 {
			t.Error("a later run has overtaken the transfer")
		}
		x.command(`{"id":1,"command":"push","names":["x"],"ranks":"all","payload":{}}`)
		pool.local.answered(t, `{"id":1,"status":"ok","ranks":[0],"pool":1}`)
		x.ok()
		endsAs(t, e, id, "ok")
		pool.ranks[0].next().ok()
		endsAs(t, e, later, "ok")
		if begun := rec.all()[0].(*event.RunStarted); begun.Title != "%dipush x" || begun.Target != "local" {
			t.Errorf("%+v", begun)
		}
	})
}

// startPool starts the making of a pool, and gives what the manager is to do.
func startPool(t *testing.T, pool *fakePool, do func(context.Context) (string, error)) (e *Executor, rec *recorder, id string) {
	t.Helper()
	m := &fakeManager{made: make(chan wire.MakeCommand, 1), make: do}
	e, rec = start(t, Options{Pool: pool, Manager: m})
	before := mustStart(t, e, Request{Target: target(t, "remote")})
	x := pool.ranks[0].next()
	id = mustStart(t, e, RequestForPool(wire.MakeCommand{Ranks: 4}))
	synctest.Wait()
	if len(m.made) > 0 {
		t.Error("the pool was made while a run was on it")
	}
	x.ok()
	endsAs(t, e, before, "ok")
	if cmd := <-m.made; cmd.Ranks != 4 {
		t.Errorf("got %+v", cmd)
	}
	return e, rec, id
}

// linesOf are the events of one run.
func (r *recorder) linesOf(run string) []string {
	var evs []event.Event
	for _, ev := range r.all() {
		if ev.Head().Run == run {
			evs = append(evs, ev)
		}
	}
	return eventtest.Describe(evs)
}

func TestMakePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec, id := startPool(t, pool, func(context.Context) (string, error) { return "pool of 4 ranks", nil })
		if r := mustWait(t, e, id); r.Status != event.StatusOK || len(r.Parts) != 1 || !r.Parts[0].Who.IsLocal() {
			t.Errorf("report %+v", r)
		}
		synctest.Wait()
		eventtest.SameLines(t, rec.linesOf(id),
			"run_started local see 0",
			"rank_state local busy",
			`stream local stdout "pool of 4 ranks\n"`,
			"rank_state local ready ok",
			"run_finished ok")
		if len(pool.local.executions) > 0 || e.queues[poolNamespace].current() != nil {
			t.Error("the local namespace was asked, or the ranks are still taken")
		}
	})
}

func TestMakePoolFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, rec, id := startPool(t, newFakePool(1), func(context.Context) (string, error) { return "", errors.New("there is no GPU 9") })
		if r := mustWait(t, e, id); r.Status != event.StatusError || r.Parts[0].Failure.EValue != "there is no GPU 9" {
			t.Errorf("report %+v", r)
		}
		synctest.Wait()
		eventtest.SameLines(t, rec.linesOf(id)[2:],
			"error local RuntimeError: there is no GPU 9 line 0",
			"rank_state local ready error",
			"run_finished error")
	})
}

func TestMakePoolIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, rec, id := startPool(t, newFakePool(1), func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		_ = e.Cancel(id)
		endsAs(t, e, id, "interrupted")
		synctest.Wait()
		eventtest.SameLines(t, rec.linesOf(id)[2:],
			"rank_state local interrupting",
			"rank_state local ready interrupted",
			"run_finished interrupted")
	})
}

// If the local namespace dies meanwhile, the making is given up as that of a cell there is.
func TestDeathWhileMakingPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec, id := startPool(t, pool, func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		x := &fakeExecution{p: pool.local, h: nobodyHandles{}}
		x.die()
		endsAs(t, e, id, "died: "+pool.local.Err().Error())
		synctest.Wait()
		eventtest.SameLines(t, rec.linesOf(id)[2:],
			"rank_state local dead died: "+pool.local.Err().Error(),
			"run_finished died: "+pool.local.Err().Error())
	})
}

func TestNoManager(t *testing.T) {
	e, _ := start(t, Options{Pool: newFakePool(1)})
	if r := mustWait(t, e, mustStart(t, e, RequestForPool(wire.MakeCommand{}))); r.Parts[0].Failure.EValue != errNoManager.evalue {
		t.Errorf("report %+v", r)
	}
}

// nobodyHandles handles an execution that there is not.
type nobodyHandles struct{}

func (nobodyHandles) Happened(ranks.Happening)       {}
func (nobodyHandles) Done(*wire.ExecuteReply, error) {}
