package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// Standing is how far a rank is with its collectives.
type Standing struct {
	Rank   int
	Host   string            // of a pool that is on several; else ""
	Busy   bool              // it has not come back from a run that was given up
	Failed string            // the exception that ended its last code: "ValueError at train.py:6"; "": none
	Groups *wire.GroupsReply // nil: it has not answered
}

// Waits reports whether the rank is in a collective of a run.
func (s Standing) Waits() bool { return s.Busy && MayWait(s.Groups) }

// StillBusy are the ranks that have not come back from an earlier run, if there are collectives that they might still come to.
func StillBusy(ranks []Standing) []int {
	var busy []int
	joined := false
	for _, s := range ranks {
		joined = joined || s.Groups != nil && len(s.Groups.Groups) > 0
		if s.Busy {
			busy = append(busy, s.Rank)
		}
	}
	if !joined {
		return nil
	}
	return busy
}

// OutOfStep reports whether the counts of a group differ, or a rank is in a collective of an earlier run.
func OutOfStep(ranks []Standing) bool {
	if slices.ContainsFunc(ranks, Standing.Waits) {
		return true
	}
	for _, g := range groupsOf(ranks) {
		if len(g.counts) > 1 {
			return true
		}
	}
	return false
}

// InFlight reports whether any thread of a rank is in a collective, or one runs in the background.
func InFlight(ranks []Standing) bool {
	return slices.ContainsFunc(ranks, func(s Standing) bool { return s.Groups != nil && len(s.Groups.Operations) > 0 })
}

// WaitsInVain reports whether a rank waits in a collective that an idle rank has not reached.
func WaitsInVain(ranks []Standing) bool {
	idle := func(rank int) bool {
		return slices.ContainsFunc(ranks, func(s Standing) bool { return s.Rank == rank && !s.Busy })
	}
	waits := func(rank int) bool {
		return slices.ContainsFunc(ranks, func(s Standing) bool { return s.Rank == rank && s.Waits() })
	}
	for _, g := range groupsOf(ranks) {
		last := g.last()
		for count, on := range g.counts {
			if count != last && slices.ContainsFunc(on, idle) && slices.ContainsFunc(g.counts[last], waits) {
				return true
			}
		}
	}
	return false
}

// MayHold reports whether process groups may keep a rank from coming back: one waits or has not answered, or their counts differ.
func MayHold(ranks []Standing) bool {
	silent := func(s Standing) bool { return s.Groups == nil }
	return HaveGroups(ranks) && (slices.ContainsFunc(ranks, silent) || OutOfStep(ranks) || InFlight(ranks))
}

// HaveGroups reports whether any rank has joined a process group.
func HaveGroups(ranks []Standing) bool {
	return slices.ContainsFunc(ranks, func(s Standing) bool { return s.Groups != nil && len(s.Groups.Groups) > 0 })
}

// HaveMoved reports whether a rank has reached another collective between two looks.
func HaveMoved(before, now []Standing) bool {
	return !slices.EqualFunc(before, now, func(a, b Standing) bool {
		if a.Groups == nil || b.Groups == nil {
			return a.Groups == b.Groups
		}
		return slices.EqualFunc(a.Groups.Groups, b.Groups.Groups, func(g, h wire.Group) bool { return g.Name == h.Name && g.Count == h.Count }) &&
			slices.EqualFunc(a.Groups.Operations, b.Groups.Operations, func(o, p wire.Operation) bool {
				return o.Group == p.Group && o.Name == p.Name && o.Count == p.Count && o.Thread == p.Thread
			})
	})
}

// DescribeStep tells which ranks are out of step, and why, a clause each.
func DescribeStep(ranks []Standing) []string {
	clauses := DescribeWaiting(ranks, "is still", "are still")
	for _, g := range groupsOf(ranks) {
		last := g.last()
		for _, count := range slices.Sorted(maps.Keys(g.counts)) {
			if count != last {
				clauses = append(clauses, describeBehind(ranks, g, count, last))
			}
		}
	}
	return clauses
}

// DescribeWaiting tells which ranks are in which collectives, a clause each; the verbs are for one rank and for several.
func DescribeWaiting(ranks []Standing, is, are string) []string {
	var clauses []string
	waiting := map[string][]int{}
	var order []string
	for _, s := range ranks {
		if !s.Waits() {
			continue
		}
		text := "in " + Wait(s.Groups)
		if waiting[text] == nil {
			order = append(order, text)
		}
		waiting[text] = append(waiting[text], s.Rank)
	}
	for _, text := range order {
		verb := is
		if len(waiting[text]) > 1 {
			verb = are
		}
		clauses = append(clauses, ranklist.NameOn(waiting[text], hostsOf(ranks))+" "+verb+" "+text)
	}
	return clauses
}

// hostsOf is the host of each rank, for [ranklist.NameOn].
func hostsOf(ranks []Standing) func(rank int) string {
	return func(rank int) string {
		if i := slices.IndexFunc(ranks, func(s Standing) bool { return s.Rank == rank }); i >= 0 {
			return ranks[i].Host
		}
		return ""
	}
}

// describeBehind describes the ranks that are behind in a group.
func describeBehind(ranks []Standing, g *stepGroup, count, last uint64) string {
	on := g.counts[count]
	text := ranklist.NameOn(on, hostsOf(ranks)) + " is "
	if len(on) > 1 {
		text = ranklist.NameOn(on, hostsOf(ranks)) + " are "
	}
	text += fmt.Sprintf("%d collectives behind", last-count)
	if last-count == 1 {
		text = strings.TrimSuffix(text, "s behind") + " behind"
	}
	if len(g.ranks) < len(ranks) && len(g.ranks) > 0 {
		text += " in the group of " + ranklist.Name(g.ranks)
	}
	var failed []string
	for _, s := range ranks {
		if s.Failed != "" && slices.Contains(on, s.Rank) && !slices.Contains(failed, s.Failed) {
			failed = append(failed, s.Failed)
		}
	}
	if len(failed) > 0 {
		text += " (" + strings.Join(failed, ", ") + ")"
	}
	return text
}

// stepGroup is a process group with the counts of its ranks, as far as they have answered.
type stepGroup struct {
	ranks  []int
	counts map[uint64][]int // ranks by count
}

// last is the count of the ranks that are not behind.
func (g *stepGroup) last() uint64 { return slices.Max(slices.Collect(maps.Keys(g.counts))) }

// groupsOf puts together what ranks report about the same group.
func groupsOf(ranks []Standing) []*stepGroup {
	byKey := map[string]*stepGroup{}
	var found []*stepGroup
	for _, s := range ranks {
		if s.Groups == nil {
			continue
		}
		for _, told := range s.Groups.Groups {
			key := fmt.Sprint(told.Name, told.Ranks)
			g := byKey[key]
			if g == nil {
				g = &stepGroup{ranks: told.Ranks, counts: map[uint64][]int{}}
				byKey[key] = g
				found = append(found, g)
			}
			g.counts[told.Count] = append(g.counts[told.Count], s.Rank)
		}
	}
	return found
}
