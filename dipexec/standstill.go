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

// watchEvery is how often processes are checked for standing still, while there are runs.
const watchEvery = 5 * time.Second

// recently is how long a process that has ended its part of a run counts as one that does not stand still. While short cells run one after the other,
// thousands of ranks would otherwise be asked again and again.
const recently = time.Second

// watch looks for processes that stand still. A process that is stopped, or whose global lock is held by native code, cannot say so itself,
// and a user who waits for it could only guess.
type watch struct {
	timer *time.Timer        // nil: a look is under way, no run has been started since the last look, or nothing runs any more
	looks bool               // a look is under way; there is one at a time
	ctx   context.Context    // ends when nothing more is to be told
	stop  context.CancelFunc //

	told map[*process]bool // processes that stand still, and whether the user was told here; written only by the look
}

// watchRuns lets processes be checked as long as there are runs. A short cell costs nothing, since there is one timer for all. The caller holds mu.
func (e *Executor) watchRuns() {
	if e.watch.timer == nil && !e.watch.looks {
		e.watch.timer = time.AfterFunc(watchEvery, e.watchOnce)
	}
}

// watchOnce looks at all processes once, and schedules the next look.
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

// lookAt reports processes that stand still, and those that do not any more.
func (e *Executor) lookAt(procs []*process) {
	var (
		work  sync.WaitGroup
		mu    sync.Mutex
		still = map[*process]string{}
	)
	for _, p := range procs {
		if age := time.Since(time.Unix(0, p.answered.Load())); 0 <= age && age < recently {
			continue
		}
		work.Go(func() {
			var text string
			contain.Do(func() { text = p.p.Standstill(e.watch.ctx) }) // a panic means that nothing is known
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
					who := []ranklist.Who{p.who}
					p.notify(notice{event.LevelInfo, ranklist.InSentence(who) + ranklist.OnHost(who, e.hostOf) + " answers again"})
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

// notify tells the user something about a process, as part of the run on it, if there is one.
func (p *process) notify(n notice) {
	if r := p.newest.Load(); r != nil && p.running.Load() > 0 && r.note(p.e.watch.ctx, n) {
		return
	}
	p.e.Publish(event.NewLog(n.level, n.text))
}

// note lets the run tell something; ok is false if the run finishes, or ctx ends, before that.
func (r *run) note(ctx context.Context, n notice) (ok bool) {
	select {
	case r.notices <- n:
		return true
	case <-r.finished:
	case <-ctx.Done():
	}
	return false
}
