package cells

import (
	"fmt"
	"slices"
	"strings"
)

// remedy is what to do about a collective that some ranks may not come to.
const (
	silence = "; a comment # dipls: ignore on the line silences this"
	remedy  = "have every rank call it, or name its ranks by group=" + silence
)

// collectiveProblems finds collectives in a node's body that some ranks would not take part in; the others would wait for them for ever.
// What the text alone does not show is left alone.
func (n *node) collectiveProblems() []Problem {
	if n.directive.Target.Where == Local || !mayCollect(n.text) {
		return nil
	}
	r := reckon(n.text[n.body:])
	if len(r.calls) == 0 {
		return nil
	}
	if some := n.directive.Target.Ranks; !some.IsZero() && !some.All() {
		for _, c := range r.all() {
			r.tell(c, OnSomeRanks, fmt.Sprintf("%s of the pool, and this cell runs on %s only", c.text(), some.Name()),
				"run the cell on all ranks, or name the collective's by group="+silence)
		}
	}
	r.check(r.top, rest{})
	for i := range r.problems {
		r.problems[i].Range = r.problems[i].Range.shift(n.body)
	}
	return r.problems
}

// rest is the collectives that follow a block: a rank that leaves the block early does not call them.
type rest struct {
	turn     []collective // of this turn of the loop around it
	loop     []collective // of this turn and later ones
	function []collective // of the function around it, or of the cell
	inLoop   bool
}

// after is the rest of a block inside, when calls come between its end and this rest.
func (r rest) after(calls []collective) rest {
	return rest{slices.Concat(calls, r.turn), slices.Concat(calls, r.loop), slices.Concat(calls, r.function), r.inLoop}
}

// branch is one way through an if statement.
type branch struct {
	leaves *statement // its last statement, if that leaves the block around the if statement
	calls  []collective
}

// check finds what is wrong in a block.
func (r *reckoning) check(block []*statement, after rest) {
	calls, turns := r.reached(block), r.turns(block)
	for i := 0; i < len(block); i++ {
		calls = calls[len(r.callsOf(block[i])):]
		switch {
		case len(block[i].body) == 0:
			continue
		case block[i].keyword == "def":
			r.check(block[i].body, rest{})
			continue
		}
		chain := block[i : i+1]
		if block[i].keyword == "if" {
			for i+1 < len(block) && (block[i+1].keyword == "elif" || block[i+1].keyword == "else") {
				i++
				calls = calls[len(r.callsOf(block[i])):]
				chain = append(chain[:len(chain):len(chain)], block[i])
			}
		}
		here := after.after(calls)
		switch s := chain[0]; s.keyword {
		case "if":
			if !turns[s] {
				r.checkBranches(chain, here)
			}
			for _, s := range chain {
				r.check(s.body, here)
			}
		case "while", "for":
			body := r.reached(s.body)
			if s.keyword == "while" && r.dependsOnRank(s.head) {
				r.tellUnder(body, s)
			}
			r.check(s.body, rest{nil, body, slices.Concat(body, here.function), true})
		case "try", "except", "else":
			r.check(s.body, after.after(r.missed(block[i+1:], calls)))
		default:
			r.check(s.body, here)
		}
	}
}

// missed are the calls of a block that a rank does not reach when it leaves a try statement before it. What stands under finally is always run.
func (r *reckoning) missed(block []*statement, calls []collective) []collective {
	for i, s := range block {
		switch s.keyword {
		case "except", "else":
		case "finally":
			return slices.Concat(r.reached(block[:i]), r.reached(block[i+1:]))
		default:
			return calls
		}
	}
	return calls
}

// turns are pairs of if statements that let ranks take turns: "if rank != 0: barrier()", then what rank 0 does first, then
// "if rank == 0: barrier()". Together all ranks call the same collectives.
func (r *reckoning) turns(block []*statement) map[*statement]bool {
	var found map[*statement]bool
	var first *statement // the last one that calls collectives, if it can be the first of a pair
	for i, s := range block {
		calls := r.callsOf(s)
		if len(calls) == 0 {
			continue
		}
		alone := i+1 == len(block) || block[i+1].keyword != "elif" && block[i+1].keyword != "else"
		switch {
		case s.keyword != "if" || !alone || len(s.body) == 0 || r.leaves(s.body[len(s.body)-1], true) || !r.dependsOnRank(s.head):
			first = nil
		case first != nil && sameCalls(calls, r.callsOf(first)) && r.excerpt(s) != r.excerpt(first):
			if found == nil {
				found = map[*statement]bool{}
			}
			found[first], found[s] = true, true
			first = nil
		default:
			first = s
		}
	}
	return found
}

// checkBranches finds collectives that only the ranks in one branch of an if statement reach.
func (r *reckoning) checkBranches(chain []*statement, after rest) {
	first := slices.IndexFunc(chain, func(s *statement) bool { return s.keyword != "else" && r.dependsOnRank(s.head) })
	if first < 0 {
		return
	}
	deciding := chain[first]
	var staying, leaving []branch
	for _, s := range chain {
		b := branch{calls: r.reached(s.body)}
		if end := len(s.body) - 1; end >= 0 && r.leaves(s.body[end], after.inLoop) {
			b.leaves = s.body[end]
		}
		switch {
		case b.leaves == nil:
			staying = append(staying, b)
		case b.leaves.keyword != "raise": // that is told, and ends the others
			leaving = append(leaving, b)
		}
	}
	if chain[len(chain)-1].keyword != "else" {
		staying = append(staying, branch{})
	}
	if len(staying) == 0 || len(leaving) == 0 {
		branches := slices.Concat(staying, leaving)
		if slices.ContainsFunc(branches, func(b branch) bool { return !sameCalls(b.calls, branches[0].calls) }) {
			for _, b := range branches {
				r.tellUnder(b.calls, deciding)
			}
		}
		return
	}
	for _, left := range leaving {
		missed := after.function
		switch left.leaves.keyword {
		case "continue":
			missed = after.turn
		case "break":
			missed = slices.Concat(after.turn, after.loop)
		}
		for _, stayed := range staying {
			if sameCalls(left.calls, slices.Concat(stayed.calls, missed)) {
				continue
			}
			r.tellUnder(left.calls, deciding)
			r.tellUnder(stayed.calls, deciding)
			for _, c := range missed {
				r.tell(c, RankCondition, fmt.Sprintf("%s, and some have left before: %s under %s", c.text(), r.excerpt(left.leaves), r.excerpt(deciding)), remedy,
					left.leaves.head, deciding.head)
			}
		}
	}
}

// leaves reports whether a statement ends the block around it: return, raise, break and the like.
func (r *reckoning) leaves(s *statement, inLoop bool) bool {
	switch s.keyword {
	case "return", "raise":
		return true
	case "continue", "break":
		return inLoop
	case "":
		text := r.code[s.head.Start:s.head.End]
		for _, exit := range []string{"sys.exit(", "exit(", "quit("} {
			if strings.HasPrefix(text, exit) {
				return true
			}
		}
	}
	return false
}

func sameCalls(a, b []collective) bool {
	return slices.EqualFunc(a, b, func(a, b collective) bool { return a.name == b.name })
}

// tellUnder reports collectives that only some ranks reach.
func (r *reckoning) tellUnder(calls []collective, under *statement) {
	for _, c := range calls {
		r.tell(c, RankCondition, fmt.Sprintf("%s, and only some come here: %s", c.text(), r.excerpt(under)), remedy, under.head)
	}
}

// tell reports a collective, once. A comment on its line, or on a line in because, silences it.
func (r *reckoning) tell(c collective, code Code, message, hint string, because ...Range) {
	if r.told[c.at] {
		return
	}
	r.told[c.at] = true
	for _, at := range append(because, c.at) {
		if silenced.MatchString(r.source[at.Start:lineEnd(r.source, at.End)]) {
			return
		}
	}
	r.problems = append(r.problems, Problem{c.at, Warning, code, message, hint, ""})
}

// excerpt is the beginning of a statement, in one line.
func (r *reckoning) excerpt(s *statement) string {
	text := strings.Join(strings.Fields(r.source[s.head.Start:s.head.End]), " ")
	const most = 40
	if letters := []rune(text); len(letters) > most {
		text = string(letters[:most-1]) + "…"
	}
	return text
}
