package view

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// example is one of testdata/runs.json, which the extension reads, too.
type example struct {
	Name   string
	Events []json.RawMessage
	Run    struct {
		State          string
		Status         event.Status
		Seconds        float64
		Parts          [][3]any // process, state, status
		Hangs          []int
		Failures       int
		Quiet, Autodip bool
		Parent         string
		Journal        string
	}
	Gone  string
	Texts map[string]string
}

func examples(t *testing.T) []example {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/runs.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Runs []example }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Runs) == 0 {
		t.Fatal("there are no examples")
	}
	return file.Runs
}

// texts are what people read of a run, by their names in testdata/runs.json.
var texts = map[string]func(*Run) string{
	"title": (*Run).Heading, "outcome": (*Run).Outcome, "hint": (*Run).Hint, "summary": (*Run).Summary, "busy": (*Run).Busy, "took": (*Run).Took,
}

func TestRunExamples(t *testing.T) {
	for _, x := range examples(t) {
		t.Run(x.Name, func(t *testing.T) {
			r, began := Run{ID: "r"}, time.Now()
			for _, line := range x.Events {
				ev, err := event.ParseJSON(line)
				if err != nil {
					t.Fatal(err)
				}
				if ev.Head().Run == r.ID {
					r.Apply(ev, began)
				} else if how, of := LossOf(ev); how != 0 {
					r.Lose(how, of)
				}
			}
			want := x.Run
			var parts [][3]any
			for _, p := range r.Parts {
				who := any("local")
				if n, ok := p.Who.Rank(); ok {
					who = float64(n)
				}
				parts = append(parts, [3]any{who, p.State, string(p.Status)})
			}
			var hangs []int
			for _, h := range r.Hangs {
				hangs = append(hangs, h.Hang)
			}
			if r.State.String() != want.State || r.Status != want.Status || r.Seconds != want.Seconds || !slices.Equal(parts, want.Parts) ||
				!slices.Equal(hangs, want.Hangs) || len(r.Failures) != want.Failures {
				t.Errorf("%+v, want %+v", r, want)
			}
			if r.Quiet != want.Quiet || r.Autodip != want.Autodip || r.Parent != want.Parent || r.Journal != want.Journal {
				t.Errorf("%+v, want %+v", r, want)
			}
			if r.State == Running && !r.Started.Equal(began) {
				t.Errorf("it started at %v, want %v", r.Started, began)
			}
			if r.Gone() != x.Gone {
				t.Errorf("%q is gone, want %q", r.Gone(), x.Gone)
			}
			for name, want := range x.Texts {
				if got := texts[name](&r); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// What a cell has asked ranks for is gone with them, though the cell itself ran elsewhere; what it asks for later is there.
func TestGoneAsked(t *testing.T) {
	r := Run{ID: "r", State: Ended, Parts: []Part{{Who: ranklist.Local}}}
	r.Ask(ranklist.Rank(0))
	how, of := LossOf(&event.PoolState{State: event.StateStarting})
	if !r.Lose(how, of) || r.Gone() != "not run since the restart of the pool" {
		t.Errorf("gone: %q", r.Gone())
	}
	if r.Ask(ranklist.Rank(0)); r.Gone() != "" {
		t.Errorf("gone: %q", r.Gone())
	}
}

// Runs knows those in progress, and answers one that ends a last time.
func TestRuns(t *testing.T) {
	var rs Runs
	now := time.Now()
	apply := func(ev event.Event) string {
		if r := rs.Apply(ev, now); r != nil {
			return r.ID + " " + r.State.String()
		}
		return ""
	}
	head := func(k event.Kind, run string) event.Header { return event.Header{Kind: k, Run: run} }
	for i, step := range []struct {
		ev   event.Event
		want string
	}{
		{&event.Stream{Header: head(event.KindStream, "a")}, ""},
		{&event.RunFinished{Header: head(event.KindRunFinished, "queued")}, ""},
		{&event.RunStarted{Header: head(event.KindRunStarted, "a")}, "a running"},
		{&event.RunStarted{Header: head(event.KindRunStarted, "b")}, "b running"},
		{&event.RunFinished{Header: head(event.KindRunFinished, "b")}, "b ended"},
		{&event.Stream{Header: head(event.KindStream, "b")}, ""},
	} {
		if got := apply(step.ev); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	if rs.Last() == nil || rs.Last().ID != "a" || rs.Run("b") != nil {
		t.Errorf("in progress: %+v", rs)
	}
}
