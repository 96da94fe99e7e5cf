package lsp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"dipls/dipexec/event"
)

// Output that is not entered fast enough is left out, the older first, and nothing else is.
func TestEventQueue(t *testing.T) {
	q := newEventQueue()
	text := strings.Repeat("x", 1<<10)
	q.put(&event.RunStarted{})
	put := 0
	for i := range 10 * queuedOutput >> 10 {
		q.put(&event.Stream{Text: text, Name: string(rune('a' + i%2))})
		put += len(text) + eventOverhead
	}
	q.put(&event.RunFinished{})
	events := q.take()
	if size := len(events) << 10; size > queuedOutput+2<<10 || size < queuedOutput/4 {
		t.Errorf("%d events", len(events))
	}
	_, first := events[0].ev.(*event.RunStarted)
	gap, second := events[1].ev.(*leftOut)
	_, last := events[len(events)-1].ev.(*event.RunFinished)
	if !first || !second || !last || len(q.take()) > 0 {
		t.Fatalf("%T, %T, …, %T", events[0].ev, events[1].ev, events[len(events)-1].ev)
	}
	if kept := (len(events) - 3) * (len(text) + eventOverhead); gap.bytes+kept != put {
		t.Errorf("%d bytes left out, %d kept, of %d", gap.bytes, kept, put)
	}
	want := fmt.Sprintf("%.1f MB of output left out here: it came faster than it was read; the journal of the run is /journal", float64(gap.bytes)/1e6)
	if got := gap.text("/journal"); got != want {
		t.Error(got)
	}
}

// Of pictures that wait to be entered, only the text is kept, and of too many only the newer ones.
func TestEventQueueOfPictures(t *testing.T) {
	q := newEventQueue()
	picture := json.RawMessage(`"` + strings.Repeat("A", 1<<20) + `"`)
	files := map[string]string{"image/png": "/journal/0-1.png"}
	run := func(id string) event.Header { return event.Header{Run: id} }
	for range 1000 {
		q.put(&event.Display{Header: run("a"), Data: map[string]json.RawMessage{"image/png": picture, "text/plain": json.RawMessage(`"a plot"`)}, Files: files})
		q.put(&event.Result{
			Header: run("b"), Data: map[string]json.RawMessage{"image/png": picture}, Metadata: map[string]json.RawMessage{"x": picture}, Files: files,
		})
	}
	events := q.take()
	if len(events) != 2000 {
		t.Fatalf("%d events", len(events))
	}
	for _, e := range events {
		if d, ok := e.ev.(*event.Display); ok &&
			(string(d.Data["text/plain"]) != `"a plot"` || d.Data["image/png"] != nil || d.Files["image/png"] != files["image/png"]) {
			t.Fatalf("%+v", d)
		}
		if r, ok := e.ev.(*event.Result); ok && (len(r.Data) != 1 || r.Data["image/png"] != nil || r.Metadata != nil) {
			t.Fatalf("%+v", r)
		}
	}
	for range queuedOutput / eventOverhead {
		q.put(&event.Display{Header: run("a"), Data: map[string]json.RawMessage{"text/plain": json.RawMessage(`"a plot"`)}})
	}
	events = q.take()
	const each = len(`"a plot"`) + eventOverhead
	if gap, ok := events[0].ev.(*leftOut); !ok || gap.Run != "a" || gap.bytes+(len(events)-1)*each != queuedOutput/eventOverhead*each {
		t.Errorf("%d events, from %+v", len(events), events[0].ev)
	}
}
