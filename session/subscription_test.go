package session

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/ranks/fakerank"
)

// all reads a subscription to its end.
func (f *front) all() []event.Event {
	f.t.Helper()
	for {
		evs, err := f.sub.Next(testContext(f.t))
		if errors.Is(err, io.EOF) {
			return f.heard
		}
		if err != nil {
			f.t.Fatal(err)
		}
		f.heard = append(f.heard, evs...)
	}
}

// A warning is told once: by an event, or by the log if nobody reads events.
func TestWarnings(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Log = zap.New(core) })
	reader := newFront(t, s, SubscribeRequest{Kinds: []event.Kind{}})
	s.warn("read")
	reader.await("a warning", func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && l.Level == event.LevelWarning && l.Text == "read"
	})
	if n := logged.Len(); n != 0 {
		t.Errorf("%d warnings were logged, too", n)
	}
	reader.sub.Close()
	newFront(t, s, SubscribeRequest{Kinds: []event.Kind{event.KindQuestion}})
	s.warn("logged")
	if all := logged.All(); len(all) != 1 || all[0].Message != "logged" {
		t.Errorf("%+v", all)
	}
}

// A subscription gets events of the kinds that it names, from now on or from a run on.
func TestSubscribe(t *testing.T) {
	j := journal.Open(journal.Options{Dir: filepath.Join(t.TempDir(), "runs")})
	t.Cleanup(j.Close)
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Journal = j })
	by := wants(Choice{Ranks: 2})
	first := began(t, s, by, on(cells.Remote, "print one"), on(cells.Local, "print two"))
	ran(t, s, first...)
	from := newFront(t, s, SubscribeRequest{From: first[1]})
	ends := newFront(t, s, SubscribeRequest{From: first[0], Kinds: []event.Kind{event.KindRunFinished}})
	later := newFront(t, s, SubscribeRequest{Kinds: []event.Kind{event.KindStream}})
	second := began(t, s, by, on(cells.Local, "print three"))
	ran(t, s, second...)
	_, err := s.Subscribe(testContext(t), SubscribeRequest{From: "none"})
	wantCode(t, err, CodeNoRun)
	if err := s.Close(testContext(t), CloseRequest{}); err != nil {
		t.Fatal(err)
	}
	var texts, runs []string
	for _, ev := range from.all() {
		if ev, ok := ev.(*event.Stream); ok {
			texts = append(texts, ev.Text)
		}
	}
	if !slices.Equal(texts, []string{"two\n", "three\n"}) {
		t.Errorf("from the second run on: %q", texts)
	}
	if at, end := from.sub.Position(), from.sub.End(); at != end || at < 2 {
		t.Errorf("at %d of %d", at, end)
	}
	for _, ev := range ends.all() {
		runs = append(runs, ev.Head().Run)
	}
	if !slices.Equal(runs, append(first, second...)) {
		t.Errorf("ended: %q", runs)
	}
	if evs := later.all(); len(evs) != 1 {
		t.Errorf("from now on: %d events", len(evs))
	}
}
