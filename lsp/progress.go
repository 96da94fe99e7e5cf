package lsp

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
)

const (
	// progressAfter is how long something must go on before it is shown. What is shorter would only flicker.
	progressAfter = 500 * time.Millisecond
	// progressEvery is how often the message is brought up to date.
	progressEvery = 250 * time.Millisecond
	// maxBar is how many columns of a progress bar are shown.
	maxBar = 100
)

// progress shows what goes on: a run, with its ranks, its time and the progress bar that they print, and the start of a pool. Cancelling it interrupts
// the run, or gives up the start.
type progress struct {
	s *server

	mu    sync.Mutex // guards what follows
	runs  map[string]*activity
	pools map[*workspace]*activity
}

func newProgress(s *server) feature {
	p := &progress{s: s, runs: map[string]*activity{}, pools: map[*workspace]*activity{}}
	return feature{
		event: p.event,
	}
}

// activity is something that goes on. The progress's lock guards the run, and the fields from outcome on.
type activity struct {
	in     *workspace
	run    *view.Run // with the parts of the runs that its cell has asked for; nil for a pool
	title  string
	begun  time.Time
	cancel func()
	done   chan struct{} // closed when it has ended

	waits   string // for what the start of a pool waits
	outcome string
}

// event enters an event.
func (p *progress) event(w *workspace, ev event.Event) {
	if !p.s.client.ShowsWork() || p.s.wants.Folded {
		return // a client that takes both events and live lines has its own way to show what goes on
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ev, ok := ev.(*event.PoolState); ok {
		p.poolState(w, ev)
		return
	}
	if ev, ok := ev.(*event.RunStarted); ok {
		p.runStarted(w, ev)
		return
	}
	id := ev.Head().Run
	a := p.runs[id]
	if a == nil {
		return
	}
	switch ev := ev.(type) {
	case *event.RankState:
		a.run.Apply(ev, time.Now())
	case *event.RunFinished:
		delete(p.runs, id)
		if a.run.ID == id {
			a.finish(ending(ev))
		}
	}
}

// runStarted begins the activity of a run. A run that another run has asked for is part of that one's activity.
func (p *progress) runStarted(w *workspace, ev *event.RunStarted) {
	if parent := p.runs[ev.Parent]; parent != nil {
		p.runs[ev.Run] = parent
		return
	}
	run := &view.Run{ID: ev.Run}
	run.Apply(ev, time.Now())
	a := p.begin(&activity{in: w, run: run, title: run.Heading(), cancel: func() { p.s.interruptID(w, ev.Run) }})
	p.runs[ev.Run] = a
}

func (p *progress) poolState(w *workspace, ev *event.PoolState) {
	a := p.pools[w]
	switch {
	case ev.State == "starting" && a != nil:
		a.waits = ev.Text
		if ev.Size > 0 {
			a.waits = "the hosts are there; " + manyRanks(ev.Size) + " to start"
		}
	case ev.State == "starting":
		title := "Starting hosts"
		if ev.Size > 0 {
			title = "Starting " + manyRanks(ev.Size)
		}
		p.pools[w] = p.begin(&activity{in: w, title: title, waits: ev.Text, cancel: func() { _ = w.CancelStart(p.s.ctx) }})
	case ev.State != "starting" && a != nil:
		delete(p.pools, w)
		a.finish(cmp.Or(ev.Reason, ev.State))
	}
}

func manyRanks(n int) string {
	if n == 1 {
		return "1 rank"
	}
	return fmt.Sprintf("%d ranks", n)
}

// begin shows an activity until it ends.
func (p *progress) begin(a *activity) *activity {
	a.begun, a.done = time.Now(), make(chan struct{})
	if a.run != nil {
		a.begun = a.run.Started
	}
	p.s.goOn("progress", func() { p.show(a) })
	return a
}

// finish ends an activity. The progress's lock is held.
func (a *activity) finish(outcome string) {
	a.outcome = outcome
	close(a.done)
}

func (p *progress) show(a *activity) {
	patience := time.NewTimer(progressAfter)
	defer patience.Stop()
	select {
	case <-patience.C:
	case <-a.done:
		return
	case <-p.s.ctx.Done():
		return
	}
	shown := p.message(a)
	work := p.s.client.BeginWork(p.s.ctx, a.title, shown, a.cancel)
	if work == nil {
		return
	}
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if text := p.message(a); text != shown {
				shown = text
				work.Report(text)
			}
		case <-a.done:
			work.End(a.outcome) // nobody sets it any more
			return
		case <-p.s.ctx.Done():
			return
		}
	}
}

// message says how far an activity has come: "3/4 ranks · 12 s · 45%|████▌     | 45/100".
func (p *progress) message(a *activity) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	bar := ""
	if a.run != nil {
		bar = p.s.bars.of(a.run.ID)
		switch ranks := a.run.Ranks(); {
		case len(ranks) > 0:
			parts = append(parts, fmt.Sprintf("%d/%d ranks", view.Done(ranks), len(ranks)))
		case len(a.run.Parts) == 0 && p.pools[a.in] != nil:
			parts = append(parts, "waiting for the pool")
		case len(a.run.Parts) == 0:
			parts = append(parts, "waiting for Python")
		}
	}
	if a.run != nil && a.run.Failed() != "" {
		parts = append(parts, a.run.Failed())
	}
	if a.waits != "" {
		parts = append(parts, a.waits)
	}
	parts = append(parts, lasted(time.Since(a.begun)))
	if bar != "" {
		parts = append(parts, ansi.Truncate(bar, maxBar, "…"))
	}
	return strings.Join(parts, " · ")
}

// ending says how a run ended.
func ending(ev *event.RunFinished) string {
	text := map[event.Status]string{
		event.StatusOK: "done", event.StatusError: "failed", event.StatusInterrupted: "interrupted", event.StatusDied: "died",
	}[ev.Status] + " after " + lasted(time.Duration(ev.Seconds*float64(time.Second)))
	if ev.Reason != "" {
		text += ": " + ev.Reason
	}
	return text
}
