package dipexec

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dipls/diagnose"
	"dipls/dipexec/event"
	"dipls/ranks/wire"
)

// Ranks are out of step when they have not taken part in the same collectives, or when one is still inside a collective of a run
// that was given up: the next collective would be paired with that one, and give wrong numbers.
const (
	stepPause    = 250 * time.Millisecond // between two looks at the ranks
	stepPatience = time.Second            // for a rank's answer
	maxStepLooks = 20                     // at ranks whose threads continue with collectives
)

// partEnd is how the last part of a process ended.
type partEnd struct {
	groups  map[string]uint64 // as in [wire.ExecuteReply]
	failure *event.Failure    // nil: with no exception
}

// inStep makes sure that ranks are in step before a cell runs on any of them: otherwise it mends their groups. If the status is not ok, the cell
// must not run. Ranks that may be out of step are asked. One that has not come back is waited for as long as it is in no collective.
func (r *run) inStep(procs []Process) (event.Status, string) {
	if !r.e.maybeOutOfStep(procs) {
		return event.StatusOK, ""
	}
	var before []diagnose.Standing
	told := false
	looks := 0
	for {
		now := r.e.look(r.ctx, procs, stepPatience)
		fault, busy := diagnose.OutOfStep(now), diagnose.StillBusy(now)
		switch {
		case r.e.isBroken(procs), fault && before != nil && !diagnose.HaveMoved(before, now):
			return r.bringInStep(procs, now)
		case len(busy) > 0:
			if !fault && !told {
				told = true
				r.log(event.LevelInfo, "waiting for %s, not back from an earlier run", r.e.name(busy))
			}
		case areSilent(procs, now): // whoever cannot tell its counts could not run the cell either
		case !fault:
			return event.StatusOK, ""
		case looks == maxStepLooks:
			return event.StatusOK, "" // collectives of threads come and go
		default:
			looks++
		}
		before = now
		select {
		case <-time.After(stepPause):
		case <-r.timeout:
			return event.StatusInterrupted, whyTimeout + r.req.Timeout.String()
		case <-r.ctx.Done():
			return event.StatusInterrupted, ""
		}
	}
}

// bringInStep mends the groups of ranks that are out of step, or says how a run on them ends. With --anyway it only warns.
func (r *run) bringInStep(procs []Process, ranks []diagnose.Standing) (event.Status, string) {
	clauses := diagnose.DescribeStep(ranks)
	if r.req.Directive.Anyway && !r.e.isBroken(procs) {
		r.log(event.LevelWarning, "%s: %s", theyAreOutOfStep, strings.Join(clauses, "; "))
		return event.StatusOK, ""
	}
	remarks, err := r.e.bringBackAndMend(r.ctx, procs)
	switch {
	case err == nil:
		r.log(event.LevelInfo, "%s", formedAnew(theyWereOutOfStep(clauses)))
		r.remark(remarks)
		return event.StatusOK, ""
	case r.ctx.Err() != nil:
		return event.StatusInterrupted, ""
	}
	text := theyAreOutOfStep + ": " + strings.Join(append(clauses, fmt.Sprintf("their process groups could not be formed anew: %v", err)), "; ")
	if r.req.Directive.Anyway {
		r.log(event.LevelWarning, "%s", text)
		return event.StatusOK, ""
	}
	return event.StatusError, text + ". %dipull still brings what they hold; %makedip -r restarts them; %%dip --anyway runs the cell all the same"
}

const theyAreOutOfStep = "the ranks are out of step, and collectives would be paired with earlier ones"

// maybeOutOfStep tells whether ranks may be out of step, from their latest replies, without asking them.
func (e *Executor) maybeOutOfStep(procs []Process) bool {
	if e.isBroken(procs) {
		return true
	}
	var counts map[string]uint64 // nil: no group is known yet, as without torch
	for _, known := range e.known(procs) {
		if known.running.Load() > 0 {
			return true
		}
		end := known.ended.Load()
		if end == nil {
			continue
		}
		for name, count := range end.groups {
			if other, ok := counts[name]; ok && other != count {
				return true
			}
			if counts == nil {
				counts = make(map[string]uint64, len(end.groups))
			}
			counts[name] = count
		}
	}
	return false
}

// anyWaits tells whether a rank waits in a collective. It asks until every living rank has answered or one waits.
func (e *Executor) anyWaits(ctx context.Context, procs []Process) bool {
	for {
		seen := e.look(ctx, procs, stepPatience)
		if waits := slices.ContainsFunc(seen, diagnose.Standing.Waits); waits || !areSilent(procs, seen) {
			return waits
		}
		select {
		case <-time.After(stepPause):
		case <-ctx.Done():
			return false
		}
	}
}

// areSilent tells whether a living rank has not answered at a look.
func areSilent(procs []Process, seen []diagnose.Standing) bool {
	for i, p := range procs {
		if seen[i].Groups == nil && isAlive(p) {
			return true
		}
	}
	return false
}

// look asks ranks how far they are.
func (e *Executor) look(ctx context.Context, procs []Process, patience time.Duration) []diagnose.Standing {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	found := make([]diagnose.Standing, len(procs))
	onAll(procs, func(i int, p Process) error {
		if !isAlive(p) {
			return nil
		}
		reply, err := p.Groups(ctx)
		if _, answered := errors.AsType[*wire.ReplyError](err); answered {
			reply, err = &wire.GroupsReply{}, nil // it does not know of any
		}
		if err == nil {
			found[i].Groups = reply
		}
		return err
	})
	hostOf := e.hostNamer()
	for i, p := range procs {
		found[i].Rank, found[i].Host = rankOf(p), hostOf(p)
	}
	for _, known := range e.known(procs) {
		at := &found[slices.IndexFunc(procs, func(p Process) bool { return p == known.p })]
		at.Busy = known.running.Load() > 0
		at.Failed = known.ended.Load().describe()
	}
	return found
}

// describe names the exception and its line: "ValueError at train.py:6"; "" if there is none.
func (end *partEnd) describe() string {
	switch {
	case end == nil || end.failure == nil:
		return ""
	case end.failure.Line > 0:
		return fmt.Sprintf("%s at %s:%d", end.failure.EName, filepath.Base(string(end.failure.Path)), end.failure.Line)
	default:
		return end.failure.EName
	}
}
