package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

func queued(run, path, source string) event.Event {
	return &event.RunQueued{Header: event.Header{Kind: event.KindRunQueued, Run: run}, Path: wire.Path(path), Source: source}
}

func started(run string) event.Event {
	return &event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: run}, Journal: wire.Path("/runs/" + run)}
}

func printed(run string, rank int, text string) event.Event {
	return &event.Stream{Header: event.HeaderOf(event.KindStream, run, nil, ranklist.Rank(rank)), Name: event.Stdout, Text: text}
}

func finished(run string) event.Event {
	return &event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: run}, Status: event.StatusOK}
}

// outline is what matters of events.
func outline(events []event.Event) string {
	var list []string
	for _, ev := range events {
		text := fmt.Sprintf("%s:%s", ev.Head().Run, ev.Head().Kind)
		switch ev := ev.(type) {
		case *event.Stream:
			text += "=" + ev.Text[:1]
		case *event.Log:
			text += "(" + ev.Text + ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// rest is all that a cursor has now.
func rest(t *testing.T, c *Cursor) (events []event.Event) {
	t.Helper()
	for end := c.End(); c.Position() < end; {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		got, err := c.Next(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, got...)
	}
	return events
}

// all is all that a log has for a new reader.
func all(t *testing.T, l *Log, kinds ...event.Kind) []event.Event {
	t.Helper()
	c := l.CursorAtStart(kinds...)
	defer c.Close()
	return rest(t, c)
}

func want(t *testing.T, what string, events []event.Event, text string) {
	t.Helper()
	if got := outline(events); got != text {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, got, text)
	}
}

// Who begins at the start gets what is kept, and is told what is missing of whom; who begins now gets what comes.
func TestElision(t *testing.T) {
	l := New(Options{Bytes: 10})
	now := l.Cursor()
	l.Append(started("a"), printed("a", 0, "11111"), printed("a", 1, "22222"), started("b"), printed("b", 0, "33333"))
	l.Append(printed("a", 0, "44444"), finished("a"))
	const left = "10 bytes of output of ranks 0-1 left out here; all of it is in /runs/a"
	want(t, "from the start", all(t, l),
		"a:run_started b:run_started b:stream=3 a:log("+left+") a:stream=4 a:run_finished")
	events := rest(t, now)
	want(t, "one that has not read", events, "a:run_started b:run_started b:stream=3 a:log("+left+") a:stream=4 a:run_finished")
	if began := events[0].(*event.RunStarted).Began; began.IsZero() {
		t.Error("nobody knows when it began")
	}
	l.Append(printed("b", 0, "5"))
	want(t, "what comes after", rest(t, now), "b:stream=5")
	kinds := l.CursorAtStart(event.KindRunFinished)
	want(t, "one kind", rest(t, kinds), "a:run_finished")
	l.Close()
	if _, err := now.Next(context.Background()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// Of runs that have ended only the latest are kept, besides the last one of each cell, and never before every reader has had them.
func TestForgetting(t *testing.T) {
	l := New(Options{Runs: 2, Cells: 2})
	slow := l.Cursor()
	run := func(id, source string) {
		l.Append(queued(id, "/a.py", source), started(id), finished(id))
	}
	run("a1", "a")
	run("b1", "b")
	for i := range 4 {
		run(fmt.Sprint("x", i), "")
	}
	run("a2", "a")
	if n := len(all(t, l)); n != 21 {
		t.Errorf("%d events are kept for a reader", n)
	}
	if n := len(rest(t, slow)); n != 21 {
		t.Errorf("it read %d events", n)
	}
	slow.Close()
	l.Append(&event.PoolState{Header: event.Header{Kind: event.KindPoolState}, State: event.StateReady})
	want(t, "what is left", all(t, l, event.KindRunFinished, event.KindPoolState),
		"b1:run_finished x2:run_finished x3:run_finished a2:run_finished :pool_state")
	run("c1", "c") // of three cells the one that ran longest ago is not known any more
	run("x4", "")
	run("x5", "")
	want(t, "later", all(t, l, event.KindRunFinished), "a2:run_finished c1:run_finished x4:run_finished x5:run_finished")
	for range 3 * keptLoose {
		l.Append(event.NewLog(event.LevelInfo, "again"))
	}
	if n := count(all(t, l, event.KindPoolState)); n != 1 {
		t.Errorf("%d states of the pool", n)
	}
	if n := count(all(t, l, event.KindLog)); n != keptLoose {
		t.Errorf("%d sentences", n)
	}
}

// Late output of runs that were forgotten is forgotten in its turn.
func TestForgettingLatecomers(t *testing.T) {
	l := New(Options{Runs: 2})
	for i := range 100 {
		l.Append(started(fmt.Sprint(i)), finished(fmt.Sprint(i)))
	}
	for i := range 90 {
		l.Append(printed(fmt.Sprint(i), 0, "late"))
	}
	want(t, "what is kept", all(t, l), "88:stream=l 89:stream=l")
	if len(l.runs) != 2 {
		t.Errorf("%d runs are known", len(l.runs))
	}
	l.Append(started("long"), printed("long", 0, "1"), printed("88", 0, "more"), finished("100"), finished("101"), printed("long", 0, "2"))
	want(t, "one that goes on", all(t, l, event.KindRunStarted), "long:run_started")
}

func count(events []event.Event) int { return len(events) }

// A mirror has the positions of the log that it mirrors, and a reader may begin after any of them.
func TestMirror(t *testing.T) {
	l := New(Options{})
	l.Mirror([]event.Event{started("a"), printed("a", 0, "1"), printed("a", 0, "2")}, []uint64{10, 20, 20}, 25)
	c := l.Cursor()
	c.Seek(30)
	if c.Position() != 30 || c.End() != 30 {
		t.Errorf("at %d of %d", c.Position(), c.End())
	}
	late := l.CursorAtStart()
	late.Seek(10)
	l.Mirror([]event.Event{printed("a", 0, "3"), printed("a", 0, "4")}, []uint64{30, 31}, 31)
	want(t, "after 30", rest(t, c), "a:stream=4")
	want(t, "after 10", rest(t, late), "a:stream=1 a:stream=2 a:stream=3 a:stream=4")
	late.Tell(event.NewLog(event.LevelInfo, "you"))
	want(t, "told", rest(t, late), ":log(you)")
}

// A reader that falls behind misses one stretch of output, and not a little of each: it is told once, and then has room.
func TestLagging(t *testing.T) {
	l := New(Options{Bytes: 100})
	c := l.Cursor()
	l.Append(started("a"))
	for range 15 {
		l.Append(printed("a", 0, strings.Repeat("x", 20)))
	}
	want(t, "one that lags", rest(t, c),
		"a:run_started a:log(240 bytes of output of rank 0 left out here; all of it is in /runs/a) a:stream=x a:stream=x a:stream=x")
	l.Append(printed("a", 0, "y"), finished("a"))
	want(t, "then", rest(t, c), "a:stream=y a:run_finished")
}

// What happened before a reader came is never returned together with what came later, though it is read late.
func TestPast(t *testing.T) {
	l := New(Options{})
	l.Append(started("a"), printed("a", 0, "1"), event.NewLog(event.LevelInfo, "gone"))
	c := l.CursorAtStart()
	c.Begin(l.End())
	l.Forget(func(ev event.Event) bool { return ev.Head().Kind == event.KindLog })
	l.Append(finished("a"), started("b"))
	for _, step := range []struct {
		want string
		past bool
	}{{"a:run_started a:stream=1", true}, {"a:run_finished b:run_started", false}} {
		events, err := c.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		want(t, "one after the other", events, step.want)
		if past := c.Position() <= c.Past(); past != step.past {
			t.Errorf("%s at %d, and the past ends at %d", step.want, c.Position(), c.Past())
		}
	}
}
