package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// patience is how many looks in a row must find a rank at one place, with nothing moving, before that is an alarm.
const patience = 2

// generic are operations whose names say only that something is waited for.
var generic = []string{"", "wait", "backward", "synchronize"}

// alike are the collectives that need tensors of the same size and type on all ranks.
var alike = []string{"all_reduce", "all_gather_into_tensor", "broadcast", "reduce", "reduce_scatter_tensor"}

// rooted are the collectives that some ranks leave before all have come.
var rooted = []string{"broadcast", "broadcast_object_list", "reduce", "gather", "gather_object", "scatter", "scatter_object_list"}

// MayWait reports whether a rank may wait for others, by its own account.
func MayWait(told *wire.GroupsReply) bool { return len(waitsOf(told)) > 0 }

// waitsOf are the operations that threads of a rank wait in, the main thread's first.
func waitsOf(told *wire.GroupsReply) []wire.Operation {
	if told == nil {
		return nil
	}
	waits := slices.DeleteFunc(slices.Clone(told.Operations), func(op wire.Operation) bool { return op.Thread == 0 })
	if len(waits) == 0 {
		if op := background(told, wire.Operation{}); op != nil && onGPU(told, op.Group) {
			waits = append(waits, *op) // whoever reads a tensor waits for it
		}
	}
	return waits
}

func onGPU(told *wire.GroupsReply, group string) bool {
	g := groupNamed(told, group)
	return g != nil && strings.Contains(g.Backend, "nccl")
}

// computes reports whether the main thread is in an operation that may also compute, and does compute.
func (r *Rank) computes(op wire.Operation) bool {
	if !r.Moved || !slices.Contains(generic, op.Name) {
		return false
	}
	first := background(r.Now, op) // waiting for a GPU may mean asking it all the time
	return first == nil || op.Name == "backward" || !onGPU(r.Now, first.Group)
}

// Moved reports whether any rank has made progress with its collectives between the two moments.
func (c *Case) Moved() bool {
	return slices.ContainsFunc(c.Ranks, func(r Rank) bool { return r.gotOn() })
}

// progress is what stays the same while a rank waits for others.
type progress struct {
	groups     []wire.Group
	operations []wire.Operation
	running    string
}

func progressOf(told *wire.GroupsReply) progress {
	p := progress{slices.Clone(told.Groups), waitsOf(told), told.Running}
	slices.SortFunc(p.groups, func(a, b wire.Group) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

func (r *Rank) gotOn() bool {
	if r.Now == nil {
		return false
	}
	if r.Before == nil {
		return true // it answers again
	}
	if !reflect.DeepEqual(progressOf(r.Before), progressOf(r.Now)) {
		return true
	}
	// A loop of sends and receives, or of operations without counts, looks the same at any moment. A rank that waits in one has not run.
	return r.Moved && slices.ContainsFunc(waitsOf(r.Now), func(op wire.Operation) bool {
		g := groupNamed(r.Now, op.Group)
		return op.Count == 0 && !slices.Contains(generic, op.Name) && (g == nil || isPairwise(op.Name) && !strings.Contains(g.Backend, "nccl"))
	})
}

func isPairwise(name string) bool {
	return strings.Contains(name, "send") || strings.Contains(name, "recv")
}

// groupNamed is what a rank tells of a group. Where the name is not known, the rank must have only one.
func groupNamed(told *wire.GroupsReply, name string) *wire.Group {
	for i := range told.Groups {
		if g := &told.Groups[i]; g.Name == name || name == "" && len(told.Groups) == 1 {
			return g
		}
	}
	return nil
}

// group is a process group, put together from what its ranks tell.
type group struct {
	wire.Group
	counts map[int]uint64 // by rank
}

// wait is a thread of a rank that waits in an operation.
type wait struct {
	rank  *Rank
	op    wire.Operation
	group *group // nil: not known
	count uint64 // of the group, with which the operation has begun; 0: not known
}

// why is "in all_reduce".
func (w *wait) why() string {
	if w.op.Peer != nil {
		return "in " + toward(w.op, ranklist.Name[int])
	}
	return "in " + cmp.Or(w.op.Name, "a collective")
}

func (w *wait) place() Place {
	p := stackOf(w.rank.Now, w.op.Thread).at()
	p.Why = w.why()
	return p
}

// main reports whether it is the main thread that waits.
func (w *wait) main() bool {
	return w.op.Thread == 0 || len(w.rank.Now.Threads) == 0 || w.rank.Now.Threads[0].ID == w.op.Thread
}

// toward is "send to rank 1". name names ranks.
func toward(op wire.Operation, name func(ranks []int) string) string {
	peer := name([]int{*op.Peer})
	if strings.Contains(op.Name, "recv") {
		return op.Name + " from " + peer
	}
	return op.Name + " to " + peer
}

// diagnosis is a case and what has been found out about it.
type diagnosis struct {
	hostOf func(rank int) string // where the pool is on several hosts
	ranks  map[int]*Rank
	groups []*group
	waits  []*wait
	found  []*finding
}

// finding is a Finding that is being made.
type finding struct {
	Finding
	group   *group // nil: not known, or several
	waiting []*wait
	missing []*absence
	unsure  bool // some of the ranks that are missing may have been there
	hostOf  func(rank int) string
	tail    string // what the sentence says in place of whom they wait for
	also    string // and besides
}

// absence is a rank that is waited for.
type absence struct {
	rank    *Rank
	variant Variant
	alarm   bool
	place   Place
	many    string                 // the same for several ranks, where the wording differs
	clause  func(many bool) string // what comes after "which"
}

// hostOf is the host of a rank, where the pool is on several; "" otherwise.
func (c *Case) hostOf(rank int) string {
	if i := slices.IndexFunc(c.Ranks, func(r Rank) bool { return r.Rank == rank }); i >= 0 {
		return c.Ranks[i].Host
	}
	return ""
}

// Findings says who waits for whom; a finding that may be the cause of others comes first. There are none if any rank has made progress
// between the two moments, or if no rank waits.
func Findings(c Case) []Finding {
	if c.Moved() {
		return nil
	}
	d := &diagnosis{hostOf: c.hostOf, ranks: map[int]*Rank{}}
	for i := range c.Ranks {
		d.ranks[c.Ranks[i].Rank] = &c.Ranks[i]
	}
	d.collectGroups(c.Ranks)
	d.collectWaits(c.Ranks)
	if !slices.ContainsFunc(c.Ranks, func(r Rank) bool { return MayWait(r.Now) }) {
		if f := outside(c); f != nil {
			return []Finding{*f}
		}
		return nil
	}
	for _, g := range d.groups {
		d.ofGroup(g)
	}
	d.ofPairs()
	d.ofUnknown()
	d.circles()
	d.judge()
	slices.SortStableFunc(d.found, func(a, b *finding) int { return cmp.Compare(d.depth(a, nil), d.depth(b, nil)) })
	found := make([]Finding, len(d.found))
	for i, f := range d.found {
		found[i] = f.finish()
	}
	return found
}

// told is the latest that a rank has told.
func (r *Rank) told() *wire.GroupsReply {
	if r.Now != nil {
		return r.Now
	}
	return r.Before
}

func (d *diagnosis) collectGroups(ranks []Rank) {
	byKey := map[string]*group{}
	for i := range ranks {
		r := &ranks[i]
		if r.told() == nil {
			continue
		}
		for _, told := range r.told().Groups {
			key := groupKey(told)
			g := byKey[key]
			if g == nil {
				g = &group{told, map[int]uint64{}}
				byKey[key] = g
				d.groups = append(d.groups, g)
			}
			g.counts[r.Rank] = told.Count
		}
	}
}

func groupKey(g wire.Group) string { return fmt.Sprint(g.Name, g.Ranks) }

func (d *diagnosis) groupOf(told *wire.GroupsReply, name string) *group {
	named := groupNamed(told, name)
	if named == nil {
		return nil
	}
	key := groupKey(*named)
	return d.groups[slices.IndexFunc(d.groups, func(g *group) bool { return groupKey(g.Group) == key })]
}

func (d *diagnosis) collectWaits(ranks []Rank) {
	for i := range ranks {
		r := &ranks[i]
		if r.Condition.State == Dead || r.Condition.State == Stopped || r.Condition.State == Traced {
			continue
		}
		for _, op := range waitsOf(r.Now) {
			if r.computes(op) {
				continue
			}
			w := &wait{rank: r, op: op}
			if op.Count == 0 && (op.Group == "" || slices.Contains(generic, op.Name)) {
				w.standFor(background(r.Now, op))
			}
			w.group, w.count = d.groupOf(r.Now, w.op.Group), w.op.Count
			if w.group == nil && slices.Contains(generic, w.op.Name) {
				w.group = d.uneven(r)
			}
			if w.group != nil && w.count == 0 && !isPairwise(w.op.Name) {
				w.count = w.group.counts[r.Rank]
			}
			d.waits = append(d.waits, w)
		}
	}
}

// background is the first operation of a rank that runs without a thread and may be what waiting waits for.
func background(told *wire.GroupsReply, waiting wire.Operation) *wire.Operation {
	var first *wire.Operation
	for i := range told.Operations {
		op := &told.Operations[i]
		if op.Thread == 0 && op.Count > 0 && !differs(op.Name, waiting.Name) && (waiting.Group == "" || waiting.Group == op.Group) &&
			(first == nil || op.Group == first.Group && op.Count < first.Count) {
			first = op
		}
	}
	return first
}

// standFor replaces a generic wait by the operation that it waits for.
func (w *wait) standFor(op *wire.Operation) {
	if op == nil {
		return
	}
	thread := w.op.Thread
	w.op = *op
	w.op.Thread = thread
}

// uneven is the one group of a rank in which others are behind it; nil: there is none, or several.
func (d *diagnosis) uneven(r *Rank) *group {
	var found *group
	for _, g := range d.groups {
		own, is := g.counts[r.Rank]
		if !is {
			continue
		}
		for _, count := range g.counts {
			if count < own {
				if found != nil && found != g {
					return nil
				}
				found = g
			}
		}
	}
	return found
}

// ofGroup makes the findings about the collectives of one group.
func (d *diagnosis) ofGroup(g *group) {
	var waits []*wait
	var top uint64
	for _, w := range d.waits {
		if w.group == g && w.count > 0 && !isPairwise(w.op.Name) && w.op.Name != "monitored_barrier" {
			waits = append(waits, w)
			top = max(top, w.count)
		}
	}
	if len(waits) == 0 {
		return
	}
	last := g.last()
	f := &finding{hostOf: d.hostOf, group: g}
	var others []*wait // in other collectives than most
	for _, w := range waits {
		switch {
		case w.count == top, w.count > last:
			f.waiting = append(f.waiting, w)
		default:
			others = append(others, w)
		}
	}
	name := mostCommon(f.waiting, top)
	f.waiting = slices.DeleteFunc(f.waiting, func(w *wait) bool {
		apart := w.count == top && differs(w.op.Name, name)
		if apart {
			others = append(others, w)
		}
		return apart
	})
	there := map[int]bool{}
	for _, w := range f.waiting {
		there[w.rank.Rank] = true
	}
	var silent []*absence // ranks of which nobody knows how far they are
	for _, rank := range g.members() {
		r := d.ranks[rank]
		if there[rank] || r == nil {
			continue
		}
		other := slices.IndexFunc(others, func(w *wait) bool { return w.rank == r })
		count, known := g.counts[rank]
		held := r.Condition.State != Sound && d.wasIn(r, g) // in the midst of it
		switch {
		case other >= 0:
			a := different(others[other], false)
			if others[other].count < top { // all have been there: much data takes time
				a.alarm = r.Looks >= patience
			}
			f.missing = append(f.missing, a)
		case known && count >= top && !held: // it has been there
		case !known && r.Condition.State != Dead:
			silent = append(silent, d.absent(r))
		default:
			f.missing = append(f.missing, d.absent(r))
		}
	}
	switch {
	case !slices.Contains(rooted, name), len(f.missing)+len(silent) == 1:
		f.missing = append(f.missing, silent...)
	case len(f.missing) == 0: // some of them may have been there and gone on
		f.missing, f.unsure = silent, true
	}
	f.Operation, f.Sequence, f.Count = name, top, top
	if i := slices.IndexFunc(f.waiting, func(w *wait) bool { return w.op.Name == name && w.op.DType != "" }); i >= 0 {
		f.Tensors = tensors(f.waiting[i].op)
	}
	switch {
	case len(f.missing) > 0:
		if text, _, _ := f.mismatch(); text != "" {
			f.also = "; they wait " + text
		}
	case f.mismatched():
		f.Variant, f.Alarm = Mismatch, true
	case name == "backward":
		return
	case len(there) < len(g.members()) && slices.Contains(alike, name): // a rank that is through may have brought less
		f.nobody("nobody is behind", "tensors of other sizes, the network, or a GPU")
	case len(there) < len(g.members()):
		f.nobody("nobody is behind", "the network, or a GPU")
	default:
		f.nobody("nobody is missing", "the network, or a GPU")
	}
	d.found = append(d.found, f)
}

// nobody says that no rank is missing. Much data takes time, so it is no alarm at once.
func (f *finding) nobody(what, why string) {
	f.Variant, f.Alarm = Nobody, !slices.ContainsFunc(f.waiting, func(w *wait) bool { return w.rank.Looks < patience })
	if !f.Alarm {
		why = "much data, " + why
	}
	f.tail = "and " + what + ": " + why + "?"
}

// last is the lowest count that a rank of the group may have. A rank that has told nothing may have any.
func (g *group) last() uint64 {
	if len(g.counts) < len(g.members()) {
		return 0
	}
	return slices.Min(slices.Collect(maps.Values(g.counts)))
}

// wasIn reports whether a rank waited in an operation of a group when it told of itself last.
func (d *diagnosis) wasIn(r *Rank, g *group) bool {
	return slices.ContainsFunc(waitsOf(r.told()), func(op wire.Operation) bool { return d.groupOf(r.told(), op.Group) == g })
}

// members are the ranks of the group, as far as they are known.
func (g *group) members() []int {
	if len(g.Ranks) > 0 {
		return g.Ranks
	}
	return slices.Sorted(maps.Keys(g.counts))
}

// mostCommon is the collective in which most ranks wait. In a tie the lower rank decides.
func mostCommon(waits []*wait, count uint64) string {
	votes := map[string]int{}
	best := ""
	for _, w := range waits {
		if w.count == count && !slices.Contains(generic, w.op.Name) {
			votes[w.op.Name]++
		}
	}
	for _, w := range waits {
		if votes[w.op.Name] > votes[best] {
			best = w.op.Name
		}
	}
	if best == "" && len(waits) > 0 {
		best = waits[0].op.Name
	}
	return best
}

// differs reports whether two names mean different collectives for sure.
func differs(a, b string) bool {
	plain := func(s string) string { return strings.ReplaceAll(s, "_", "") }
	return plain(a) != plain(b) && !slices.Contains(generic, a) && !slices.Contains(generic, b)
}

// mismatch says how the tensors of the waiting ranks differ, as in "with [8] against [7] of rank 3: the last batch?", and which ranks differ
// from most; "" if all are the same, or nobody knows.
func (f *finding) mismatch() (text string, most, others []*wait) {
	if !slices.Contains(alike, f.Operation) {
		return "", nil, nil
	}
	byTensors := map[string][]*wait{}
	var order []string
	for _, w := range f.waiting {
		if len(w.op.Sizes) == 0 {
			return "", nil, nil
		}
		key := tensors(w.op)
		if byTensors[key] == nil {
			order = append(order, key)
		}
		byTensors[key] = append(byTensors[key], w)
	}
	if len(order) < 2 {
		return "", nil, nil
	}
	slices.SortStableFunc(order, func(a, b string) int { return len(byTensors[b]) - len(byTensors[a]) })
	most = byTensors[order[0]]
	shapes := f.sameType()
	text = "with " + spellTensors(most[0], shapes)
	for i, key := range order[1:] {
		word := "against "
		if i > 0 {
			word = "and "
		}
		text += fmt.Sprintf(" %s%s of %s", word, spellTensors(byTensors[key][0], shapes), f.name(ranksOf(byTensors[key])))
		others = append(others, byTensors[key]...)
	}
	if shapes && len(order) == 2 && onlyFirstDiffers(most[0].op.Sizes, others[0].op.Sizes) {
		text += ": the last batch?"
	}
	return text, most, others
}

// sameType reports whether the tensors of all waiting ranks have the same type.
func (f *finding) sameType() bool {
	return !slices.ContainsFunc(f.waiting, func(w *wait) bool { return w.op.DType != f.waiting[0].op.DType })
}

// mismatched makes a finding if all ranks are there, but with different tensors.
func (f *finding) mismatched() bool {
	text, most, others := f.mismatch()
	if text == "" {
		return false
	}
	shapes := f.sameType()
	f.tail, f.Tensors, f.waiting = text, tensors(most[0].op), most
	for _, w := range others {
		p := w.place()
		p.Why = "with " + spellTensors(w, shapes)
		f.missing = append(f.missing, &absence{rank: w.rank, variant: Mismatch, alarm: true, place: p})
	}
	return true
}

// onlyFirstDiffers reports whether the sizes of tensors differ only in the first dimension, as those of batches do.
func onlyFirstDiffers(a, b [][]int64) bool {
	return slices.EqualFunc(a, b, func(a, b []int64) bool {
		return len(a) == len(b) && len(a) > 0 && slices.Equal(a[1:], b[1:])
	})
}

// ofPairs makes the findings about sends and receives.
func (d *diagnosis) ofPairs() {
	byKey := map[string]*finding{}
	for _, w := range d.waits {
		if !isPairwise(w.op.Name) || w.op.Peer == nil {
			continue
		}
		key := fmt.Sprint(toward(w.op, ranklist.Name[int]), w.op.Group)
		f := byKey[key]
		if f == nil {
			f = &finding{hostOf: d.hostOf, group: w.group, waiting: []*wait{}}
			f.Operation, f.Tensors = w.op.Name, tensors(w.op)
			byKey[key] = f
			d.found = append(d.found, f)
			if peer := d.ranks[*w.op.Peer]; peer != nil {
				f.missing = []*absence{d.absent(peer)}
			}
		}
		f.waiting = append(f.waiting, w)
	}
	for _, f := range byKey {
		if f.Variant == "" && d.paired(f) {
			f.missing = nil
			f.nobody("nobody is missing", "other tags, the network, or a GPU")
		}
	}
}

// paired reports whether the other side is there, too.
func (d *diagnosis) paired(f *finding) bool {
	for _, w := range f.waiting {
		for _, other := range d.waits {
			if other.rank.Rank == *w.op.Peer && other.group == w.group && isPairwise(other.op.Name) && (other.op.Peer == nil || *other.op.Peer == w.rank.Rank) &&
				strings.Contains(other.op.Name, "recv") != strings.Contains(w.op.Name, "recv") {
				return true
			}
		}
	}
	return false
}

// ofUnknown makes the findings about waits that cannot be matched with others, one for each operation. A backward pass may also compute.
func (d *diagnosis) ofUnknown() {
	byName := map[string]*finding{}
	for _, w := range d.waits {
		if w.op.Name == "backward" || slices.ContainsFunc(d.found, func(f *finding) bool { return slices.Contains(f.waiting, w) || f.lacks(w.rank) }) {
			continue
		}
		f := byName[w.op.Name]
		if f == nil {
			f = &finding{hostOf: d.hostOf, group: w.group}
			f.Operation = w.op.Name
			byName[w.op.Name] = f
			d.found = append(d.found, f)
		}
		if f.group != w.group {
			f.group = nil
		}
		f.waiting = append(f.waiting, w)
	}
	for name, f := range byName {
		if name == "monitored_barrier" && f.group != nil { // has no count, but does not end before all are there
			for _, rank := range f.group.members() {
				if r := d.ranks[rank]; r != nil && !f.waits(r) {
					f.missing = append(f.missing, d.absent(r))
				}
			}
		}
		if len(f.missing) == 0 {
			f.Variant, f.tail = Unknown, "for whom is not known"
			f.Alarm = !slices.ContainsFunc(slices.Collect(maps.Values(d.ranks)), func(r *Rank) bool {
				return r.Part.State == Running && !d.waiting(r)
			})
		}
	}
}

// waiting reports whether any thread of a rank waits.
func (d *diagnosis) waiting(r *Rank) bool {
	return slices.ContainsFunc(d.waits, func(w *wait) bool { return w.rank == r })
}

func (f *finding) waits(r *Rank) bool {
	return slices.ContainsFunc(f.waiting, func(w *wait) bool { return w.rank == r })
}

func (f *finding) lacks(r *Rank) bool {
	return slices.ContainsFunc(f.missing, func(a *absence) bool { return a.rank == r })
}

// different is the absence of a rank that waits in another operation.
func different(w *wait, named bool) *absence {
	p := w.place()
	if named {
		p.Why += " (" + w.group.describe() + ")"
	}
	return &absence{rank: w.rank, variant: MissingDifferent, alarm: true, place: p, clause: func(many bool) string {
		return areIs(many) + p.Why + atLine(p)
	}}
}

// absent says why a rank is missing.
func (d *diagnosis) absent(r *Rank) *absence {
	a := &absence{rank: r, alarm: true}
	say := func(v Variant, one, many string) *absence {
		a.variant = v
		a.clause = func(several bool) string {
			if several {
				return many
			}
			return one
		}
		a.place.Why, a.many = one, many
		return a
	}
	both := func(v Variant, text string) *absence { return say(v, text, text) }
	s := mainStack(r.told())
	switch r.Condition.State {
	case Dead:
		return both(MissingDead, cmp.Or(r.Condition.How, "is dead"))
	case Stopped, Traced:
		a.place = s.at()
		return both(MissingStopped, cmp.Or(r.Condition.How, "is stopped"))
	case Swapping, Native:
		a.place = s.at()
		v := MissingNative
		if r.Condition.State == Swapping {
			v = MissingSwapping
		}
		a.alarm = !r.Moved && v == MissingNative
		return both(v, r.Condition.How)
	}
	if r.Now == nil {
		a.alarm = false
		return say(MissingSilent, "has not answered", "have not answered")
	}
	for _, w := range d.waits {
		if w.rank == r && w.main() {
			return different(w, w.group != nil && !w.group.Default)
		}
	}
	switch r.Part.State {
	case NoTarget:
		both(MissingNoTarget, "on which this cell does not run")
		a.place.Why, a.many = "is no target of this cell", "are no targets of this cell"
		return a
	case Interrupted:
		return say(MissingInterrupted, "has been interrupted", "have been interrupted")
	case Finished:
		return say(MissingFinished, "has finished this cell", "have finished this cell")
	case Raised:
		a.place.Path, a.place.Line = r.Part.Path, r.Part.Line
		at := atLine(a.place)
		say(MissingRaised, "has raised "+r.Part.Error, "have raised "+r.Part.Error)
		say := a.clause
		a.clause = func(many bool) string { return say(many) + at }
		return a
	}
	a.place = s.at()
	if r.Part.State == Asking {
		say(MissingAsking, "waits for your answer to its input()", "wait for your answer to their input()")
		a.alarm = false
		base, at := a.clause, atLine(a.place)
		a.clause = func(many bool) string { return base(many) + at }
		return a
	}
	what, beyond := s.doing()
	still := r.Moved || r.Works || r.threadsWork() || s.inDocument() || !s.same(mainStack(r.Before))
	a.variant, a.alarm = MissingElsewhere, r.Idle >= patience
	if still {
		a.variant, a.alarm = MissingSlow, false
	}
	if r.Part.State == GivenUp {
		a.variant = MissingGivenUp
		say(MissingGivenUp, "is not back from an earlier run", "are not back from an earlier run")
		base, at := a.clause, atLine(a.place)
		a.clause = func(many bool) string { return base(many) + at }
		return a
	}
	at := ""
	if a.place.Line > 0 {
		at = describeLine(a.place.Path, a.place.Line)
	}
	if still && s.document() != nil { // a rank that moves passes many places, but stays within this line of the document
		what, beyond = s.within(), ""
	}
	if beyond != "" {
		at = beyond
	}
	switch {
	case at == "" && what == "" && len(s) == 0:
		return say(a.variant, "has not begun this cell", "have not begun this cell")
	case what == "":
		a.place.Why = "in " + cmp.Or(at, "other code")
	case beyond != "":
		a.place.Why = "in " + beyond + ", " + what
	default:
		a.place.Why = "in " + what
	}
	slow := still
	a.clause = func(many bool) string {
		word := areIs(many)
		if slow {
			word += "still "
		}
		switch {
		case what == "":
			return word + "at " + at
		case at == "":
			return word + "in " + what
		case slow:
			return word + "in " + what + " at " + at
		}
		return word + "in " + at + ", " + what
	}
	return a
}

// circles replaces findings that wait for each other by a single one.
func (d *diagnosis) circles() {
	n := len(d.found)
	reach := make([][]bool, n)
	for i := range reach {
		reach[i] = make([]bool, n)
		for j := range reach[i] {
			reach[i][j] = i != j && d.found[i].needs(d.found[j])
		}
	}
	for k := range n {
		for i := range n {
			for j := range n {
				reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
			}
		}
	}
	var rest []*finding
	for i, f := range d.found {
		switch {
		case !reach[i][i]:
			rest = append(rest, f)
		case !slices.ContainsFunc(d.found[:i], func(other *finding) bool {
			j := slices.Index(d.found, other)
			return reach[i][j] && reach[j][i]
		}):
			rest = append(rest, d.circle(i, reach)) // where the first of them was
		}
	}
	d.found = rest
}

// needs reports whether a rank that is missing in one operation waits in another.
func (f *finding) needs(other *finding) bool {
	return slices.ContainsFunc(f.missing, func(a *absence) bool { return a.variant == MissingDifferent && other.waits(a.rank) })
}

// circle is the finding that replaces finding i and all that wait with it in a circle.
func (d *diagnosis) circle(i int, reach [][]bool) *finding {
	c := &finding{hostOf: d.hostOf}
	c.Variant, c.Alarm = Circle, true
	var clauses []string
	for j, f := range d.found {
		if !reach[i][j] || !reach[j][i] {
			continue
		}
		c.waiting = append(c.waiting, f.waiting...)
		clauses = append(clauses, f.clause())
	}
	c.Text = c.name(ranksOf(c.waiting)) + " wait for each other: " + strings.Join(clauses, "; ")
	return c
}

// judge says what kind of finding each is, and whether it is an alarm.
func (d *diagnosis) judge() {
	for _, f := range d.found {
		if f.Variant != "" {
			continue
		}
		for _, a := range f.missing {
			f.Alarm = f.Alarm || d.alarms(f, a, nil)
			switch {
			case f.Variant == "":
				f.Variant = a.variant
			case f.Variant != a.variant || a.place.Path != f.missing[0].place.Path || a.place.Line != f.missing[0].place.Line:
				f.Variant = MissingSeveral
			}
		}
		if isPairwise(f.Operation) && slices.Contains([]Variant{MissingFinished, MissingRaised, MissingDifferent, MissingNoTarget}, f.Variant) {
			f.Variant = MissingPartner
		}
	}
}

// alarms reports whether a missing rank may never come. One that waits itself comes no sooner than those it waits for.
func (d *diagnosis) alarms(f *finding, a *absence, seen []*finding) bool {
	if a.variant != MissingDifferent || slices.Contains(seen, f) {
		return a.alarm
	}
	for _, other := range d.found {
		if other == f || !other.waits(a.rank) {
			continue
		}
		if other.Variant != "" {
			return other.Alarm
		}
		return slices.ContainsFunc(other.missing, func(b *absence) bool { return d.alarms(other, b, append(seen, f)) })
	}
	return a.alarm
}

// depth is how many findings lie between a finding and its cause.
func (d *diagnosis) depth(f *finding, seen []*finding) int {
	if slices.Contains(seen, f) {
		return 0
	}
	deepest := 0
	for _, other := range d.found {
		if other != f && f.needs(other) {
			deepest = max(deepest, 1+d.depth(other, append(seen, f)))
		}
	}
	return deepest
}
