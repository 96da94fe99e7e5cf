package cells

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// MaxRank is the largest number that a RankList can hold.
const MaxRank = 1<<20 - 1

// A RankList is a set of ranks (or GPUs, or cells: anything counted by small integers) that remembers the order in which it
// was written. The zero value says nothing: no list was given.
type RankList struct {
	all   bool
	spans []span // as written
}

// A span is the numbers first to last, both included.
type span struct{ first, last int }

// AllRanks is the list "all".
var AllRanks = RankList{all: true}

// A RankError says which part of a rank list cannot be, why, and what may have been meant.
type RankError struct {
	Item   string // the offending part, "" if the list is empty
	Reason string // such as "runs backwards"
	Hint   string // such as "write 1-3"; may be empty
}

func (e *RankError) Error() string {
	s := fmt.Sprintf("%q %s", e.Item, e.Reason)
	if e.Item == "" {
		s = e.Reason
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// ParseRankList parses "all" or numbers and ranges between commas or spaces: "0,2-4", "3 1". Its error is a *RankError.
func ParseRankList(s string) (RankList, error) {
	if strings.EqualFold(strings.TrimSpace(s), "all") {
		return AllRanks, nil
	}
	var l RankList
	for part := range strings.SplitSeq(s, ",") {
		items := strings.Fields(part)
		if len(items) == 0 && strings.TrimSpace(s) != "" {
			return RankList{}, &RankError{Item: s, Reason: "has an empty entry", Hint: "write numbers like 0,2-4"}
		}
		for _, item := range items {
			sp, err := parseSpan(item)
			if err != nil {
				return RankList{}, err
			}
			l.spans = append(l.spans, sp)
		}
	}
	if len(l.spans) == 0 {
		return RankList{}, &RankError{Reason: "empty list", Hint: "write all, or numbers like 0,2-4"}
	}
	return l, nil
}

// RankListOf is the list of these ranks, in this order.
func RankListOf(ranks ...int) RankList {
	var l RankList
	for _, r := range ranks {
		if n := len(l.spans); n > 0 && l.spans[n-1].last+1 == r {
			l.spans[n-1].last = r
		} else {
			l.spans = append(l.spans, span{r, r})
		}
	}
	return l
}

func parseSpan(item string) (span, error) {
	fail := func(reason, hint string) (span, error) {
		return span{}, &RankError{Item: item, Reason: reason, Hint: hint}
	}
	first, last, isRange := strings.Cut(item, "-")
	if !isRange {
		last = first
	}
	switch {
	case strings.EqualFold(item, "all"):
		return fail("stands alone", "write just all, or numbers like 0,2-4")
	case isRange && first == "":
		return fail("is negative", "ranks count from 0")
	case !allDigits(first) || !allDigits(last):
		return fail("is not a number or range", "write all, or numbers like 0,2-4")
	}
	a, aErr := strconv.Atoi(first)
	b, bErr := strconv.Atoi(last)
	switch {
	case aErr != nil || bErr != nil || a > MaxRank || b > MaxRank:
		return fail(fmt.Sprintf("goes beyond %d", MaxRank), "")
	case a > b:
		return fail("runs backwards", fmt.Sprintf("write %d-%d", b, a))
	}
	return span{a, b}, nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// IsZero reports whether no list was given.
func (l RankList) IsZero() bool { return !l.all && l.spans == nil }

// All reports whether the list is "all".
func (l RankList) All() bool { return l.all }

// Contains reports whether rank is in the list.
func (l RankList) Contains(rank int) bool {
	return l.all && rank >= 0 || slices.ContainsFunc(l.spans, func(s span) bool { return s.first <= rank && rank <= s.last })
}

// Max is the largest rank in the list; -1 for "all" and for no list.
func (l RankList) Max() int {
	m := -1
	for _, s := range l.spans {
		m = max(m, s.last)
	}
	return m
}

// Written yields the ranks in the order written, repetitions included; nothing for "all".
func (l RankList) Written() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, s := range l.spans {
			for r := s.first; r <= s.last; r++ {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Of returns the ranks of the list that a pool of worldSize ranks has, in ascending order, each once.
func (l RankList) Of(worldSize int) []int {
	spans := l.merged()
	if l.all {
		spans = []span{{0, worldSize - 1}}
	}
	var ranks []int
	for _, s := range spans {
		for r := s.first; r <= min(s.last, worldSize-1); r++ {
			ranks = append(ranks, r)
		}
	}
	return ranks
}

// Equal reports whether both lists are the same set.
func (l RankList) Equal(m RankList) bool {
	return l.all == m.all && slices.Equal(l.merged(), m.merged())
}

// String is the canonical spelling of the set: "all", ascending like "0,2-4", or "" for no list.
func (l RankList) String() string {
	if l.all {
		return "all"
	}
	var b strings.Builder
	for i, s := range l.merged() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s.first))
		if s.last > s.first {
			b.WriteString("-" + strconv.Itoa(s.last))
		}
	}
	return b.String()
}

// merged returns the fewest spans that make up the set, ascending.
func (l RankList) merged() []span {
	spans := slices.Clone(l.spans)
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}
