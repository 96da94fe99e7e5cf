package lsp

import (
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
)

const (
	// tickEvery is how often what shows for how long runs have been going on is brought up to date.
	tickEvery = time.Second
	// slowTicks is the same, in ticks, where a document has more than manyCells cells: a client asks for the lenses of all of them.
	slowTicks = 10
	manyCells = 2000
)

// ticks makes clients look again while cells run: lenses and hints say for how long. While nothing runs, nothing goes on.
type ticks struct {
	s *server

	mu    sync.Mutex // guards what follows
	going bool
}

func newTicks(s *server) feature {
	t := &ticks{s: s}
	return feature{event: t.event}
}

func (t *ticks) event(_ *workspace, ev event.Event) {
	if ev.Head().Kind != event.KindRunStarted {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.going {
		t.going = true
		t.s.goOn("ticks", t.run)
	}
}

// run ticks until nothing runs.
func (t *ticks) run() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-t.s.ctx.Done():
			return
		}
		running, shown := t.look(n)
		if shown {
			t.s.feed.tell(change{tick: true})
		}
		if !running {
			return
		}
	}
}

// look reports whether anything runs, and whether a cell does whose document should be looked at again at the nth tick.
func (t *ticks) look(n int) (running, shown bool) {
	t.mu.Lock() // a run that begins meanwhile is seen here, or begins anew
	defer t.mu.Unlock()
	open := t.s.docs.View()
	for _, r := range t.s.board.active(nil) {
		if r.State != view.Running {
			continue
		}
		running = true
		if d := open[r.Doc]; d != nil && time.Since(r.Started) >= tickEvery && (d.File.Len() <= manyCells || n%slowTicks == 0) {
			shown = true
		}
	}
	t.going = running
	return running, shown
}
