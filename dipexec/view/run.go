package view

import (
	"cmp"
	"slices"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// RunState is where a run is in its life.
type RunState int

// The states of a run, in the order in which it goes through them.
const (
	Queued RunState = iota
	Running
	Ended
)

// String is the state as a word.
func (s RunState) String() string { return [...]string{"queued", "running", "ended"}[s] }

// Run is what is known of one run from its events. The zero value with an id is a run that is queued.
type Run struct {
	ID       string
	Parent   string // id of the run whose cell has asked for this one; "": none
	Index    int    // of the cell; 0: it is none's
	Title    string
	Target   string // as in [event.RunStarted]
	See      string // likewise
	Quiet    bool
	Autodip  bool
	Journal  string // directory; "": none
	State    RunState
	Started  time.Time    // when its RunStarted was applied
	Status   event.Status // "" until it has ended
	Seconds  float64      // how long it took, once it has ended; 0: it never began
	Reason   string       // once it has ended: a sentence, or ""
	Parts    []Part       // of the processes that have begun: the local namespace first, then the ranks in order
	Failures []*event.Failure
	Asked    []Part         // which processes the runs have reached that its cell has asked for, and what was lost there since; else zero
	Hangs    []*event.Hang  // what its ranks wait for now, by number
	Inputs   []*event.Input // what its code waits for its user to type, by number
}

// Part is how one process does in a run.
type Part struct {
	Who     ranklist.Who
	State   string       // as in [event.RankState]: busy, ready, interrupting, dead or stopped
	Status  event.Status // "" while it runs
	Seconds float64      // once it has ended
	Reason  string       // with dead
	Host    string       // of a rank of a pool that is on several hosts; else ""
	Seen    bool         // its output is shown, though See does not name it by its number
	Lost    Loss         // how its namespace has ended since; 0: it has not
}

// Apply enters an event of the run, and reports whether what is known of it has changed. Output changes nothing: those who show it take the event itself.
// now is when the event is applied.
func (r *Run) Apply(ev event.Event, now time.Time) bool {
	switch ev := ev.(type) {
	case *event.RunStarted:
		r.State, r.Started = Running, now
		if !ev.Began.IsZero() {
			r.Started = ev.Began
		}
		r.Parent, r.Title, r.Target, r.See, r.Quiet, r.Autodip, r.Journal = ev.Parent, ev.Title, ev.Target, ev.See, ev.Quiet, ev.Autodip, string(ev.Journal)
		if ev.Cell != nil {
			r.Index = *ev.Cell
		}
	case *event.RankState:
		part := r.part(whoOf(ev))
		part.State, part.Status, part.Seconds, part.Reason = ev.State, ev.Status, ev.Seconds, ev.Reason
		part.Host, part.Seen = cmp.Or(ev.Host, part.Host), ev.Seen || part.Seen
	case *event.Failure:
		r.Failures = append(r.Failures, ev)
	case *event.Hang:
		r.hang(ev)
	case *event.Input:
		r.input(ev)
	case *event.RunFinished:
		r.State, r.Status, r.Seconds, r.Reason, r.Hangs = Ended, ev.Status, ev.Seconds, ev.Reason, nil
		r.Inputs = nil
	default:
		return false
	}
	return true
}

// part is a process's part, a new one if need be.
func (r *Run) part(who ranklist.Who) *Part {
	i, found := r.indexOf(who)
	if !found {
		r.Parts = slices.Insert(r.Parts, i, Part{Who: who})
	}
	return &r.Parts[i]
}

// whoOf is the process of an event that has one.
func whoOf(ev event.Event) ranklist.Who {
	who, _ := ev.Head().Who()
	return who
}

// hang enters that ranks wait, or no longer do.
func (r *Run) hang(ev *event.Hang) {
	if r.State == Ended {
		return
	}
	i, known := slices.BinarySearchFunc(r.Hangs, ev.Hang, func(h *event.Hang, number int) int { return cmp.Compare(h.Hang, number) })
	switch {
	case known && ev.Gone:
		r.Hangs = slices.Delete(r.Hangs, i, i+1)
	case known:
		r.Hangs[i] = ev
	case !ev.Gone:
		r.Hangs = slices.Insert(r.Hangs, i, ev)
	}
}

// input enters that code asks, or no longer does.
func (r *Run) input(ev *event.Input) {
	i, known := slices.BinarySearchFunc(r.Inputs, ev.Input, func(q *event.Input, number int) int { return cmp.Compare(q.Input, number) })
	switch {
	case known && !ev.Open():
		r.Inputs = slices.Delete(r.Inputs, i, i+1)
	case known:
		r.Inputs[i] = ev
	case ev.Open() && r.State != Ended:
		r.Inputs = slices.Insert(r.Inputs, i, ev)
	}
}

// Clone is a copy that later events do not change.
func (r *Run) Clone() Run {
	c := *r
	c.Parts, c.Failures, c.Hangs = slices.Clone(r.Parts), slices.Clone(r.Failures), slices.Clone(r.Hangs)
	c.Asked = slices.Clone(r.Asked)
	c.Inputs = slices.Clone(r.Inputs)
	return c
}

// PartOf is the part of a process; nil if it has none.
func (r *Run) PartOf(who ranklist.Who) *Part {
	if i, found := r.indexOf(who); found {
		return &r.Parts[i]
	}
	return nil
}

// indexOf is where the part of a process is, or would be.
func (r *Run) indexOf(who ranklist.Who) (i int, found bool) {
	return slices.BinarySearchFunc(r.Parts, who, func(p Part, who ranklist.Who) int { return p.Who.Compare(who) })
}

// Local is the part of the local namespace; nil if it has none.
func (r *Run) Local() *Part { return r.PartOf(ranklist.Local) }

// Ranks are the parts of the ranks, in order.
func (r *Run) Ranks() []Part {
	if r.Local() != nil {
		return r.Parts[1:]
	}
	return r.Parts
}

// Done is the number of parts that have ended.
func Done(parts []Part) int {
	n := 0
	for _, p := range parts {
		if p.Status != "" {
			n++
		}
	}
	return n
}

// WithStatus are the processes whose parts have a status; "" is that of parts that go on.
func (r *Run) WithStatus(s event.Status) []ranklist.Who {
	var found []ranklist.Who
	for _, p := range r.Parts {
		if p.Status == s {
			found = append(found, p.Who)
		}
	}
	return found
}

// Runs are the runs in progress, in the order in which they began.
type Runs struct{ runs []*Run }

// Apply enters an event in its run, and returns that run, also if the event has ended it and it is not in progress any more. Nil: the event
// belongs to no run in progress.
func (rs *Runs) Apply(ev event.Event, now time.Time) *Run {
	id := ev.Head().Run
	r := rs.Run(id)
	if _, ok := ev.(*event.RunStarted); ok && r == nil {
		r = &Run{ID: id}
		rs.runs = append(rs.runs, r)
	}
	if r == nil {
		return nil
	}
	r.Apply(ev, now)
	if r.State == Ended {
		rs.runs = slices.DeleteFunc(rs.runs, func(other *Run) bool { return other == r })
	}
	return r
}

// Run is the run in progress with an id; nil: there is none.
func (rs *Runs) Run(id string) *Run {
	for _, r := range rs.runs {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// All are the runs in progress. Later events change them.
func (rs *Runs) All() []*Run { return slices.Clone(rs.runs) }

// Last is the run in progress that began last; nil: there is none.
func (rs *Runs) Last() *Run {
	if len(rs.runs) == 0 {
		return nil
	}
	return rs.runs[len(rs.runs)-1]
}
