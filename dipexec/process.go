package dipexec

import (
	"sync"
	"sync/atomic"

	"dipls/internal/ranklist"
	"dipls/internal/trace"
	"dipls/ranks"
)

// process is what the executor remembers of a Process.
type process struct {
	e     *Executor
	p     Process
	who   ranklist.Who
	track trace.Track // of what its reader goroutine does here

	newest  atomic.Pointer[run]     // that was sent to it
	running atomic.Int32            // parts that were sent to it and have not ended
	told    atomic.Bool             // of its death
	ended   atomic.Pointer[partEnd] // how the last part ended; nil: none has, or there is nothing to tell of it

	// mu guards what follows, and the output of the part last. It is the first of all locks, held while a subscriber is waited for.
	mu   sync.Mutex
	last *part // whose output comes now: the last part that it began
	gone bool  // another process has taken its place, or the executor is closed
}

// tellDeath reports whether the caller is to publish the death of the process: the parts that it runs do that themselves,
// and once is enough.
func (p *process) tellDeath() bool {
	return p.running.Load() == 0 && !p.told.Swap(true)
}

// adopt makes pt the part whose output comes now. Nil forgets the process.
func (p *process) adopt(pt *part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adoptLocked(pt)
}

func (p *process) adoptLocked(pt *part) {
	if old := p.last; old != nil && old != pt {
		old.flushText()
		old.kept.Close()
	}
	p.last = pt
	p.gone = pt == nil
}

// background takes what a process says between executions. What it prints goes to the last run.
func (p *process) background(h ranks.Happening) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil {
		p.last.take(h, false)
	}
}
