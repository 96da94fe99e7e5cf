package remote

import (
	"context"
	"slices"
	"sync"

	"dipls/dipexec/event"
	"dipls/session"
	"dipls/session/history"
)

// filler is the subscription whose events are recorded.
type filler struct {
	sub   session.Subscription
	ended chan struct{} // closed when nothing more is recorded
	done  progress      // up to which position of sub everything is recorded

	mu     sync.Mutex // guards recent
	recent []batch    // the last ones, the earliest first
}

// batch is events that were appended to the log, one after the other.
type batch struct {
	at  uint64 // position of sub with the last of them
	n   uint64 // how many
	end uint64 // position of the last in the log
}

// keptBatches is how many batches are remembered: enough for what happens while the session looks at its journals.
const keptBatches = 1000

func newFiller(sub session.Subscription) *filler {
	at := sub.Position()
	return &filler{sub: sub, ended: make(chan struct{}), done: progress{at: at}, recent: []batch{{at: at}}}
}

// record appends events of sub to the log.
func (f *filler) record(log *history.Log, events []event.Event) {
	end := log.Append(events...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = append(f.recent, batch{f.sub.Position(), uint64(len(events)), end})
	if len(f.recent) > 2*keptBatches {
		f.recent = slices.Clone(f.recent[keptBatches:])
	}
}

// advance says that everything is done about what was recorded.
func (f *filler) advance() { f.done.set(f.sub.Position()) }

// await waits until everything is recorded that has happened by now.
func (f *filler) await(ctx context.Context) { f.done.await(ctx, f.sub.End(), f.ended) }

// positionOf is the position in the log of the last event up to a position of sub.
func (f *filler) positionOf(ctx context.Context, given uint64) uint64 {
	f.done.await(ctx, given, f.ended)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.recent {
		if given <= b.at {
			return b.end - min(b.at-given, b.n)
		}
	}
	return f.recent[len(f.recent)-1].end
}

// progress is a number that grows.
type progress struct {
	mu    sync.Mutex // guards what follows
	at    uint64
	moved chan struct{}
}

func (g *progress) set(at uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.move(at)
}

// step adds one.
func (g *progress) step() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.move(g.at + 1)
}

// now is the number.
func (g *progress) now() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at
}

// move sets the number. mu is held.
func (g *progress) move(at uint64) {
	g.at = at
	if g.moved != nil {
		close(g.moved)
		g.moved = nil
	}
}

// await waits until the number is at least that, or nobody will set it.
func (g *progress) await(ctx context.Context, at uint64, ended <-chan struct{}) {
	for {
		g.mu.Lock()
		if g.at >= at {
			g.mu.Unlock()
			return
		}
		if g.moved == nil {
			g.moved = make(chan struct{})
		}
		moved := g.moved
		g.mu.Unlock()
		select {
		case <-moved:
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
	}
}
