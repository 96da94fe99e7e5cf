package main

import (
	"context"
	"io"
	"slices"
	"sync"

	"dipls/dipexec/event"
	"dipls/session"
)

// feed is a guest's view of a session: the events of runs that it has begun, of those that their cells ask for, and of what belongs to no run; and sentences
// that only this guest says to its user. It ends with the last of the runs.
type feed struct {
	session.Subscription

	mu    sync.Mutex    // guards what follows
	wake  func()        // ends a wait for the session's events; nil: nobody waits
	told  []event.Event // by the front
	ended bool          // nothing of the session is wanted any more

	state feedState
	held  []event.Event   // came while it was not known whose they are
	runs  map[string]bool // that are wanted
	open  map[string]bool // of those, what the front has started and has not ended
}

// feedState says which runs a feed has.
type feedState int

const (
	feedNone feedState = iota // none so far
	feedHeld                  // some that are being started
	feedOwn                   // those that are known
)

// newFeed is the feed of a subscription. Of runs, it has those that are begun with [feed.begin].
func newFeed(sub session.Subscription) *feed {
	return &feed{Subscription: sub, runs: map[string]bool{}, open: map[string]bool{}}
}

// Next implements [session.Subscription].
func (f *feed) Next(ctx context.Context) ([]event.Event, error) {
	for {
		waiting, cancel := context.WithCancel(ctx)
		f.mu.Lock()
		out := f.told
		f.told, f.wake = nil, cancel
		if f.state != feedHeld {
			out = append(out, f.wanted(f.held)...)
			f.held = nil
		}
		over := f.ended || f.state == feedOwn && len(f.open) == 0
		f.mu.Unlock()
		switch {
		case len(out) > 0:
			cancel()
			return out, nil
		case over:
			cancel()
			return nil, io.EOF
		}
		events, err := f.Subscription.Next(waiting)
		woken := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && !woken {
			return nil, err
		}
		f.mu.Lock()
		f.held = append(f.held, events...)
		f.mu.Unlock()
	}
}

// wanted are the events that the feed has. The caller holds mu.
func (f *feed) wanted(events []event.Event) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool {
		run := ev.Head().Run
		switch e := ev.(type) {
		case *event.RunStarted:
			if f.runs[e.Parent] {
				f.runs[run] = true
			}
		case *event.RunFinished:
			delete(f.open, run)
		}
		return run != "" && !f.runs[run]
	})
}

// begin starts runs, and has the feed show them.
func (f *feed) begin(start func() ([]string, error)) ([]string, error) {
	f.mu.Lock()
	f.state = feedHeld
	f.mu.Unlock()
	runs, err := start()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = feedOwn
	if err == nil {
		for _, run := range runs {
			f.runs[run], f.open[run] = true, true
		}
	}
	f.awake()
	return runs, err
}

// has reports whether a run's events come.
func (f *feed) has(run string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs[run]
}

// say tells this front's user something.
func (f *feed) say(l event.Level, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, event.NewLog(l, text))
	f.awake()
}

// end ends the feed, once what was said has been read.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.awake()
}

// awake lets Next look again. The caller holds mu.
func (f *feed) awake() {
	if f.wake != nil {
		f.wake()
	}
}
