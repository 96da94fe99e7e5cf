package dipexec

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dipls/diagnose"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// Process groups that were broken, or whose ranks have not taken part in the same collectives, are mended: formed anew on all ranks. For that the
// main threads must be idle.
const (
	mendPatience = 15 * time.Second // of ranks for each other
	settlePause  = 100 * time.Millisecond
	settleLooks  = 10 // at ranks whose threads continue with collectives after an interrupt
)

// remark is a sentence for the user.
type remark struct {
	level event.Level
	text  string
}

// mend makes all ranks of a pool form their process groups anew, or, with keep, only makes models that train over them agree. After that the
// groups are not broken any more.
func (e *Executor) mend(ctx context.Context, procs []Process, keep bool) ([]remark, error) {
	remarks, err := e.mendOnce(ctx, procs, keep)
	if _, answered := errors.AsType[*wire.ReplyError](err); answered && !keep && ctx.Err() == nil {
		remarks, err = e.mendOnce(ctx, procs, keep) // by now everything has arrived that was under way
	}
	return remarks, err
}

func (e *Executor) mendOnce(ctx context.Context, procs []Process, keep bool) ([]remark, error) {
	for _, p := range procs {
		if !isAlive(p) {
			return nil, fmt.Errorf("%s is dead", p.Who())
		}
	}
	e.mu.Lock()
	e.rounds++
	req := wire.MendRequest{Round: e.rounds, Timeout: mendPatience.Seconds(), Keep: keep}
	broken := sameProcesses(e.broken, procs)
	e.mu.Unlock()
	var told []remark
	if !keep && !broken { // collectives in the background would go on
		for _, text := range e.breakGroups(ctx, procs) {
			told = append(told, remark{event.LevelWarning, text})
		}
	}
	ctx, stop := context.WithTimeoutCause(ctx, mendPatience+breakPatience, errors.New("mending takes too long"))
	defer stop()
	replies := make([]*wire.MendReply, len(procs))
	failures := make(chan error, len(procs))
	onAll(procs, func(i int, p Process) (err error) {
		if replies[i], err = p.Mend(ctx, req); err != nil {
			failures <- err
			stop() // the others would wait for it in vain
		}
		return err
	})
	select {
	case err := <-failures: // the first
		return told, err
	default:
	}
	e.mu.Lock()
	if !keep {
		e.broken = nil
	}
	e.mu.Unlock()
	for _, known := range e.known(procs) {
		known.ended.Store(nil) // what it said of its counts is past
	}
	return append(told, e.remarksOn(procs, replies)...), nil
}

// bringBackAndMend mends the groups of ranks; some of these may not be back from an earlier run.
func (e *Executor) bringBackAndMend(ctx context.Context, procs []Process) ([]remark, error) {
	if still := e.bringBack(ctx, procs, procs); still != nil {
		verb := "is"
		if len(still) > 1 {
			verb = "are"
		}
		return nil, fmt.Errorf("%s %s not back from an earlier run, and no interrupt gets through", e.name(rankNumbers(still)), verb)
	}
	return e.mend(ctx, procs, false)
}

// remarksOn is what the user has to know about groups that were mended.
func (e *Executor) remarksOn(procs []Process, replies []*wire.MendReply) []remark {
	var stale, notices foldedTexts
	for i, reply := range replies {
		rank := rankOf(procs[i])
		for _, s := range reply.Stale {
			stale.add(rank, fmt.Sprintf("%s (%s) belongs to the old group: %s", s.Name, s.Type, s.Todo))
		}
		notices.add(rank, reply.Notices...)
	}
	var told []remark
	for _, text := range stale.lines(len(procs), e.name) {
		told = append(told, remark{event.LevelWarning, text})
	}
	for _, text := range notices.lines(len(procs), e.name) {
		told = append(told, remark{event.LevelInfo, text})
	}
	return told
}

// isBroken tells whether the groups of a pool were broken and are not mended.
func (e *Executor) isBroken(procs []Process) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return sameProcesses(e.broken, procs)
}

// settle makes the ranks agree after an interrupt, before the end of the run is published. The groups are mended if they were broken, if a rank came
// back late, or if the ranks have not taken part in the same collectives or are still in some.
func (r *run) settle(all []Process, parts []*part) {
	e := r.e
	if r.interrupted.IsZero() || e.isClosed() || anyDead(all) || e.stillOn(all) != nil {
		return // the next run waits for ranks that are not back yet
	}
	broken, late := e.isBroken(all), r.late(parts)
	var before []diagnose.Standing
	for looks := 0; ; looks++ {
		seen := e.look(e.ctx, all, stepPatience)
		agree := !diagnose.OutOfStep(seen) && !diagnose.InFlight(seen)
		switch {
		case !diagnose.HaveGroups(seen):
		case broken && len(r.freed) > 0:
			r.mendWith(all, theyWereFreed(r.freed)+": the process groups")
		case broken:
			r.mendWith(all, "the process groups")
		case !agree && before != nil && !diagnose.HaveMoved(before, seen):
			r.mendWith(all, theyWereOutOfStep(diagnose.DescribeStep(seen)))
		case agree && len(late) > 0:
			r.mendWith(all, ranklist.NameOn(late, e.hostOf)+" came back late: the process groups")
		case agree && r.hasCounted(parts):
			if told, err := e.mend(e.ctx, all, true); err == nil {
				r.remark(told)
			} else {
				r.mendWith(all, "the process groups")
			}
		case agree, looks == settleLooks: // collectives of threads come and go
		default:
			before = seen
			select {
			case <-time.After(settlePause):
				continue
			case <-e.ctx.Done():
			}
		}
		return
	}
}

// mendWith mends the groups, and tells of it in a sentence of which subject is the beginning.
func (r *run) mendWith(all []Process, subject string) {
	told, err := r.e.mend(r.e.ctx, all, false)
	switch {
	case r.e.last.Load(): // nobody will use the groups
		if len(r.freed) > 0 {
			r.log(event.LevelInfo, "%s", theyWereFreed(r.freed))
		}
	case err == nil:
		r.log(event.LevelInfo, "%s", formedAnew(subject))
	case !r.e.isClosed() && !anyDead(all): // otherwise that is reported elsewhere, and there is no next run
		r.log(event.LevelWarning, "%s could not be formed anew (%v); the next run on the ranks tries again", subject, err)
	}
	r.remark(told)
}

// theyWereFreed tells which ranks had to be freed from what.
func theyWereFreed(clauses []string) string {
	if len(clauses) == 1 {
		return clauses[0] + " and had to be freed"
	}
	return "ranks had to be freed (" + strings.Join(clauses, "; ") + ")"
}

func formedAnew(subject string) string { return subject + " have been formed anew" }

// theyWereOutOfStep is the beginning of a sentence about the groups of ranks.
func theyWereOutOfStep(clauses []string) string {
	if len(clauses) == 0 {
		return "the process groups"
	}
	return fmt.Sprintf("the ranks were out of step (%s): their process groups", strings.Join(clauses, "; "))
}

// remark tells the user what mending has reported, if there is a next run.
func (r *run) remark(told []remark) {
	if r.e.last.Load() {
		return
	}
	for _, t := range told {
		r.log(t.level, "%s", t.text)
	}
}

// late are the ranks that the interrupt has not brought back quickly.
func (r *run) late(parts []*part) []ranklist.Who {
	var late []ranklist.Who
	for _, pt := range parts {
		if pt.started.Add(pt.outcome().elapsed).Sub(r.interrupted) > r.e.o.FreeAfter {
			late = append(late, pt.proc.who)
		}
	}
	return late
}

// hasCounted tells whether a rank has taken part in collectives in this run, as far as is known.
func (r *run) hasCounted(parts []*part) bool {
	return slices.ContainsFunc(parts, func(pt *part) bool {
		end := pt.proc.ended.Load()
		return pt.before == nil || end == nil || !maps.Equal(pt.before.groups, end.groups)
	})
}

// foldedTexts are the texts of several ranks, equal ones once.
type foldedTexts struct {
	order []string
	ranks map[string][]int
}

func (f *foldedTexts) add(rank int, texts ...string) {
	if f.ranks == nil {
		f.ranks = map[string][]int{}
	}
	for _, text := range texts {
		if f.ranks[text] == nil {
			f.order = append(f.order, text)
		}
		if !slices.Contains(f.ranks[text], rank) {
			f.ranks[text] = append(f.ranks[text], rank)
		}
	}
}

// lines are the texts, with the ranks where not all of them, size many, say it.
func (f *foldedTexts) lines(size int, name func(ranks []int) string) []string {
	lines := slices.Clone(f.order)
	for i, text := range f.order {
		if on := f.ranks[text]; len(on) < size {
			lines[i] += " (" + name(on) + ")"
		}
	}
	return lines
}
