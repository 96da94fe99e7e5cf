package view

import (
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// Loss is how a namespace has ended in which something ran: what the run has left there is gone.
type Loss int

// The losses. Of several, the later one in this list counts.
const (
	Died      Loss = iota + 1
	Stopped        // its pool was ended, and there is no other yet
	Restarted      // a fresh one has its place, or will once it is needed
	Closed         // its session has ended
)

// LossOf reads the loss of namespaces from an event; of reports whose they are. Nothing is lost: how is 0.
func LossOf(ev event.Event) (how Loss, of func(ranklist.Who) bool) {
	isRank := func(who ranklist.Who) bool { return !who.IsLocal() }
	switch ev := ev.(type) {
	case *event.PoolState:
		switch ev.State {
		case event.StateStarting:
			return Restarted, isRank
		case event.StateStopped:
			return Stopped, isRank
		}
	case *event.RankState:
		who, known := ev.Who()
		same := func(other ranklist.Who) bool { return other == who }
		switch {
		case known && ev.State == event.StateDead:
			return Died, same
		case known && ev.State == event.StateStopped && who.IsLocal():
			return Restarted, same // the next cell that needs it starts it anew; of ranks, the pool's state tells
		}
	}
	return 0, nil
}

// Lose enters the loss of namespaces, and reports whether that concerns the run.
func (r *Run) Lose(how Loss, of func(ranklist.Who) bool) (concerned bool) {
	for _, parts := range [][]Part{r.Parts, r.Asked} {
		for i := range parts {
			if of(parts[i].Who) && parts[i].Lost != how {
				parts[i].Lost, concerned = how, true
			}
		}
	}
	return concerned
}

// Ask enters that a run which this one's cell has asked for reaches a process.
func (r *Run) Ask(who ranklist.Who) {
	for i, p := range r.Asked {
		if p.Who == who {
			r.Asked[i].Lost = 0
			return
		}
	}
	r.Asked = append(r.Asked, Part{Who: who})
}

// Gone says what has become of what an ended run has left: "not run since the restart", and of which namespace, if others are still there; "" if nothing
// is lost.
func (r *Run) Gone() string {
	if r.State != Ended {
		return ""
	}
	var lost []ranklist.Who
	var how Loss
	all := true
	for _, parts := range [][]Part{r.Parts, r.Asked} {
		for _, p := range parts {
			all = all && p.Lost != 0
			if p.Lost != 0 {
				lost, how = append(lost, p.Who), max(how, p.Lost)
			}
		}
	}
	whose := r.Name(lost)
	if len(lost) == 1 && lost[0].IsLocal() {
		whose = "the local namespace"
	}
	switch {
	case how == 0:
		return ""
	case how == Died:
		return "not run since " + whose + " died"
	case how == Stopped:
		return "not run since the end of the pool"
	case how == Closed:
		return "not run since the end of the session"
	case all:
		return "not run since the restart"
	case lost[0].IsLocal():
		return "not run since the restart of " + whose
	}
	return "not run since the restart of the pool"
}
