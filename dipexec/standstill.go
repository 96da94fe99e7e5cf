package dipexec

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/internal/ranklist"
)

// watchEvery is how often is looked for processes that stand still, while runs go on.
const watchEvery = 5 * time.Second

// watch is the look-out for processes that stand still: one that has been stopped, or whose lock native code holds, says nothing itself, and
// whoever waits for it could only guess.
type watch struct {
	timer *time.Timer        // nil: somebody looks, no run has been started since the last look, or nothing runs any more
	looks bool               // somebody looks: one at a time
	ctx   context.Context    // ends when nothing is to be told any more
	stop  context.CancelFunc //

	told map[*process]bool // processes that stand still, and whether that was said here; written by the look alone
}

// watchRuns has processes looked at as long as there are runs. The caller holds mu. A cell that soon ends costs nothing: there is one timer for all.
func (e *Executor) watchRuns() {
	if e.watch.timer == nil && !e.watch.looks {
		e.watch.timer = time.AfterFunc(watchEvery, e.watchOnce)
	}
}

// watchOnce looks at all processes once, and sees to the next look.
func (e *Executor) watchOnce() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watch.timer = nil; e.closed || len(e.runs) == 0 {
		return
	}
	procs := slices.Collect(maps.Values(e.procs))
	e.watch.looks = true
	e.goOn(func() {
		defer func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.watch.looks = false
			if !e.closed && len(e.runs) > 0 {
				e.watchRuns()
			}
		}()
		e.lookAt(procs)
	})
}

// lookAt tells of those processes that stand still, and of those that do no more.
func (e *Executor) lookAt(procs []*process) {
	var (
		work  sync.WaitGroup
		mu    sync.Mutex
		still = map[*process]string{}
	)
	for _, p := range procs {
		work.Go(func() {
			var text string
			contain.Do(func() { text = p.p.Standstill(e.watch.ctx) }) // nothing is known of it then
			if text != "" {
				mu.Lock()
				defer mu.Unlock()
				still[p] = text
			}
		})
	}
	work.Wait()
	if e.watch.ctx.Err() != nil {
		return
	}
	for _, p := range procs {
		text, stands := still[p]
		said, told := e.watch.told[p]
		switch {
		case stands && !told:
			said = !e.tellsOf(p.who) // else a hang says it
			e.stands(func(told map[*process]bool) { told[p] = said })
			if said {
				p.notify(notice{event.LevelWarning, text})
			}
		case !stands && told:
			e.stands(func(told map[*process]bool) { delete(told, p) })
			select {
			case <-p.p.Done(): // which is told
			default:
				if said {
					p.notify(notice{event.LevelInfo, ranklist.InSentence([]ranklist.Who{p.who}) + " answers again"})
				}
			}
		}
	}
	e.stands(func(told map[*process]bool) {
		maps.DeleteFunc(told, func(p *process, _ bool) bool { return !slices.Contains(procs, p) })
	})
}

// stands changes what is known of processes that stand still.
func (e *Executor) stands(change func(told map[*process]bool)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e.watch.told)
}

// notice is a sentence for the user about a process.
type notice struct {
	level event.Level
	text  string
}

// notify tells the user something about a process, as part of the run that is on it if there is one.
func (p *process) notify(n notice) {
	if r := p.newest.Load(); r != nil && p.running.Load() > 0 && r.note(p.e.watch.ctx, n) {
		return
	}
	p.e.Publish(event.NewLog(n.level, n.text))
}

// note has the run tell something; ok is false if it has finished, or ctx has ended, before.
func (r *run) note(ctx context.Context, n notice) (ok bool) {
	select {
	case r.notices <- n:
		return true
	case <-r.finished:
	case <-ctx.Done():
	}
	return false
}
