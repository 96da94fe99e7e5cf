package dipexec

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dipls/diagnose"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
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

// standing is how far a rank is with its collectives.
type standing struct {
	rank   int
	busy   bool              // it has not come back from a run that was given up
	groups *wire.GroupsReply // nil: it has not answered
}

// inStep makes sure that ranks are in step before a cell runs on any of them: otherwise it mends their groups. If the status is not ok, the cell
// must not run. Ranks that may be out of step are asked. One that has not come back is waited for as long as it is in no collective.
func (r *run) inStep(procs []Process) (event.Status, string) {
	if !r.e.maybeOutOfStep(procs) {
		return event.StatusOK, ""
	}
	var before []standing
	told := false
	looks := 0
	for {
		now := r.e.look(r.ctx, procs, stepPatience)
		fault, busy := outOfStep(now), stillBusy(now)
		switch {
		case r.e.isBroken(procs), fault && before != nil && !haveMoved(before, now):
			return r.bringInStep(procs, now)
		case len(busy) > 0:
			if !fault && !told {
				told = true
				r.log(event.LevelInfo, "waiting for %s, not back from an earlier run", ranklist.Name(busy))
			}
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
func (r *run) bringInStep(procs []Process, ranks []standing) (event.Status, string) {
	clauses := r.e.describeStep(ranks)
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

// look asks ranks how far they are.
func (e *Executor) look(ctx context.Context, procs []Process, patience time.Duration) []standing {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	found := make([]standing, len(procs))
	onAll(procs, func(i int, p Process) error {
		if !isAlive(p) {
			return nil
		}
		reply, err := p.Groups(ctx)
		if err == nil {
			found[i].groups = reply
		}
		return err
	})
	for i, p := range procs {
		found[i].rank = rankOf(p)
	}
	for _, known := range e.known(procs) {
		if known.running.Load() > 0 {
			found[slices.IndexFunc(procs, func(p Process) bool { return p == known.p })].busy = true
		}
	}
	return found
}

// stillBusy are the ranks that have not come back from an earlier run, if there are collectives that they might still come to.
func stillBusy(ranks []standing) []int {
	var busy []int
	joined := false
	for _, s := range ranks {
		joined = joined || s.groups != nil && len(s.groups.Groups) > 0
		if s.busy {
			busy = append(busy, s.rank)
		}
	}
	if !joined {
		return nil
	}
	return busy
}

// outOfStep reports whether the counts of a group differ, or a rank is in a collective of an earlier run.
func outOfStep(ranks []standing) bool {
	if slices.ContainsFunc(ranks, standing.waits) {
		return true
	}
	for _, g := range groupsOf(ranks) {
		if len(g.counts) > 1 {
			return true
		}
	}
	return false
}

// waits reports whether the rank is in a collective of a run.
func (s standing) waits() bool { return s.busy && diagnose.MayWait(s.groups) }

// inFlight reports whether any thread of a rank is in a collective, or one runs in the background.
func inFlight(ranks []standing) bool {
	return slices.ContainsFunc(ranks, func(s standing) bool { return s.groups != nil && len(s.groups.Operations) > 0 })
}

// stepGroup is a process group with the counts of its ranks, as far as they have answered.
type stepGroup struct {
	ranks  []int
	counts map[uint64][]int // ranks by count
}

// last is the count of those that are not behind.
func (g *stepGroup) last() uint64 { return slices.Max(slices.Collect(maps.Keys(g.counts))) }

// groupsOf puts together what ranks report about the same group.
func groupsOf(ranks []standing) []*stepGroup {
	byKey := map[string]*stepGroup{}
	var found []*stepGroup
	for _, s := range ranks {
		if s.groups == nil {
			continue
		}
		for _, told := range s.groups.Groups {
			key := fmt.Sprint(told.Name, told.Ranks)
			g := byKey[key]
			if g == nil {
				g = &stepGroup{ranks: told.Ranks, counts: map[uint64][]int{}}
				byKey[key] = g
				found = append(found, g)
			}
			g.counts[told.Count] = append(g.counts[told.Count], s.rank)
		}
	}
	return found
}

// describeStep tells which ranks are out of step, and why, a clause each.
func (e *Executor) describeStep(ranks []standing) []string {
	clauses := describeWaiting(ranks, "is still", "are still")
	for _, g := range groupsOf(ranks) {
		last := g.last()
		for _, count := range slices.Sorted(maps.Keys(g.counts)) {
			if count != last {
				clauses = append(clauses, e.describeBehind(g, count, last, len(ranks)))
			}
		}
	}
	return clauses
}

// describeWaiting tells which ranks are in which collectives, a clause each; the verbs are for one rank and for several.
func describeWaiting(ranks []standing, is, are string) []string {
	var clauses []string
	waiting := map[string][]int{}
	var order []string
	for _, s := range ranks {
		if !s.waits() {
			continue
		}
		text := "in " + diagnose.Wait(s.groups)
		if waiting[text] == nil {
			order = append(order, text)
		}
		waiting[text] = append(waiting[text], s.rank)
	}
	for _, text := range order {
		verb := is
		if len(waiting[text]) > 1 {
			verb = are
		}
		clauses = append(clauses, ranklist.Name(waiting[text])+" "+verb+" "+text)
	}
	return clauses
}

// describeBehind tells of the ranks that are behind in a group.
func (e *Executor) describeBehind(g *stepGroup, count, last uint64, size int) string {
	on := g.counts[count]
	text := ranklist.Name(on) + " is "
	if len(on) > 1 {
		text = ranklist.Name(on) + " are "
	}
	text += fmt.Sprintf("%d collectives behind", last-count)
	if last-count == 1 {
		text = strings.TrimSuffix(text, "s behind") + " behind"
	}
	if len(g.ranks) < size && len(g.ranks) > 0 {
		text += " in the group of " + ranklist.Name(g.ranks)
	}
	var failed []string
	for _, rank := range on {
		e.mu.Lock()
		known := e.procs[ranklist.Rank(rank)]
		e.mu.Unlock()
		if known == nil {
			continue
		}
		if end := known.ended.Load(); end != nil && end.failure != nil {
			at := end.failure.EName
			if end.failure.Line > 0 {
				at += " at " + describeLine(string(end.failure.Path), end.failure.Line)
			}
			if !slices.Contains(failed, at) {
				failed = append(failed, at)
			}
		}
	}
	if len(failed) > 0 {
		text += " (" + strings.Join(failed, ", ") + ")"
	}
	return text
}

// describeLine is "train.py:6".
func describeLine(path string, line int) string {
	return fmt.Sprintf("%s:%d", filepath.Base(path), line)
}
