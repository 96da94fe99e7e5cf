package dipexec

import (
	"context"
	"fmt"
	"time"

	"dipls/dipexec/event"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// checked is what came of compiling all cells of a sequence before the first of them ran.
type checked struct {
	by     Process
	faults map[*run]wire.Error // of those that do not compile; none: the sequence runs
	why    string              // why the others do not run
}

// whyNothing is the reason of a run whose cell does not compile.
const whyNothing = "nothing was run: all cells are compiled before the first one begins"

// checkPatience is how long compiling the cells may take: a task of the user's may hold the process up between cells.
const checkPatience = 5 * time.Second

// checkSequence has all cells of the run's sequence compiled, if it is the first of one, by the first process that it is about to run on. One message
// asks for all of them. Where nobody can say what is wrong, nothing is. A process that is not back from an earlier run is not asked: the run itself waits
// for it, and says so.
func (r *run) checkSequence(ns namespace) {
	s := r.sequence
	if s == nil || s.goOn {
		return
	}
	r.e.mu.Lock()
	runs := s.runs
	s.runs = nil
	r.e.mu.Unlock()
	if len(runs) == 0 {
		return // that was done
	}
	procs, err := r.processes(ns)
	r.supplied = &supplied{procs, err}
	if err == nil && ns == poolNamespace {
		procs, err = pick(r.target, procs)
	}
	if err != nil || len(procs) == 0 {
		return // the run tells of it
	}
	by := procs[0]
	for _, known := range r.e.known(procs[:1]) {
		if known.running.Load() > 0 {
			return
		}
	}
	var asked []*run
	var req wire.CheckRequest
	for _, one := range runs {
		if code := one.req.Code; one.req.isCode() && code != "" {
			asked = append(asked, one)
			req.Cells = append(req.Cells, wire.CheckedCell{Code: code, Path: wire.Path(one.req.Path), Line: one.req.Line, Run: one.id})
		}
	}
	if len(asked) == 0 {
		return
	}
	ctx, stop := context.WithTimeout(r.ctx, checkPatience)
	defer stop()
	reply, err := by.Check(ctx, req)
	r.tracePhase("check")
	if err != nil || len(reply.Faults) == 0 {
		return
	}
	c := &checked{by: by, faults: map[*run]wire.Error{}}
	for _, f := range reply.Faults {
		if f.Cell < 0 || f.Cell >= len(asked) {
			continue // no cell of ours
		}
		if len(c.faults) == 0 {
			c.why = asked[f.Cell].name() + " does not compile"
		}
		c.faults[asked[f.Cell]] = f.Error
	}
	s.checked = c
}

// refused ends a run whose sequence does not run, since cells of it do not compile. ok is false if that is not so.
func (r *run) refused() (status event.Status, reason string, ok bool) {
	if r.sequence == nil || r.sequence.checked == nil || len(r.sequence.checked.faults) == 0 {
		return "", "", false
	}
	c := r.sequence.checked
	fault, wrong := c.faults[r]
	if !wrong {
		return event.StatusSkipped, c.why, true
	}
	if r.open {
		r.decide()
	}
	r.start()
	r.fail(c.by, fault)
	return event.StatusError, whyNothing, true
}

// fail tells of an exception as if the code had raised it on a process, which has not run it.
func (r *run) fail(p Process, fault wire.Error) {
	proc := &process{e: r.e, p: p, who: p.Who()} // what the process prints belongs to other runs
	pt := &part{r: r, proc: proc, started: time.Now(), kept: r.journal.Output(proc.who)}
	pt.head = event.HeaderOf("", r.id, event.CellOf(r.req.Cell), proc.who)
	pt.own.status = event.StatusError
	r.parts = append(r.parts, pt)
	pt.emit(&event.RankState{Header: pt.header(event.KindRankState), State: event.StateBusy})
	pt.exception(ranks.Failure(fault))
	pt.emit(&event.RankState{Header: pt.header(event.KindRankState), State: event.StateReady, Status: event.StatusError})
	pt.kept.Close()
	pt.sent.Store(&pt.own)
}

// supplied are processes that the run has been given already.
type supplied struct {
	procs []Process
	err   error
}

// name names the run in a sentence: "cell 2".
func (r *run) name() string {
	switch {
	case r.req.Cell > 0:
		return fmt.Sprintf("cell %d", r.req.Cell)
	case r.req.Title != "":
		return r.req.Title
	}
	return "the run before"
}
