package dipexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
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

// startCell starts a run whose cell runs in the local namespace, and returns its execution there.
func startCell(t *testing.T, e *Executor, pool *fakePool, where string) (id string, x *fakeExecution) {
	t.Helper()
	id = mustStart(t, e, Request{Cell: 4, Path: "/t.py", Code: "%dipush", Target: target(t, where)})
	return id, pool.local.next()
}

// told compares what the ranks were told.
func (p *fakePool) told(t *testing.T, want ...string) {
	t.Helper()
	for i, r := range p.ranks {
		if got := r.told(); got != want[min(i, len(want)-1)] {
			t.Errorf("rank %d was told: %s", i, got)
		}
	}
}

// refusal makes a push or pull fail as a rank's Python does.
func refusal(ename, evalue, variable string) func(context.Context) error {
	return func(context.Context) error {
		return &wire.ReplyError{Name: "rank 1", EName: ename, EValue: evalue, Variable: variable}
	}
}

func TestPush(t *testing.T) {
	pool := newFakePool(2)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	x.command(`{"id":3,"command":"push","names":["a","größe"],"ranks":"all","payload":{"files":[]}}`)
	pool.local.answered(t, `{"id":3,"status":"ok","ranks":[0,1],"pool":1}`)
	x.command(`{"id":4,"command":"push","names":["a"],"ranks":"1","payload":{}}`)
	pool.local.answered(t, `{"id":4,"status":"ok","ranks":[1],"pool":1}`)
	x.ok()
	mustWait(t, e, id)
	pool.told(t, "push, commit", "push, commit, push, commit")
}

func TestPushFails(t *testing.T) {
	pool := newFakePool(4)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	pool.ranks[1].push = refusal("ModuleNotFoundError", "No module named 'foo'", "model")
	pool.ranks[2].push = refusal("ModuleNotFoundError", "No module named 'foo'", "model")
	pool.ranks[3].push = func(context.Context) error {
		return &ranks.ExitError{Name: "rank 3", Exit: host.Exit{Signal: "SIGKILL"}}
	}
	x.command(`{"id":1,"command":"push","names":["a","model"],"ranks":"all"}`)
	pool.local.answered(t, `{"id":1,"status":"error","ename":"ModuleNotFoundError","evalue":"model: No module named 'foo' (ranks 1-2); `+
		`rank 3 was killed by SIGKILL; nothing was pushed"}`)
	x.ok()
	mustWait(t, e, id)
	pool.told(t, "push, forget", "push")
}

func TestPull(t *testing.T) {
	pool := newFakePool(3)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	x.command(`{"id":1,"command":"pull","names":["a","b"],"ranks":"2,0"}`)
	pool.local.answered(t, `{"id":1,"status":"ok","payloads":[{"rank":0,"payload":{"of":0}},{"rank":2,"payload":{"of":2}}]}`)
	pool.told(t, "pull a b", "", "pull a b")

	pool.ranks[1].pull = refusal("NameError", "name 'x' is not defined", "x")
	x.command(`{"id":2,"command":"pull","names":["x"],"ranks":"all"}`) // the ranks are free again, though 1 is not over
	pool.local.answered(t, `{"id":2,"status":"error","ename":"NameError","evalue":"name 'x' is not defined on rank 1; nothing was pulled"}`)
	pool.told(t, "pull a b, pull x, release", "pull x", "pull a b, pull x, release")
	x.endCommand(1)
	x.endCommand(2) // long over
	x.ok()
	mustWait(t, e, id)
	e.Close(t.Context())
	pool.told(t, "pull a b, pull x, release, release", "pull x", "pull a b, pull x, release, release")
}

// A rank dies that has done its part of a run: others may wait for it, and are interrupted.
func TestDeathAfterItsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		e, _ := start(t, Options{Pool: pool, DeathGrace: time.Millisecond})
		id := mustStart(t, e, Request{Target: target(t, "remote")})
		done, waits := pool.ranks[1].next(), pool.ranks[0].next()
		pool.ranks[0].interrupt = func(string) { waits.fail("KeyboardInterrupt", "") }
		done.ok()
		e.processDied(pool.ranks[1], &ranks.ExitError{Name: "rank 1", Exit: host.Exit{Signal: "SIGKILL"}})
		if r := mustWait(t, e, id); r.Status != event.StatusDied || r.Reason != "rank 1 was killed by SIGKILL" {
			t.Errorf("the run ended %s: %s", r.Status, r.Reason)
		}
	})
}

// After a death the others' variables can be pulled: ranks that wait for the dead one are interrupted or freed first. Nothing else runs on them.
func TestSurvivors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(4)
		e, _ := start(t, Options{Pool: pool, DeathGrace: time.Millisecond})
		death := mustStart(t, e, Request{Target: target(t, "remote")})
		var runs []*fakeExecution
		for _, r := range pool.ranks {
			runs = append(runs, r.next())
		}
		pool.ranks[1].interrupt = func(string) { runs[1].fail("KeyboardInterrupt", "") }
		runs[0].die()
		if r := mustWait(t, e, death); r.Status != event.StatusDied {
			t.Errorf("the run ended %s: %s", r.Status, r.Reason)
		}
		for _, r := range pool.ranks {
			r.said = nil
		}
		broken := &BrokenPoolError{Ranks: pool.processes(), Err: pool.ranks[0].dead}
		pool.err = broken
		pool.ranks[2].stands(always(inside(world(8), "all_reduce", "/d/t.py", 41)))
		breaks := 0
		pool.ranks[2].breaks(func() {
			if breaks++; breaks == 2 {
				runs[2].fail("RuntimeError", "")
			}
		})

		id, x := startCell(t, e, pool, "local")
		why := "the pool is dead, and no cell runs on its ranks (" + broken.Err.Error() + "); " +
			"what ranks 1-3 still hold can be pulled, as by %dipull -r 1; %makedip -r starts new ranks"
		for i, c := range []struct{ command, want string }{
			{`"pull","names":["a"],"ranks":"1"`, `"ok","payloads":[{"rank":1,"payload":{"of":1}}]}`},
			{`"pull","names":["a"],"ranks":"1-2"`, `"ok","payloads":[{"rank":1,"payload":{"of":1}},{"rank":2,"payload":{"of":2}}]}`},
			{`"pull","names":["a"],"ranks":"1,3"`, `"error","ename":"RuntimeError","evalue":"rank 3 does not come back from a cell, ` +
				`perhaps one that waits for what has died, and no interrupt gets through; nothing was pulled"}`},
			{`"pull","names":["a"],"ranks":"0-1"`, `"error","ename":"RuntimeError","evalue":"rank 0 no longer lives: ` + why + `"}`},
			{`"push","names":["a"],"ranks":"1"`, `"error","ename":"RuntimeError","evalue":"` + why + `"}`},
		} {
			x.command(fmt.Sprintf(`{"id":%d,"command":%s}`, i+1, c.command))
			pool.local.answered(t, fmt.Sprintf(`{"id":%d,"status":%s`, i+1, c.want))
		}
		x.ok()
		mustWait(t, e, id)
		if r := mustWait(t, e, mustStart(t, e, Request{Target: target(t, "ranks:1")})); r.Status != event.StatusDied || r.Reason != why {
			t.Errorf("a cell on a survivor ended %s: %s", r.Status, r.Reason)
		}
		once := "connections, break"
		twice, thrice := once+", "+once, once+", "+once+", "+once
		pool.told(t, "", "pull a, "+twice+", pull a, "+thrice, twice+", pull a, "+thrice, twice+", "+thrice)
	})
}

// Who holds variables is known as soon as a run has been told of the death, even if not everything is over then.
func TestSurvivorsAtOnce(t *testing.T) {
	pool := newFakePool(3)
	pool.ranks[1].dead = &ranks.ExitError{Name: "rank 1", Exit: host.Exit{Signal: "SIGKILL"}}
	broken := &BrokenPoolError{Ranks: pool.processes(), Err: pool.ranks[1].dead}
	if text := broken.Error(); !strings.Contains(text, "what ranks 0,2 still hold can be pulled") {
		t.Error(text)
	}
}

// What a command holds is released when the process that has asked for it ends.
func TestPayloadsOfTheDead(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	x.command(`{"id":1,"command":"pull","names":["a"],"ranks":"0"}`)
	pool.local.answered(t, `{"id":1,"status":"ok","payloads":[{"rank":0,"payload":{"of":0}}]}`)
	x.die()
	mustWait(t, e, id)
	e.work.Wait()
	pool.told(t, "pull a, release")
}

func TestInterruptedTransfers(t *testing.T) {
	for _, c := range []struct{ command, one, other string }{
		{"push", "push, forget", "push"},
		{"pull", "pull a, release", "pull a"},
	} {
		pool := newFakePool(2)
		e, _ := start(t, Options{Pool: pool})
		id, x := startCell(t, e, pool, "local")
		begun := make(chan struct{})
		hang := func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return errors.Join(ctx.Err(), &wire.ReplyError{EName: "KeyboardInterrupt"})
		}
		pool.ranks[1].push, pool.ranks[1].pull = hang, hang
		x.command(`{"id":1,"command":"` + c.command + `","names":["a"],"ranks":"all"}`)
		<-begun
		x.endCommand(1)
		pool.local.answered(t, `{"id":1,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`)
		x.ok()
		mustWait(t, e, id)
		pool.told(t, c.one, c.other)
	}
}

// A command that still waits for its turn is taken out of the queue.
func TestInterruptedInTheQueue(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	before := mustStart(t, e, Request{Target: target(t, "remote")})
	running := pool.ranks[0].next()
	id, x := startCell(t, e, pool, "everywhere")
	x.command(`{"id":1,"command":"push","names":["a"]}`)
	x.endCommand(1)
	pool.local.answered(t, `{"id":1,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`)
	x.ok()
	running.ok()
	mustWait(t, e, before)
	pool.ranks[0].next().ok()
	mustWait(t, e, id)
	pool.told(t, "")
}

func TestCommandsThatMakeNoSense(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "everywhere")
	for _, c := range []struct{ command, ename, evalue string }{
		{`{"id":1,"command":"fly"}`, "ValueError", `there is no command "fly"`},
		{`{"id":1}`, "ValueError", `there is no command ""`},
		{`{"id":1,"command":"push","names":"a"}`, "ValueError", "json: cannot unmarshal string into Go struct field PushCommand.names of type []string"},
		{`{"id":1,"command":"push"}`, "ValueError", "no variables are named"},
		{`{"id":1,"command":"pull","names":["a"],"ranks":"x"}`, "ValueError", `"x" is not a number or range; write all, or numbers like 0,2-4`},
		{`{"id":1,"command":"pull","names":["a"],"ranks":"1-3"}`, "ValueError", "there are no ranks 2-3: the pool has ranks 0-1"},
		{`{"id":1,"command":"run","see":"nobody"}`, "ValueError", `"nobody" is not a number or range; write all, or numbers like 0,2-4`},
		{`{"id":1,"command":"result","run":"nonsense"}`, "ValueError", `there is no run "nonsense" any more: only the last 100 are remembered`},
		{`{"id":1,"command":"result","run":"` + id + `"}`, "ValueError", "run " + id + " does not end before this cell does"},
		{`{"id":1,"command":"make"}`, "RuntimeError", "the pool of this session is not made from code"},
		{`{"id":1,"command":"info"}`, "RuntimeError", "the pool of this session is not made from code"},
		{`{"id":1,"command":"autodip","on":true,"flags":"--sea all"}`, "UsageError", "%%dip has no flag --sea; did you mean --see?"},
	} {
		x.command(c.command)
		b, _ := json.Marshal(wire.CommandStatus{ID: 1, Status: wire.Status{Status: "error", EName: c.ename, EValue: c.evalue}})
		pool.local.answered(t, string(b))
	}
	x.h.Happened(ranks.Unreadable{Type: wire.TypeCommandRequest, Err: errors.New("it is a list")})
	rec.await(t, "a log", func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && l.Local && strings.HasPrefix(l.Text, "local sent a command_request message that cannot be read: ")
	})
	pool.err = errors.New("no GPU; use -n 4 for CPU ranks")
	x.command(`{"id":1,"command":"push","names":["a"]}`)
	pool.local.answered(t, `{"id":1,"status":"error","ename":"RuntimeError","evalue":"no GPU; use -n 4 for CPU ranks"}`)
	pool.err = nil
	x.ok()
	y := pool.ranks[0].next()
	y.command(`{"id":1,"command":"info"}`)
	pool.ranks[0].answered(t, `{"id":1,"status":"error","ename":"ValueError","evalue":"only the local namespace may give commands"}`)
	y.ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, id)
	e.Close(t.Context())
	x.command(`{"id":2,"command":"info"}`)
	pool.local.answered(t, `{"id":2,"status":"error","ename":"RuntimeError","evalue":"the session is ending"}`)
}

// fakeManager is a Manager whose Make a test answers.
type fakeManager struct {
	made chan wire.MakeCommand
	make func(ctx context.Context) (string, error)
}

func (m *fakeManager) Make(ctx context.Context, cmd wire.MakeCommand) (string, error) {
	m.made <- cmd
	return m.make(ctx)
}

func (m *fakeManager) Info(context.Context) wire.PoolInfo {
	return wire.PoolInfo{State: "ready", Size: 2, Ranks: []wire.RankInfo{}}
}

// A cell makes the pool that its own second part then runs on.
func TestMakeInTheMiddle(t *testing.T) {
	pool := newFakePool(2)
	m := &fakeManager{made: make(chan wire.MakeCommand, 1)}
	e, rec := start(t, Options{Pool: pool, Manager: m})
	before := mustStart(t, e, Request{Cell: 1, Target: target(t, "remote")})
	old := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
	id, x := startCell(t, e, pool, "everywhere")
	x.command(`{"id":1,"command":"make","ranks":1,"restart":true}`)
	m.make = func(context.Context) (string, error) {
		for _, r := range pool.ranks {
			close(r.ended)
		}
		pool.ranks = newFakePool(1).ranks
		return "pool of 1 rank", nil
	}
	if len(m.made) > 0 {
		t.Error("the pool was made while a run was on it")
	}
	old[0].ok()
	old[1].ok()
	if cmd := <-m.made; cmd.Ranks != 1 || !cmd.Restart {
		t.Errorf("got %+v", cmd)
	}
	pool.local.answered(t, `{"id":1,"status":"ok","text":"pool of 1 rank"}`)
	mustWait(t, e, before)
	x.ok()
	y := pool.ranks[0].next()
	y.print("new\n")
	y.ok()
	if r := mustWait(t, e, id); r.Status != event.StatusOK || len(r.Parts) != 2 {
		t.Errorf("report %+v", r)
	}
	e.mu.Lock()
	known := len(e.procs)
	e.mu.Unlock()
	if known != 2 {
		t.Errorf("%d processes are remembered", known)
	}
	rec.await(t, "output", func(ev event.Event) bool { s, ok := ev.(*event.Stream); return ok && s.Text == "new\n" && s.Run == id })
}

func TestMakeFails(t *testing.T) {
	pool := newFakePool(1)
	m := &fakeManager{made: make(chan wire.MakeCommand, 1)}
	e, _ := start(t, Options{Pool: pool, Manager: m})
	id, x := startCell(t, e, pool, "local")
	m.make = func(context.Context) (string, error) {
		return "", errors.New("there is a pool of 3 ranks; add -r to replace it")
	}
	x.command(`{"id":1,"command":"make"}`)
	pool.local.answered(t, `{"id":1,"status":"error","ename":"RuntimeError","evalue":"there is a pool of 3 ranks; add -r to replace it"}`)
	<-m.made
	m.make = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
	x.command(`{"id":2,"command":"make"}`)
	<-m.made
	x.endCommand(2)
	pool.local.answered(t, `{"id":2,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`)
	x.ok()
	mustWait(t, e, id)
}

func TestAutodipCommand(t *testing.T) {
	pool := newFakePool(2)
	m := &fakeManager{}
	e, rec := start(t, Options{Pool: pool, Manager: m})
	id := mustStart(t, e, Request{Cell: 1})
	auto := mustStart(t, e, Request{Cell: 2, Directive: cells.Directive{Quiet: true}}) // started before autodip is on
	alone := mustStart(t, e, Request{Cell: 3, NoAutodip: true})
	x := pool.local.next()
	x.command(`{"id":1,"command":"autodip","on":null,"flags":""}`)
	pool.local.answered(t, `{"id":1,"status":"ok","autodip":""}`)
	x.command(`{"id":2,"command":"autodip","on":true,"flags":"--see all -a 'profile x'"}`)
	pool.local.answered(t, `{"id":2,"status":"ok","autodip":"%%dip --see all --appcmd \"profile x\""}`)
	x.command(`{"id":3,"command":"autodip","on":true,"flags":"--see all -a 'profile x'"}`) // no change
	pool.local.answered(t, `{"id":3,"status":"ok","autodip":"%%dip --see all --appcmd \"profile x\""}`)
	text := e.Autodip()
	x.command(`{"id":4,"command":"info"}`)
	pool.local.answered(t, `{"id":4,"status":"ok","pool":{"state":"ready","reason":"","size":2,"backend":"","app":"","method":"","verbose":false,`+
		`"autodip":"%%dip --see all --appcmd \"profile x\"","ranks":[],"local":null}}`)
	x.ok()
	mustWait(t, e, id)
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, auto)
	e.StateChanged(ranks.StateChange{Pool: new(ranks.Pool), From: ranks.Starting, To: ranks.Ready})
	y := pool.local.next()
	y.command(`{"id":5,"command":"autodip","on":false,"flags":""}`)
	pool.local.answered(t, `{"id":5,"status":"ok","autodip":""}`)
	y.ok()
	mustWait(t, e, alone)
	rec.await(t, "the end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == alone })
	var states []event.PoolState
	for _, ev := range rec.all() {
		switch ev := ev.(type) {
		case *event.PoolState:
			states = append(states, *ev)
		case *event.RunStarted:
			if want := ev.Run == auto; ev.Autodip != want || want && (ev.See != "all" || !ev.Quiet || ev.Target != "remote") {
				t.Errorf("started: %+v", ev)
			}
		}
	}
	head := event.Header{Kind: event.KindPoolState}
	want := []event.PoolState{
		{Header: head, State: "none", Autodip: text},
		{Header: head, State: "ready", Autodip: text},
		{Header: head, State: "ready"},
	}
	if text == "" || !reflect.DeepEqual(states, want) {
		t.Errorf("%q: got %+v", text, states)
	}
}

// A cell that autodip sends to the ranks leaves the local namespace to the next one while it waits for them.
func TestAutodipLeavesTheLocalNamespace(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	if err := e.SetAutodip(true, ""); err != nil {
		t.Fatal(err)
	}
	first := mustStart(t, e, Request{})
	busy := pool.ranks[0].next()
	second := mustStart(t, e, Request{})
	local := mustStart(t, e, Request{Target: target(t, "local")})
	pool.local.next().ok()
	mustWait(t, e, local)
	busy.ok()
	mustWait(t, e, first)
	pool.ranks[0].next().ok()
	mustWait(t, e, second)
	if err := e.SetAutodip(true, "--ranks x"); err == nil || e.Autodip() != "%%dip" {
		t.Errorf("%v, autodip is %q", err, e.Autodip())
	}
}

// What %pxconfig sets holds for later %%px and %px, and for autopx, where they do not say so themselves.
func TestPxConfig(t *testing.T) {
	pool := newFakePool(3)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{Code: "%pxconfig"})
	px := cells.Directive{Target: target(t, "remote"), See: ranklist.All, Px: true}
	cell := mustStart(t, e, Request{Directive: px}) // queued before it is configured
	x := pool.local.next()
	x.command(`{"id":1,"command":"pxconfig"}`)
	pool.local.answered(t, `{"id":1,"status":"ok","targets":"all","block":true,"verbose":false}`)
	x.command(`{"id":2,"command":"pxconfig","targets":"-1:","block":false,"verbose":true}`)
	pool.local.answered(t, `{"id":2,"status":"ok","targets":"-1:","block":false,"verbose":true}`)
	x.command(`{"id":3,"command":"pxconfig","targets":"x"}`)
	pool.local.answered(t, `{"id":3,"status":"error","ename":"ValueError","evalue":"\"x\" is not a number or range; write all, or numbers like 0,2-4"}`)
	x.command(`{"id":4,"command":"run","px":true,"ranks":"","wait":null,"verbose":null}`)
	pool.local.answered(t, `{"id":4,"status":"ok","run":"`+e.session+`-3","run_status":"","parts":[]}`)
	pool.ranks[2].next().ok()
	x.command(`{"id":5,"command":"run","px":true,"ranks":"0","wait":true,"verbose":false}`)
	pool.ranks[0].next().ok()
	pool.local.answered(t, `{"id":5,"status":"ok","run":"`+e.session+`-4","run_status":"ok","parts":[{"rank":0,"status":"ok"}]}`)
	x.command(`{"id":6,"command":"autodip","on":true,"px":true}`)
	pool.local.answered(t, `{"id":6,"status":"ok","autodip":"%%px"}`)
	x.ok()
	mustWait(t, e, id)

	y := pool.ranks[2].next()
	begun := func(id string) bool { // so that what comes after it in a sequence may
		e.mu.Lock()
		defer e.mu.Unlock()
		select {
		case <-e.runs[id].begun:
			return true
		default:
			return false
		}
	}
	if !begun(cell) {
		t.Error("the cell is waited for")
	}
	y.ok()
	if report := mustWait(t, e, cell); len(report.Parts) != 1 {
		t.Errorf("%+v", report)
	}
	own := mustStart(t, e, Request{Directive: cells.Directive{Target: target(t, "ranks:1"), Px: true, NoBlock: cells.No, Verbose: cells.No}})
	z := pool.ranks[1].next()
	if begun(own) {
		t.Error("the cell that says so is not waited for")
	}
	z.ok()
	if report := mustWait(t, e, own); report.Parts[0].Who != ranklist.Rank(1) {
		t.Errorf("%+v", report)
	}
	auto := mustStart(t, e, Request{})
	pool.ranks[2].next().ok()
	mustWait(t, e, auto)
	rec.await(t, "the end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == auto })
	told := map[string]string{}
	for _, ev := range rec.all() {
		if log, ok := ev.(*event.Log); ok {
			told[log.Run] = log.Text
		}
	}
	want := map[string]string{cell: "running on rank 2", e.session + "-3": "running on rank 2", auto: "running on rank 2"}
	if !maps.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestNestedRun(t *testing.T) {
	pool := newFakePool(2)
	e, rec := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	id, x := startCell(t, e, pool, "everywhere")
	x.command(`{"id":1,"command":"run","code":"f()","path":"/t.py","line":9,"ranks":"all","see":"all","wait":true}`)
	y := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
	y[0].print("one\n")
	y[0].result(1, "42")
	y[0].ok()
	y[1].fail("NameError", "f", wire.Frame{File: "/t.py", Line: 9})
	nested := e.session + "-2"
	pool.local.answered(t, `{"id":1,"status":"ok","run":"`+nested+`","run_status":"error","parts":[{"rank":0,"status":"ok"},`+
		`{"rank":1,"status":"error","ename":"NameError","evalue":"f"}]}`)
	x.command(`{"id":2,"command":"result","run":"` + nested + `"}`)
	pool.local.answered(t, `{"id":2,"status":"ok","run":"`+nested+`","run_status":"error",`+
		`"parts":[{"rank":0,"status":"ok","output":"one\n","result":"42","shown":true},`+
		`{"rank":1,"status":"error","ename":"NameError","evalue":"f","shown":true}]}`)
	x.ok()
	pool.ranks[0].next().ok()
	pool.ranks[1].next().ok()
	mustWait(t, e, id)
	rec.await(t, "the end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == id })
	n := 0
	for _, ev := range rec.all() {
		h := ev.Head()
		if h.Run == "" || h.Cell == nil || *h.Cell != 4 {
			t.Errorf("header %+v", h)
		}
		var parent string
		switch ev := ev.(type) {
		case *event.RunStarted:
			parent = ev.Parent
		case *event.RunFinished:
			parent = ev.Parent
		default:
			continue
		}
		if n++; (h.Run == nested) != (parent == id) {
			t.Errorf("the parent of %s is %q", h.Run, parent)
		}
	}
	if n != 4 {
		t.Errorf("%d runs started or finished", n)
	}
}

// The output of a run that printed a lot is its end.
func TestResultIsBounded(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{}), QueueBytes: 1 << 30})
	id, x := startCell(t, e, pool, "local")
	x.command(`{"id":1,"command":"run","wait":true}`)
	y := pool.ranks[0].next()
	for range 5 {
		y.print(strings.Repeat("ä", maxResultOutput/4))
	}
	y.print("\nend")
	y.ok()
	<-pool.local.answers
	x.command(`{"id":2,"command":"result","run":"` + e.session + `-2"}`)
	var reply wire.RunCommandReply
	if err := json.Unmarshal([]byte(<-pool.local.answers), &reply); err != nil {
		t.Fatal(err)
	}
	if out := reply.Parts[0].Output; len(out) > maxResultOutput || len(out) < maxResultOutput-1 || !strings.HasSuffix(out, "ää\nend") || out[0] != "ä"[0] {
		t.Errorf("%d bytes: %.10q…", len(out), out)
	}
	x.ok()
	mustWait(t, e, id)
}

// Cancelling a run cancels the runs that its cell waits for, once each time.
func TestCancelReachesNestedRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		id, x := startCell(t, e, pool, "local")
		x.command(`{"id":1,"command":"run","wait":true}`)
		y := pool.ranks[0].next()
		pool.local.interrupt = func(string) { x.endCommand(1) }
		for range 2 {
			e.CancelAll()
			synctest.Wait()
		}
		if a, b := len(pool.ranks[0].interrupts), len(pool.local.interrupts); a != 2 || b != 2 {
			t.Errorf("%d and %d interrupts", a, b)
		}
		y.fail("KeyboardInterrupt", "")
		pool.local.answered(t, `{"id":1,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`)
		x.fail("KeyboardInterrupt", "")
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
	})
}

// Ranks that do not react to a cell's timeout are given up, also in a run that the cell has asked for.
func TestTimeoutReachesNestedRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Code: "%px", Timeout: time.Second})
		x := pool.local.next()
		later := mustStart(t, e, Request{Target: target(t, "remote")})
		x.command(`{"id":1,"command":"run","wait":true}`)
		deaf := pool.ranks[0].next()
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		pool.ranks[0].next().ok()
		if r := mustWait(t, e, later); r.Status != event.StatusOK {
			t.Errorf("report %+v", r)
		}
		deaf.ok()
		x.ok()
	})
}

// The nested run warns of a rank that is deaf to an interrupt, and the cell that waits for it does not.
func TestDeafRankOfANestedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, rec := start(t, Options{Pool: pool})
		id, x := startCell(t, e, pool, "local")
		x.command(`{"id":1,"command":"run","wait":true}`)
		y := pool.ranks[0].next()
		if err := e.Cancel(id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var warnings []string
		for _, ev := range rec.all() {
			if l, ok := ev.(*event.Log); ok {
				warnings = append(warnings, l.Text)
			}
		}
		eventtest.SameLines(t, warnings, "rank 0 has not answered the interrupt for 5s; native code or a handler of SIGINT may be the reason")
		y.fail("KeyboardInterrupt", "")
		x.fail("KeyboardInterrupt", "")
		mustWait(t, e, id)
	})
}

// A cell that does not react to its timeout is given up, and what it has asked for with it.
func TestCommandsOfAGivenUpRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		id := mustStart(t, e, Request{Timeout: time.Second})
		deaf := pool.local.next()
		pool.ranks[0].push = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		deaf.command(`{"id":1,"command":"push","names":["x"]}`)
		if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
			t.Errorf("report %+v", r)
		}
		pool.local.answered(t, `{"id":1,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`)

		next := mustStart(t, e, Request{Code: "%dipush y", Target: target(t, "local")})
		waiting := pool.local.next() // for the deaf cell to end, and ahead of it on the ranks
		deaf.command(`{"id":2,"command":"push","names":["x"]}`)
		pool.local.answered(t, `{"id":2,"status":"error","ename":"RuntimeError","evalue":"the cell that asks was given up when its time was over"}`)
		deaf.ok()
		waiting.ok()
		mustWait(t, e, next)
	})
}

func TestInterruptCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		before := mustStart(t, e, Request{Target: target(t, "remote")})
		running := pool.ranks[0].next()
		pool.ranks[0].interrupt = func(string) { running.fail("KeyboardInterrupt", "") }
		id, x := startCell(t, e, pool, "everywhere")
		x.command(`{"id":1,"command":"run","wait":false}`)
		pool.local.answered(t, `{"id":1,"status":"ok","run":"`+e.session+`-3","run_status":"","parts":[]}`)
		x.command(`{"id":2,"command":"interrupt"}`)
		pool.local.answered(t, `{"id":2,"status":"ok","interrupted":2}`)
		for _, r := range []string{before, e.session + "-3"} {
			if r := mustWait(t, e, r); r.Status != event.StatusInterrupted {
				t.Errorf("report %+v", r)
			}
		}
		x.command(`{"id":3,"command":"interrupt"}`)
		pool.local.answered(t, `{"id":3,"status":"ok","interrupted":0}`)
		pool.ranks[0].interrupt = nil
		x.ok()
		pool.ranks[0].next().ok()
		if r := mustWait(t, e, id); r.Status != event.StatusOK {
			t.Errorf("report %+v", r)
		}
	})
}

// A thread interrupts what another one has begun.
func TestInterruptedTransfer(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	begun := make(chan struct{})
	pool.ranks[0].push = func(ctx context.Context) error { close(begun); <-ctx.Done(); return ctx.Err() }
	x.command(`{"id":1,"command":"push","names":["a"]}`)
	<-begun
	x.command(`{"id":2,"command":"interrupt"}`)
	got := []string{<-pool.local.answers, <-pool.local.answers}
	slices.Sort(got)
	eventtest.SameLines(t, got, `{"id":1,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`, `{"id":2,"status":"ok","interrupted":1}`)
	x.ok()
	mustWait(t, e, id)
}

// A run that is not waited for goes on after its cell, before what comes later.
func TestNestedRunGoesOn(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	later := mustStart(t, e, Request{Code: "later", Target: target(t, "remote")})
	x.command(`{"id":1,"command":"run","code":"nested","wait":false}`)
	pool.local.answered(t, `{"id":1,"status":"ok","run":"`+e.session+`-3","run_status":"","parts":[]}`)
	x.ok()
	mustWait(t, e, id)
	for _, want := range []string{"nested", "later"} {
		y := pool.ranks[0].next()
		if got := y.h.(*part).r.req.Code; got != want {
			t.Errorf("%s ran, want %s", got, want)
		}
		y.ok()
	}
	mustWait(t, e, later)
}

// A thread that asks while no cell runs comes after everything that was started.
func TestThreadsAsk(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	x.ok()
	mustWait(t, e, id)
	running := mustStart(t, e, Request{Target: target(t, "remote")})
	queued := mustStart(t, e, Request{Target: target(t, "remote")})
	pool.local.command(`{"id":1,"command":"push","names":["a"]}`)
	pool.local.command(`{"id":2,"command":"run","code":"thread","wait":true}`)
	for _, r := range []string{running, queued} {
		y := pool.ranks[0].next()
		pool.told(t, "")
		y.ok()
		mustWait(t, e, r)
	}
	pool.local.answered(t, `{"id":1,"status":"ok","ranks":[0],"pool":1}`)
	y := pool.ranks[0].next()
	if r := y.h.(*part).r; r.parent() != id || r.req.Cell != 4 {
		t.Errorf("parent %s, cell %d", r.parent(), r.req.Cell)
	}
	y.ok()
	pool.local.answered(t, `{"id":2,"status":"ok","run":"`+e.session+`-4","run_status":"ok","parts":[{"rank":0,"status":"ok"}]}`)
}

// A thread that asks between the cells of a sequence need not wait for the cells to come: one of them may wait for the thread.
func TestThreadsAskBetweenCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		e, _ := start(t, Options{Pool: pool})
		remote := Request{Target: target(t, "remote")}
		ids := mustStartSequence(t, e, false, Request{}, remote, Request{}, remote, Request{})
		pool.local.next().ok()
		onRanks := pool.ranks[0].next()
		pool.local.command(`{"id":1,"command":"push","names":["a"]}`)
		pool.local.command(`{"id":2,"command":"run","code":"thread","wait":true}`)
		synctest.Wait()
		pool.told(t, "")
		onRanks.ok()
		joins := pool.local.next() // waits for the thread
		pool.local.answered(t, `{"id":1,"status":"ok","ranks":[0],"pool":1}`)
		y := pool.ranks[0].next()
		if got := y.h.(*part).r.req.Code; got != "thread" {
			t.Fatalf("%q ran", got)
		}
		y.ok()
		pool.local.answered(t, `{"id":2,"status":"ok","run":"`+e.session+`-6","run_status":"ok","parts":[{"rank":0,"status":"ok"}]}`)
		joins.ok()
		pool.ranks[0].next().ok()
		pool.local.next().ok()
		for _, id := range ids {
			endsAs(t, e, id, "ok")
		}
	})
}

// A cell that is started right after a local cell finds what that has pushed.
func TestAskingCellsKeepTheirPlace(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	handle := mustStart(t, e, Request{Code: "%dipper größe", Target: target(t, "local")})
	asking := mustStart(t, e, Request{Code: "größe.push('x')", Target: target(t, "local")})
	remote := mustStart(t, e, Request{Target: target(t, "remote")})
	pool.local.next().ok()
	mustWait(t, e, handle)
	x := pool.local.next()
	x.command(`{"id":1,"command":"push","names":["x"]}`)
	pool.local.answered(t, `{"id":1,"status":"ok","ranks":[0],"pool":1}`)
	x.ok()
	mustWait(t, e, asking)
	pool.ranks[0].next().ok()
	mustWait(t, e, remote)
	for code, want := range map[string]bool{"x = 1": false, "größer": false, "%px x": true, "größe": true, "pixels": false} {
		e.mu.Lock()
		if got := e.asks(code); got != want {
			t.Errorf("%q asks: %v", code, got)
		}
		e.mu.Unlock()
	}
}

func TestCloseEndsCommands(t *testing.T) {
	pool := newFakePool(1)
	e := New(Options{Pool: pool})
	_, x := startCell(t, e, pool, "local")
	pool.local.interrupt = func(string) { x.fail("KeyboardInterrupt", "") }
	pool.ranks[0].push = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	x.command(`{"id":1,"command":"push","names":["a"]}`)
	e.Close(t.Context())
	pool.local.answered(t, `{"id":1,"status":"aborted","ename":"KeyboardInterrupt","evalue":"interrupted"}`)
}

// A command that is being served when the executor closes starts nothing any more.
func TestNestedRunAfterClose(t *testing.T) {
	e := New(Options{Pool: newFakePool(1)})
	e.Close(t.Context())
	if r, err := (&command{e: e}).startNested(Request{}, true); r != nil || !errors.Is(err, ErrClosed) {
		t.Errorf("run %v, error %v", r, err)
	}
}

func TestCollectiveOnSomeRanks(t *testing.T) {
	pool := newFakePool(4)
	e, rec := start(t, Options{Pool: pool})
	for _, where := range []string{"ranks:0-1", "remote"} {
		id := mustStart(t, e, Request{Code: "dist.all_reduce(x)\ndist.barrier()", Target: target(t, where)})
		for _, p := range pool.ranks[:2] {
			p.next().ok()
		}
		if where == "remote" {
			pool.ranks[2].next().ok()
			pool.ranks[3].next().ok()
		}
		mustWait(t, e, id)
	}
	rec.await(t, "the end", func(ev event.Event) bool { s, ok := ev.(*event.RunStarted); return ok && s.Target == "remote" })
	var logs []string
	for _, l := range rec.lines() {
		if strings.HasPrefix(l, "log") {
			logs = append(logs, l)
		}
	}
	eventtest.SameLines(t, logs, "log warning: the code calls all_reduce and barrier, which wait for every rank, and runs on ranks 0-1 of 4 only")
}
