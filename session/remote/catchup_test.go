package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/sessiontest"
	"dipls/session"
	"dipls/session/remote"
)

// told is what a client has heard of runs.
type told struct {
	printed map[string]string // by run and process
	kinds   map[string]string // by run: its events but output, in a word each
}

func hearing(events []event.Event) told {
	h := told{map[string]string{}, map[string]string{}}
	for _, ev := range events {
		run := ev.Head().Run
		who, _ := ev.Head().Who()
		switch ev := ev.(type) {
		case *event.Stream:
			h.printed[run+" "+who.String()] += ev.Text
		case *event.RankState:
			h.kinds[run+" "+who.String()] += " " + ev.State
		case *event.RunQueued, *event.RunStarted, *event.RunFinished, *event.Log:
			if run != "" {
				h.kinds[run] += " " + string(ev.Head().Kind)
			}
		}
	}
	return h
}

// Whoever attaches while ranks print gets all of it once: what was before, and what comes. So does who begins at a run.
func TestCatchUp(t *testing.T) {
	p := serveFake(t)
	const runsInAll, lines = 40, 25
	var code strings.Builder
	for i := range lines {
		fmt.Fprintf(&code, "print line %d\n", i)
	}
	want := strings.ReplaceAll(code.String(), "print ", "")
	c := p.attach(remote.Hello{Program: "one"})
	var list []session.Cell
	for i := range runsInAll {
		text := code.String()
		if i == 0 || i == runsInAll-1 {
			text += fmt.Sprintf("gate %d", i)
		}
		list = append(list, cell(cells.Everywhere, text))
	}
	runs := p.start(c, list...)
	last := runs[len(runs)-1]
	var readers sync.WaitGroup
	read := func(begin int, front *sessiontest.Front) {
		readers.Go(func() {
			h := hearing(front.Until(last))
			for i, run := range runs {
				for _, who := range []string{"local", "rank 0", "rank 1"} {
					got, state := h.printed[run+" "+who], h.kinds[run+" "+who]
					if i >= begin && (got != want || state != " busy ready") || i < begin && got+state != "" {
						t.Errorf("from %d on, run %d on %s:%s\n%s", begin, i, who, state, got)
					}
				}
				if kinds := h.kinds[run]; i >= begin && kinds != " run_queued run_started run_finished" {
					t.Errorf("from %d on, run %d:%s", begin, i, kinds)
				}
			}
		})
	}
	attach := func(i int) {
		client := p.attach(remote.Hello{Program: "history", History: true})
		read(0, sessiontest.Subscribe(t, client, session.SubscribeRequest{History: true}))
		read(i, sessiontest.Subscribe(t, c, session.SubscribeRequest{From: runs[i]}))
	}
	attach(0)
	p.machine.Open("0")
	for i := 1; i < runsInAll-1; i += 6 {
		if _, err := c.Wait(sessiontest.Context(t), runs[i-1]); err != nil {
			t.Fatal(err)
		}
		attach(i)
	}
	p.machine.Open(fmt.Sprint(runsInAll - 1))
	readers.Wait()
}

// A client that reads nothing slows nobody, and is dropped after a while. Others that read see all that happens.
func TestClientThatDoesNotRead(t *testing.T) {
	remote.SetPatience(t, time.Second)
	core, logged := observer.New(zap.WarnLevel)
	states := make(chan remote.State, 1000)
	p := serveFake(t, func(o *remote.ServerOptions) {
		o.Log, o.Changed = zap.New(core), func(s remote.State) { states <- s }
	})
	deaf := p.dialRaw()
	deaf.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"major":1,"program":"deaf"}}`)
	deaf.answer(1)
	c := p.attach(remote.Hello{Program: "test"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{Kinds: []event.Kind{event.KindRunFinished}})
	line := "print " + strings.Repeat("x", 100_000) + "\n"
	var list []session.Cell
	for range 20 {
		list = append(list, cell(cells.Remote, strings.Repeat(line, 3)))
	}
	runs := p.start(c, list...)
	p.ends(c, runs...)
	if n := len(front.Until(runs[len(runs)-1])); n != len(runs) {
		t.Errorf("%d runs have ended", n)
	}
	for s := range states {
		if len(s.Clients) == 1 && s.Clients[0].Program == "test" && logged.FilterMessage("detached: the connection has ended").Len() == 1 {
			break
		}
	}
	found := logged.FilterMessage("detached: the connection has ended").All()
	if len(found) != 1 || !strings.Contains(fmt.Sprint(found[0].ContextMap()), "it has read nothing for 1s") {
		t.Errorf("%+v", found)
	}
}

// Clients are told at once who comes and goes, also where one of them reads nothing.
func TestWhoComesAndGoes(t *testing.T) {
	p := serveFake(t)
	deaf := p.dialRaw()
	deaf.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"major":1,"program":"deaf"}}`)
	deaf.answer(1)
	c := p.attach(remote.Hello{Program: "test"})
	line := "print " + strings.Repeat("x", 100_000) + "\n"
	p.ends(c, p.start(c, cell(cells.Local, strings.Repeat(line, 30)))...) // more than a socket holds
	var seen uint64
	until := func(programs ...string) {
		t.Helper()
		for {
			about, err := c.About(sessiontest.Context(t), false)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, one := range about.Clients {
				found = append(found, one.Program)
			}
			if slices.Equal(found, programs) {
				return
			}
			if seen, err = c.AwaitChange(sessiontest.Context(t), seen); err != nil {
				t.Fatalf("%v are attached: %v", found, err)
			}
		}
	}
	for range 3 {
		until("deaf", "test")
		p.attach(remote.Hello{Program: "looks", Looks: true})
		other := p.attach(remote.Hello{Program: "other"})
		until("deaf", "test", "other")
		if err := other.Detach(sessiontest.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	until("deaf", "test")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.AwaitChange(ended, seen+1000); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := c.Detach(sessiontest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AwaitChange(sessiontest.Context(t), seen+1000); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// A client that has fallen behind is told how much it has missed of whom, and where that is.
func TestMissedOutput(t *testing.T) {
	p := serveFake(t, func(o *remote.ServerOptions) { o.History.Bytes = 1000 })
	c := p.attach(remote.Hello{Program: "one"})
	line := "print " + strings.Repeat("x", 99) + "\n"
	run := p.start(c, cell(cells.Remote, strings.Repeat(line, 50)))
	p.ends(c, run...)
	late := p.attach(remote.Hello{Program: "late", History: true})
	events := sessiontest.Subscribe(t, late, session.SubscribeRequest{History: true}).Until(run[0])
	if n := count(events, func(ev *event.Log) bool {
		return ev.Run == run[0] && strings.Contains(ev.Text, "of output of ranks 0-1 left out here; all of it is in "+ev.Path) && ev.Path != ""
	}); n != 1 {
		t.Errorf("%d sentences", n)
	}
	kept := 0
	count(events, func(ev *event.Stream) bool { kept += len(ev.Text); return true })
	if kept > 1000 {
		t.Errorf("%d bytes are kept", kept)
	}
	if n := count(events, func(*event.RankState) bool { return true }); n != 4 {
		t.Errorf("%d states of ranks", n)
	}
}

// What is too long for one message comes in several, and an event that is too long itself is told of; what follows comes.
func TestLongEvents(t *testing.T) {
	remote.SetMaxMessage(t, 4<<10)
	p := serveFake(t)
	c := p.attach(remote.Hello{Program: "test"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{})
	run := p.start(p.session, cell(cells.Local, strings.Repeat("print "+strings.Repeat("a", 999)+"\n", 9)+"print "+strings.Repeat("b", 9999)+"\nprint end"))
	events := front.Until(run[0])
	var printed strings.Builder
	count(events, func(ev *event.Stream) bool { printed.WriteString(ev.Text); return true })
	if n := count(events, func(ev *event.Log) bool {
		return ev.Run == run[0] && strings.Contains(ev.Text, "is too long to be shown here")
	}); n != 1 {
		t.Errorf("%d sentences", n)
	}
	if want := strings.Repeat(strings.Repeat("a", 999)+"\n", 9) + "end\n"; printed.String() != want {
		t.Errorf("%q", printed.String())
	}
}
