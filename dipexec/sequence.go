package dipexec

import (
	"strings"

	"dipls/dipexec/event"
)

// sequence is runs that were started together, to run one after the other.
type sequence struct {
	goOn  bool     // each runs however the one before it has ended
	runs  []*run   // in their order, until they have been checked; guarded by the executor's mu, like left and ended
	left  int      // how many have not ended
	ended []string // ids of the others

	checked *checked // written by the first run before the others go on; nil: it has found nothing
}

// Start queues a request and returns the run's id at once. A run waits for earlier runs on its namespaces: the local
// one, the ranks or both. A subset of the ranks counts as all of them. If a run does not say where it goes, that is decided when
// its turn in the local namespace comes, since cells before it may turn autodip on; until then it has a place on the ranks,
// too. A cell that may ask for the ranks by a magic has one until it has ended.
func (e *Executor) Start(req Request) (id string, err error) {
	ids, err := e.StartSequence([]Request{req}, false)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// StartSequence queues requests that run one after the other, and returns the ids of their runs at once, in their order. Each waits until the one
// before it has ended or, for a %%px --noblock, until that one's turn has come. Runs that are started later come after them on their namespaces.
//
// After the first that does not end as [event.StatusOK], the others do not run, unless goOn is set. Each of them ends as [event.StatusSkipped],
// with [event.RunFinished] as its only event and without a journal. Unless goOn is set, all are compiled before the first begins: if some do not compile,
// these end as [event.StatusError], and the others as skipped.
func (e *Executor) StartSequence(reqs []Request, goOn bool) (ids []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s *sequence
	if len(reqs) > 1 {
		s = &sequence{goOn: goOn, left: len(reqs)}
	}
	var before *run
	for _, req := range reqs {
		r, err := e.start(req, e.nextPlace(nil), nil, s, before)
		if err != nil {
			return nil, err // for the first, or for none
		}
		ids = append(ids, r.id)
		before = r
		if s != nil {
			s.runs = append(s.runs, r)
		}
	}
	return ids, nil
}

// waits reports whether the run has not wanted a turn yet, since the one before it in its sequence goes on.
func (r *run) waits() bool {
	if r.before == nil {
		return false
	}
	select {
	case <-r.before.begun:
		return false
	case <-r.before.finished:
		return false
	default:
		return true
	}
}

// awaitPredecessors waits for the runs before this one in its sequence. If the status is not ok, this run ends with it without having begun.
func (r *run) awaitPredecessors() (event.Status, string) {
	for p := r.before; p != nil; p = p.before {
		select {
		case <-p.begun: // however it has ended meanwhile
			return event.StatusOK, ""
		default:
		}
		select {
		case <-p.begun:
			return event.StatusOK, ""
		case <-p.finished:
		case <-r.ctx.Done():
			return event.StatusInterrupted, ""
		}
		switch {
		case p.report.Status == event.StatusOK:
			return event.StatusOK, ""
		case r.ctx.Err() != nil: // perhaps they were cancelled together, the later one first
			return event.StatusInterrupted, ""
		case !r.sequence.goOn:
			return event.StatusSkipped, p.whySkip()
		}
		// If it was cancelled while it waited itself, the run that it waited for may still go on.
	}
	return event.StatusOK, ""
}

// whySkip says why the runs after one that has not ended well are skipped: "cell 2 failed".
func (r *run) whySkip() string {
	what := r.name()
	switch {
	case r.report.Status == event.StatusSkipped:
		return r.report.Reason
	case r.report.Status == event.StatusDied:
		return what + " died"
	case r.failed.Load() != nil:
		return what + " failed"
	case strings.HasPrefix(r.report.Reason, whyTimeout):
		return what + " " + r.report.Reason
	case r.report.Status == event.StatusInterrupted:
		return what + " was interrupted"
	default:
		return what + " failed"
	}
}
