// Package ranklist writes sets of ranks: "0,2-4", and for sentences "rank 2" or "ranks 0,2-4".
package ranklist

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxNamed is how many pieces a list may have in a sentence.
const maxNamed = 16

// A Span is the ranks from First to Last, both included.
type Span struct{ First, Last int }

// Merge returns the fewest spans that make up a set, ascending. It may reuse those that it is given.
func Merge(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, s.Last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// Spell writes merged spans: "0,2-4".
func Spell(spans []Span) string {
	var b strings.Builder
	for i, s := range spans {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s.First))
		if s.Last > s.First {
			b.WriteString("-" + strconv.Itoa(s.Last))
		}
	}
	return b.String()
}

// Name names ranks for a sentence: "rank 2", "ranks 0,2-4", or how many they are if that would be too long.
func Name(ranks []int) string {
	spans := make([]Span, len(ranks))
	for i, rank := range ranks {
		spans[i] = Span{rank, rank}
	}
	if spans = Merge(spans); len(spans) > maxNamed {
		return fmt.Sprintf("%d ranks", len(ranks))
	}
	return Named(Spell(spans))
}

// Named names the ranks of a list that is written already, for a sentence; it may count them from the end: "rank -1".
func Named(list string) string {
	if _, err := strconv.Atoi(list); err == nil {
		return "rank " + list
	}
	return "ranks " + list
}
