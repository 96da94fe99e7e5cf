package main

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/session"
)

// feed is a guest's view of a session: the events of runs that it has begun, of those that their cells ask for, and of what belongs to no run; and sentences
// that only this guest says to its user. It ends with the last of the runs.
//
// A guest that reads too slowly misses output. Where fills is set, that is read from the journal, so the reader gets everything, and only if the journal does
// not have it the reader is told.
type feed struct {
	session.Subscription
	fills bool

	mu    sync.Mutex    // guards what follows
	wake  func()        // ends a wait for the session's events; nil: nobody waits
	told  []event.Event // by the front
	ended bool          // nothing of the session is wanted any more

	state feedState
	held  []event.Event   // came while it was not known whose they are, or while the rest of a run was read
	runs  map[string]bool // that are wanted
	open  map[string]*openRun
}

// openRun is a run that the front has started, and that has not ended.
type openRun struct {
	journal string
	shown   counts   // what the feed has given of it
	filling *filling // takes its events from the journal; nil: they come as they are
	broken  bool     // what is missing cannot be filled
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
	return &feed{Subscription: sub, runs: map[string]bool{}, open: map[string]*openRun{}}
}

// Next implements [session.Subscription].
func (f *feed) Next(ctx context.Context) ([]event.Event, error) {
	for {
		waiting, cancel := context.WithCancel(ctx)
		f.mu.Lock()
		out := f.told
		f.told, f.wake = nil, cancel
		if f.state != feedHeld {
			out = append(out, f.advance()...)
		}
		over := f.ended || f.state == feedOwn && len(f.open) == 0
		ending, fills := f.ending(), len(f.filled()) > 0
		f.mu.Unlock()
		switch {
		case len(out) > 0:
			cancel()
			return out, nil
		case over:
			cancel()
			return nil, io.EOF
		case ending:
			cancel()
			continue
		}
		look := time.AfterFunc(fillEvery, cancel) // nobody says when more is in the journal
		if !fills {
			look.Stop()
		}
		events, err := f.Subscription.Next(waiting)
		look.Stop()
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

// fillEvery is how often is looked for more in a journal.
const fillEvery = 200 * time.Millisecond

// filled are the runs whose events come from their journals. The caller holds mu.
func (f *feed) filled() (of []*openRun) {
	for _, r := range f.open {
		if r.filling != nil {
			of = append(of, r)
		}
	}
	return of
}

// ending reports whether the rest of a run that has ended is being read; other events wait for that. The caller holds mu.
func (f *feed) ending() bool {
	return slices.ContainsFunc(f.filled(), func(r *openRun) bool { return r.filling.end != nil })
}

// advance are the next events of the feed. The caller holds mu.
func (f *feed) advance() (out []event.Event) {
	for len(f.held) > 0 && !f.ending() {
		ev := f.held[0]
		f.held = f.held[1:]
		if started, ok := ev.(*event.RunStarted); ok && f.runs[started.Parent] {
			f.runs[ev.Head().Run] = true
		}
		run := ev.Head().Run
		if run == "" || f.runs[run] && f.comes(run, ev) {
			out = append(out, ev)
		}
	}
	for run, r := range f.open {
		if r.filling == nil {
			continue
		}
		events, over := r.filling.read()
		out = append(out, events...)
		if !over {
			continue
		}
		if r.filling.failed {
			out = append(out, r.filling.problem())
			r.broken = true
		}
		if end := r.filling.end; end != nil {
			out = append(out, end)
			delete(f.open, run)
		}
		r.filling.r.Close()
		r.filling = nil
	}
	return out
}

// comes reports whether an event of a run is given as it is, and not read from the journal. The caller holds mu.
func (f *feed) comes(run string, ev event.Event) bool {
	r := f.open[run]
	if r == nil {
		return true
	}
	log, _ := ev.(*event.Log)
	missing := log != nil && log.Missing
	switch end, ended := ev.(*event.RunFinished); {
	case ended && r.filling != nil:
		r.filling.end = end
		return false
	case ended:
		delete(f.open, run)
		return true
	case missing && r.filling == nil && f.fills && !r.broken:
		r.filling = newFilling(r.journal, log, r.shown)
		r.broken = r.filling == nil
		return r.broken
	case r.filling != nil:
		_, _, inJournal := seriesOf(ev)
		return !inJournal && !missing
	}
	if started, ok := ev.(*event.RunStarted); ok {
		r.journal = string(started.Journal)
	}
	r.shown.add(ev)
	return true
}

// Close implements [session.Subscription]. It is called when nobody calls Next.
func (f *feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.filled() {
		r.filling.r.Close()
		r.filling = nil
	}
	f.Subscription.Close()
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
			f.runs[run], f.open[run] = true, &openRun{shown: counts{}}
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
