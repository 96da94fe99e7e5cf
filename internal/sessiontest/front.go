package sessiontest

import (
	"errors"
	"io"
	"slices"
	"testing"

	"dipls/dipexec/event"
	"dipls/session"
)

// Front is a front with what it has heard.
type Front struct {
	session.Subscription
	t     testing.TB
	heard []event.Event // and not asked for yet
}

// Subscribe makes a front.
func Subscribe(t testing.TB, s session.API, r session.SubscribeRequest) *Front {
	t.Helper()
	sub, err := s.Subscribe(Context(t), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	return &Front{Subscription: sub, t: t}
}

// Await waits for an event that is meant. Those before it are forgotten.
func (f *Front) Await(what string, meant func(event.Event) bool) event.Event {
	f.t.Helper()
	for {
		if i := slices.IndexFunc(f.heard, meant); i >= 0 {
			ev := f.heard[i]
			f.heard = f.heard[i+1:]
			return ev
		}
		f.heard = nil
		if err := f.hear(); err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
	}
}

// Until gives all events up to the end of a run.
func (f *Front) Until(run string) (events []event.Event) {
	f.t.Helper()
	for {
		for i, ev := range f.heard {
			if h := ev.Head(); h.Kind == event.KindRunFinished && h.Run == run {
				events, f.heard = append(events, f.heard[:i+1]...), f.heard[i+1:]
				return events
			}
		}
		events, f.heard = append(events, f.heard...), nil
		if err := f.hear(); err != nil {
			f.t.Fatalf("the end of %s: %v", run, err)
		}
	}
}

// All gives all events up to the end of the session.
func (f *Front) All() []event.Event {
	f.t.Helper()
	for {
		if err := f.hear(); errors.Is(err, io.EOF) {
			return f.heard
		} else if err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *Front) hear() error {
	events, err := f.Next(Context(f.t))
	f.heard = append(f.heard, events...)
	return err
}

// Printed waits until a process of a run has printed a line.
func (f *Front) Printed(run, line string) {
	f.t.Helper()
	f.Await(line, func(ev event.Event) bool {
		out, ok := ev.(*event.Stream)
		return ok && out.Run == run && slices.Contains(lines(out.Text), line)
	})
}

// Question waits for a question in a state.
func (f *Front) Question(state event.QuestionState) *event.Question {
	f.t.Helper()
	return f.Await("a question that is "+string(state), func(ev event.Event) bool {
		q, ok := ev.(*event.Question)
		return ok && q.State == state
	}).(*event.Question)
}
