package dipexec

import (
	"errors"
	"sync"
	"sync/atomic"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/internal/trace"
	"dipls/ranks"
)

// process is what the executor remembers of a Process.
type process struct {
	e     *Executor
	p     Process
	who   ranklist.Who
	track trace.Track // of what its reader does here

	newest  atomic.Pointer[run]     // that was sent to it
	running atomic.Int32            // parts that were sent to it and have not ended
	told    atomic.Bool             // of its death
	ended   atomic.Pointer[partEnd] // how the last part ended; nil: none has, or there is nothing to remember

	sourcesMu sync.Mutex
	sources   map[string]source // that it has imported, by path; guarded by sourcesMu
	copied    []string          // files that it has imported on another host, and that nobody has looked at here yet; likewise

	answered atomic.Int64 // when it last ended a part itself, in ns since 1970; 0: never

	// mu guards what follows, and the output of the part last. It is the first of all locks, and is held while a subscriber is waited for.
	mu   sync.Mutex
	last *part // the last part that it began: output belongs to that
	gone bool  // another process has replaced it, or the executor is closed
}

// tellDeath reports whether the caller should publish the death of the process: parts that it runs do that themselves,
// and once is enough.
func (p *process) tellDeath() bool {
	return p.running.Load() == 0 && !p.told.Swap(true)
}

// adopt makes pt the part that output belongs to. Nil forgets the process.
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

// background handles what comes from a process between executions. What it prints belongs to the last run.
func (p *process) background(h ranks.Happening) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil {
		p.last.take(h, false)
	}
}

// process returns what the executor knows of a process, and whether the process is new. If it replaces another one,
// that one is forgotten.
func (e *Executor) process(p Process) (known *process, fresh bool) {
	who := p.Who()
	e.mu.Lock()
	old := e.procs[who]
	if old != nil && old.p == p {
		e.mu.Unlock()
		return old, false
	}
	known = &process{e: e, p: p, who: who, track: e.o.Trace.NewTrack("output of " + who.String())}
	e.procs[who] = known
	e.mu.Unlock()
	if old != nil {
		old.adopt(nil)
	}
	return known, true
}

// processDied publishes the death of a process, unless a run does.
func (e *Executor) processDied(p Process, err error) {
	e.mu.Lock()
	known := e.procs[p.Who()]
	e.mu.Unlock()
	if known != nil && known.p == p && !known.tellDeath() {
		return
	}
	e.Publish(&event.RankState{Header: event.HeaderOf(event.KindRankState, "", nil, p.Who()), State: event.StateDead, Reason: err.Error()})
	var death *ranks.ExitError
	if known != nil && errors.As(err, &death) && !death.Asked {
		e.tellOthers(known, death)
	}
}

// tellOthers tells the run that a rank had a part in of the rank's death, if other ranks still run it: they may wait for what has died.
func (e *Executor) tellOthers(died *process, death *ranks.ExitError) {
	r := died.newest.Load()
	e.mu.Lock()
	defer e.mu.Unlock()
	for who, p := range e.procs {
		if r != nil && !who.IsLocal() && p.newest.Load() == r && p.running.Load() > 0 {
			r.died(death)
			return
		}
	}
}

// forgetEnded forgets ranks that have ended: the next pool may have fewer.
func (e *Executor) forgetEnded() {
	var ended []*process
	e.mu.Lock()
	for who, p := range e.procs {
		select {
		case <-p.p.Done():
			if !who.IsLocal() {
				ended = append(ended, p)
				delete(e.procs, who)
			}
		default:
		}
	}
	e.mu.Unlock()
	for _, p := range ended {
		p.adopt(nil)
	}
}

// known are those processes on which something has run.
func (e *Executor) known(procs []Process) []*process {
	found := make([]*process, 0, len(procs))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range procs {
		if known := e.procs[p.Who()]; known != nil && known.p == p {
			found = append(found, known)
		}
	}
	return found
}
