package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// maxSequence is the highest number of a collective that is shown. Older versions of torch count from a random number, which helps nobody.
const maxSequence = 1 << 24

func ranksOf(waits []*wait) []int {
	var ranks []int
	for _, w := range waits {
		ranks = append(ranks, w.rank.Rank)
	}
	slices.Sort(ranks)
	return slices.Compact(ranks)
}

func areIs(many bool) string {
	if many {
		return "are "
	}
	return "is "
}

func waitVerb(ranks []int) string {
	if len(ranks) > 1 {
		return "wait"
	}
	return "waits"
}

// atLine is " at train.py:6"; "" if there is no line.
func atLine(p Place) string {
	if p.Line == 0 {
		return ""
	}
	return " at " + describeLine(p.Path, p.Line)
}

// tensors is "float32[1024]" or "float32[8,4], [2]".
func tensors(op wire.Operation) string {
	if len(op.Sizes) == 0 {
		return ""
	}
	shapes := make([]string, 0, len(op.Sizes))
	for _, size := range op.Sizes {
		shapes = append(shapes, "["+strings.ReplaceAll(strings.Trim(fmt.Sprint(size), "[]"), " ", ",")+"]")
	}
	const most = 3
	text := op.DType + strings.Join(shapes[:min(most, len(shapes))], ", ")
	if more := len(shapes) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// spellTensors writes the tensors of a rank, without their type if that is the same everywhere.
func spellTensors(w *wait, shapes bool) string {
	if shapes {
		return strings.TrimPrefix(tensors(w.op), w.op.DType)
	}
	return tensors(w.op)
}

// describe names a group for a sentence: "default group", `group "tp" of ranks 0-1`.
func (g *group) describe() string {
	switch {
	case g.Default:
		return "default group"
	case g.Label != "":
		return fmt.Sprintf("group %q of %s", g.Label, ranklist.Name(g.Ranks))
	default:
		return "group of " + ranklist.Name(g.Ranks)
	}
}

// finish puts the finding into words.
func (f *finding) finish() Finding {
	if f.group != nil {
		f.Group, f.GroupRanks = f.group.describe(), f.group.Ranks
	}
	if f.Sequence > maxSequence {
		f.Sequence = 0
	}
	f.Waiting, f.Missing = waitingPlaces(f.waiting), missingPlaces(f.missing)
	if f.Text == "" {
		f.Text = f.sentence()
	}
	return f.Finding
}

// name names ranks, and the host that they are on, where the pool is on several.
func (f *finding) name(ranks []int) string { return ranklist.NameOn(ranks, f.hostOf) }

// head is "all_reduce #17 (default group, float32[1024])".
func (f *finding) head() string {
	text := cmp.Or(f.Operation, "a collective")
	if len(f.waiting) > 0 && f.waiting[0].op.Peer != nil {
		text = toward(f.waiting[0].op, f.name)
	}
	if f.Sequence > 0 && f.Sequence <= maxSequence {
		text += fmt.Sprintf(" #%d", f.Sequence)
	}
	var about []string
	if f.group != nil {
		about = append(about, f.group.describe())
	}
	if f.Variant == Mismatch || f.also != "" {
		if dtype, _, _ := strings.Cut(f.Tensors, "["); !strings.Contains(f.tail+f.also, dtype) {
			about = append(about, dtype)
		}
	} else if f.Tensors != "" {
		about = append(about, f.Tensors)
	}
	if len(about) > 0 {
		text += " (" + strings.Join(about, ", ") + ")"
	}
	return text
}

func (f *finding) sentence() string {
	if f.slow() {
		return f.slowSentence()
	}
	text := f.head() + ": " + f.whoWaits()
	if f.tail != "" {
		if f.Variant == Unknown {
			return text + "; " + f.tail
		}
		return text + " " + f.tail
	}
	return text + " for " + f.whoIsMissing() + f.also
}

// slow reports whether all there is to say is that ranks are slow.
func (f *finding) slow() bool {
	return len(f.missing) > 0 && !slices.ContainsFunc(f.missing, func(a *absence) bool { return a.variant != MissingSlow })
}

// slowSentence is "rank 0 is still in save() at train.py:60; ranks 1-3 wait for it in barrier at train.py:62".
func (f *finding) slowSentence() string {
	var clauses []string
	for _, g := range f.absences() {
		clauses = append(clauses, f.name(g.ranks)+" "+g.clause(len(g.ranks) > 1))
	}
	who, it := ranksOf(f.waiting), "it"
	if len(f.missing) > 1 {
		it = "them"
	}
	text := fmt.Sprintf("%s; %s %s for %s in %s", strings.Join(clauses, ", "), f.name(who), waitVerb(who), it, f.head())
	if places := waitingPlaces(f.waiting); len(places) > 0 {
		text += atLine(places[0])
	}
	return text
}

// clause is what a circle says of one of its operations: "rank 0 waits in all_reduce (group of ranks 0-1) at train.py:5 for rank 1".
func (f *finding) clause() string {
	who := ranksOf(f.waiting)
	text := fmt.Sprintf("%s %s in %s", f.name(who), waitVerb(who), f.head())
	if places := waitingPlaces(f.waiting); len(places) > 0 {
		text += atLine(places[0])
	}
	var missing []int
	for _, a := range f.missing {
		missing = append(missing, a.rank.Rank)
	}
	return text + " for " + f.name(missing)
}

// whoWaits is "ranks 0-1 wait at train.py:41 and rank 3 at train.py:44".
func (f *finding) whoWaits() string {
	places := waitingPlaces(f.waiting)
	if len(places) == 0 {
		return "nobody waits"
	}
	var clauses []string
	for i, p := range places {
		clause := f.name(p.Ranks)
		if i == 0 {
			clause += " " + waitVerb(p.Ranks)
		}
		clauses = append(clauses, clause+atLine(p))
	}
	return list(clauses)
}

// whoIsMissing is "rank 2, which has finished this cell".
func (f *finding) whoIsMissing() string {
	var clauses []string
	for _, g := range f.absences() {
		clause := g.clause(len(g.ranks) > 1)
		which := ", which "
		if strings.HasPrefix(clause, "on which ") {
			which = ", "
		}
		who := f.name(g.ranks)
		if f.unsure && len(g.ranks) > 1 {
			who = "some of " + who
		}
		clauses = append(clauses, who+which+clause)
	}
	if f.unsure {
		return strings.Join(clauses, ", or for ")
	}
	return strings.Join(clauses, ", and for ")
}

// absentees are ranks that the sentence says the same of.
type absentees struct {
	*absence
	ranks  []int
	clause func(many bool) string
}

func (f *finding) absences() []*absentees {
	var found []*absentees
	for _, a := range f.missing {
		clause := a.clause
		if clause == nil {
			clause = func(bool) string { return a.place.Why }
		}
		i := slices.IndexFunc(found, func(g *absentees) bool { return g.clause(false) == clause(false) && samePlace(g.place, a.place) })
		if i < 0 {
			found = append(found, &absentees{a, nil, clause})
			i = len(found) - 1
		}
		found[i].ranks = append(found[i].ranks, a.rank.Rank)
	}
	return found
}

func missingPlaces(missing []*absence) []Place {
	f := finding{missing: missing}
	var places []Place
	for _, g := range f.absences() {
		p := g.place
		if p.Ranks = g.ranks; len(g.ranks) > 1 {
			p.Why = cmp.Or(g.many, p.Why)
		}
		places = append(places, p)
	}
	return places
}

func waitingPlaces(waits []*wait) []Place {
	var places []Place
	for _, w := range waits {
		p := w.place()
		i := slices.IndexFunc(places, func(q Place) bool { return samePlace(p, q) })
		if i < 0 {
			places = append(places, p)
			i = len(places) - 1
		}
		if ranks := &places[i].Ranks; !slices.Contains(*ranks, w.rank.Rank) {
			*ranks = append(*ranks, w.rank.Rank)
		}
	}
	return places
}

// samePlace reports whether ranks are at the same place for the same reason.
func samePlace(a, b Place) bool {
	return a.Path == b.Path && a.Line == b.Line && a.Run == b.Run && a.Name == b.Name && a.Why == b.Why
}

// list writes clauses for a sentence: "a, b and c".
func list(clauses []string) string {
	last := len(clauses) - 1
	if last == 0 {
		return clauses[0]
	}
	return strings.Join(clauses[:last], ", ") + " and " + clauses[last]
}
