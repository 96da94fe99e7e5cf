package remote_test

import (
	"slices"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/sessiontest"
	"dipls/session"
	"dipls/session/remote"
)

// by is a caller whose pool has two ranks.
func by() session.Caller {
	return session.Caller{Settings: session.Settings{Trust: session.TrustYes, Pool: session.Choice{Ranks: 2}}}
}

// cell is a cell of fakerank's commands.
func cell(where cells.Where, code string) session.Cell {
	return session.Cell{Code: code, Line: 1, Target: cells.Target{Where: where}}
}

// start starts cells.
func (p *place) start(s session.API, list ...session.Cell) []string {
	p.t.Helper()
	runs, err := s.Start(sessiontest.Context(p.t), by(), session.Sequence{Cells: list})
	if err != nil {
		p.t.Fatal(err)
	}
	return runs
}

// ends waits for the ends of runs.
func (p *place) ends(s session.API, runs ...string) {
	p.t.Helper()
	for _, run := range runs {
		report, err := s.Wait(sessiontest.Context(p.t), run)
		if err != nil || report.Status != event.StatusOK {
			p.t.Fatalf("%+v, %v", report, err)
		}
	}
}

// What one client starts, the other one sees, from run_queued on.
func TestTwoClients(t *testing.T) {
	p := serveFake(t)
	one, other := p.attach(remote.Hello{Program: "one"}), p.attach(remote.Hello{Program: "other"})
	front := sessiontest.Subscribe(t, other, session.SubscribeRequest{})
	c := cell(cells.Local, "print a")
	c.Source, c.Path, c.Title = "# %% a\nprint a", "/a.py", "a"
	run := p.start(one, c)
	p.ends(one, run...)
	events := slices.DeleteFunc(front.Until(run[0]), func(ev event.Event) bool { return ev.Head().Run == "" })
	queued, ok := events[0].(*event.RunQueued)
	if !ok || queued.By != "one" || queued.Source != c.Source || queued.Path != "/a.py" || queued.Title != "a" || queued.Target != "local" {
		t.Errorf("%+v", events[0])
	}
	started, ok := events[1].(*event.RunStarted)
	if !ok || started.Began.IsZero() || started.Began.Before(queued.Queued) {
		t.Errorf("%+v", events[1])
	}
}

// Where GPU memory will be given back is told from the beginning.
func TestFreeMemoryIsQueuedWhereItRuns(t *testing.T) {
	p := serveFake(t)
	c := p.attach(remote.Hello{Program: "test"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{})
	p.ends(c, p.start(c, cell(cells.Remote, "print a"))...)
	run, err := c.FreeMemory(sessiontest.Context(t), by())
	if err != nil {
		t.Fatal(err)
	}
	queued := front.Await("queued", func(ev event.Event) bool { return ev.Head().Run == run }).(*event.RunQueued)
	started := front.Await("started", func(ev event.Event) bool { return ev.Head().Run == run }).(*event.RunStarted)
	if queued.Target != started.Target || queued.Target == "local" {
		t.Errorf("queued as %s, runs on %s", queued.Target, started.Target)
	}
}

// A client that does not want history waits for none of it.
func TestClientWithoutHistory(t *testing.T) {
	p := serveFake(t)
	one := p.attach(remote.Hello{Program: "one"})
	p.ends(one, p.start(one, cell(cells.Local, "print a"))...)
	late := p.attach(remote.Hello{Program: "late"})
	front := sessiontest.Subscribe(t, late, session.SubscribeRequest{})
	runs := p.start(late, cell(cells.Local, "print b"))
	front.Printed(runs[0], "b")
}
