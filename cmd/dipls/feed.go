package main

import (
	"context"
	"io"
	"slices"
	"sync"

	"dipls/dipexec/event"
	"dipls/session"
)

// feed is a front's view of a session that it shares with others: besides the session's events, sentences that only this front says to its user. It may
// be narrowed to some runs, to the runs that their cells ask for, and to what belongs to no run; then it ends with the last of those runs.
type feed struct {
	session.Subscription

	mu    sync.Mutex    // guards what follows
	wake  func()        // ends a wait for the session's events; nil: nobody waits
	told  []event.Event // by the front
	ended bool          // nothing of the session is wanted any more

	narrow feedState
	held   []event.Event   // came while it was not known whose they are
	runs   map[string]bool // that are wanted
	open   map[string]bool // of those, what the front has started and has not ended
}

// feedState says which runs a feed has.
type feedState int

const (
	feedAll  feedState = iota // all
	feedNone                  // none so far
	feedHeld                  // some that are being started
	feedOwn                   // those that are known
)

// newFeed is the feed of a subscription; own narrows it to runs that are begun with [feed.begin].
func newFeed(sub session.Subscription, own bool) *feed {
	f := &feed{Subscription: sub, runs: map[string]bool{}, open: map[string]bool{}}
	if own {
		f.narrow = feedNone
	}
	return f
}

// Next implements [session.Subscription].
func (f *feed) Next(ctx context.Context) ([]event.Event, error) {
	for {
		waiting, cancel := context.WithCancel(ctx)
		f.mu.Lock()
		out := f.told
		f.told, f.wake = nil, cancel
		if f.narrow != feedHeld {
			out = append(out, f.wanted(f.held)...)
			f.held = nil
		}
		over := f.ended || f.narrow == feedOwn && len(f.open) == 0
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
	if f.narrow == feedAll {
		return events
	}
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
	f.narrow = feedHeld
	f.mu.Unlock()
	runs, err := start()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.narrow = feedOwn
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
	return f.narrow == feedAll || f.runs[run]
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
