// Package eventtest helps tests that look at events.
package eventtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
)

// Describe writes events, one a line.
func Describe(events []event.Event) []string {
	var lines []string
	for _, e := range events {
		h := e.Head()
		s := string(h.Kind)
		if who, ok := h.Who(); ok {
			s += " " + who.String()
		}
		switch e := e.(type) {
		case *event.RunStarted:
			s += " " + e.Target + " see " + e.See
		case *event.Stream:
			s += fmt.Sprintf(" %s %q", e.Name, e.Text)
		case *event.Display:
			s += " " + richText(e.Data)
		case *event.Result:
			s += fmt.Sprintf(" %d %s", e.ExecutionCount, richText(e.Data))
		case *event.Failure:
			s += fmt.Sprintf(" %s: %s line %d", e.EName, e.EValue, e.Line)
		case *event.RankState:
			s += " " + e.State
			if e.Status != "" {
				s += " " + string(e.Status)
			}
			if e.Reason != "" {
				s += ": " + e.Reason
			}
		case *event.PoolState:
			s += " " + e.State
		case *event.RunFinished:
			s += " " + string(e.Status)
			if e.Reason != "" {
				s += ": " + e.Reason
			}
		case *event.Hang:
			s += fmt.Sprintf(" %d %s %s: %s", e.Hang, e.Level, e.Variant, e.Text)
			if e.Gone {
				s = fmt.Sprintf("hang %d is gone", e.Hang)
			}
		case *event.Input:
			s += fmt.Sprintf(" %d %s %q %v %q", e.Input, e.State, e.Prompt, e.Ranks, e.Text)
		case *event.Log:
			s += " " + string(e.Level) + ": " + e.Text
		}
		lines = append(lines, s)
	}
	return lines
}

// SameLines fails the test unless it got the lines that it wants.
func SameLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Drain reads what a subscription has.
func Drain(t *testing.T, sub *event.Subscription) []event.Event {
	t.Helper()
	var events []event.Event
	for {
		evs, err := sub.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, evs...)
	}
}

func richText(data map[string]json.RawMessage) string {
	var text string
	if json.Unmarshal(data["text/plain"], &text) == nil {
		return text
	}
	return "<" + strings.Join(slices.Sorted(maps.Keys(data)), ", ") + ">"
}

// Plain is the data of rich output that is a text.
func Plain(text string) map[string]json.RawMessage {
	b, _ := json.Marshal(text)
	return map[string]json.RawMessage{"text/plain": b}
}

// Reader gives the events of a run one by one, as the journal's does.
type Reader interface {
	Next() (event.Event, time.Duration, error)
}

// All reads events to their end.
func All(t testing.TB, r Reader) (events []event.Event) {
	t.Helper()
	for {
		e, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}
