package ranklist

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Max is the largest number that a List can hold.
const Max = 1<<20 - 1

// A List is a set of ranks (or GPUs, or cells: anything counted by small integers) that remembers the order in which it
// was written. The zero value says nothing: no list was given.
type List struct {
	all   bool
	spans []span       // as written
	ends  []fromTheEnd // what only a pool's size makes ranks of
	hosts []onHosts    // what only a pool's hosts make ranks of
}

// A span is the ranks from first to last, both included.
type span struct{ first, last int }

// A fromTheEnd is what Python would write between brackets behind a list of all ranks: -1 is the last of them, ::2 every second one.
type fromTheEnd struct {
	text        string
	start, stop int // negative: counted from the end
	hasStop     bool
	step        int // 0: start is the one rank that is meant
}

// All is the list "all".
var All = List{all: true}

// An Error says which part of a rank list cannot be, why, and what may have been meant.
type Error struct {
	Item   string // the offending part, "" if the list is empty or the reason names it
	Reason string // such as "runs backwards"
	Hint   string // such as "write 1-3"; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%q %s", e.Item, e.Reason)
	if e.Item == "" {
		s = e.Reason
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Parse parses "all" or numbers and ranges between commas or spaces: "0,2-4", "3 1". It is for GPUs and cells; what a user writes for ranks goes to
// [ParseRanks]. Its error is an *Error.
func Parse(s string) (List, error) {
	if strings.EqualFold(strings.TrimSpace(s), "all") {
		return All, nil
	}
	var l List
	for part := range strings.SplitSeq(s, ",") {
		items := strings.Fields(part)
		if len(items) == 0 && strings.TrimSpace(s) != "" {
			return List{}, &Error{Item: s, Reason: "has an empty entry", Hint: "write numbers like 0,2-4"}
		}
		for _, item := range items {
			sp, err := parseSpan(item)
			if err != nil {
				return List{}, err
			}
			l.spans = append(l.spans, sp)
		}
	}
	if len(l.spans) == 0 {
		return List{}, &Error{Reason: "empty list", Hint: "write all, or numbers like 0,2-4"}
	}
	return l, nil
}

// ParseRanks parses what Parse does and, as ipyparallel's --targets, what counts from the end of a pool: negative ranks
// ("-1" is the last one) and slices ("::2", "1:3", ":-1"), all of it also in brackets, as Python writes lists; and what goes by hosts: "host:gpu2", all
// ranks there, and "each:0", the first rank of each host. Its error is an *Error.
func ParseRanks(s string) (List, error) {
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		s = strings.TrimSpace(inner[:len(inner)-1])
	}
	var ends []fromTheEnd
	var hosts []onHosts
	var rest []string
	for part := range strings.SplitSeq(s, ",") {
		plain := []string{}
		for _, item := range strings.Fields(part) {
			if !strings.Contains(item, ":") && !strings.HasPrefix(item, "-") {
				plain = append(plain, item)
				continue
			}
			if on, is, err := parseOnHosts(item); is {
				if err != nil {
					return List{}, err
				}
				hosts = append(hosts, on)
				continue
			}
			end, err := parseFromTheEnd(item)
			if err != nil {
				return List{}, err
			}
			ends = append(ends, end)
		}
		if len(plain) > 0 || strings.TrimSpace(part) == "" {
			rest = append(rest, strings.Join(plain, " "))
		}
	}
	if len(ends)+len(hosts) > 0 && len(rest) == 0 {
		return List{ends: ends, hosts: hosts}, nil
	}
	l, err := Parse(strings.Join(rest, ","))
	if err == nil && l.all && len(ends)+len(hosts) > 0 {
		return List{}, &Error{Item: "all", Reason: "stands alone", Hint: "write just all, or numbers like 0,2-4"}
	}
	l.ends, l.hosts = ends, hosts
	return l, err
}

func parseFromTheEnd(item string) (fromTheEnd, error) {
	fail := func(reason string) (fromTheEnd, error) {
		return fromTheEnd{}, &Error{Item: item, Reason: reason, Hint: "write ranks like 0,2-4, -1 for the last, or a slice like ::2"}
	}
	parts := strings.Split(item, ":")
	e := fromTheEnd{text: item, step: 1}
	numbers := [3]int{0, 0, 1}
	for i, part := range parts {
		if i > 2 {
			return fail("is no slice")
		}
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil || !allDigits(strings.TrimPrefix(part, "-")) {
			return fail("is not a number, range or slice")
		}
		if n > Max || n < -Max {
			return fail(fmt.Sprintf("goes beyond %d", Max))
		}
		numbers[i] = n
	}
	e.start, e.stop, e.step = numbers[0], numbers[1], numbers[2]
	switch {
	case len(parts) == 1:
		e.step = 0
	case e.step < 1:
		return fail("has a step below 1")
	}
	e.hasStop = len(parts) > 1 && parts[1] != ""
	return e, nil
}

// of are the ranks that are meant of so many, ascending. A single one that there is not is itself, a negative number.
func (e fromTheEnd) of(worldSize int) []int {
	at := func(n int) int {
		if n < 0 {
			n += worldSize
		}
		return n
	}
	if e.step == 0 {
		return []int{at(e.start)}
	}
	stop := worldSize
	if e.hasStop {
		stop = min(at(e.stop), worldSize)
	}
	var ranks []int
	for r := max(at(e.start), 0); r < stop; r += e.step {
		ranks = append(ranks, r)
	}
	return ranks
}

// Of is the list of these ranks, in this order.
func Of(ranks ...int) List {
	var l List
	for _, r := range ranks {
		l.add(r)
	}
	return l
}

// add appends a rank.
func (l *List) add(r int) {
	if n := len(l.spans); n > 0 && l.spans[n-1].last+1 == r {
		l.spans[n-1].last = r
	} else {
		l.spans = append(l.spans, span{first: r, last: r})
	}
}

func parseSpan(item string) (span, error) {
	fail := func(reason, hint string) (span, error) {
		return span{}, &Error{Item: item, Reason: reason, Hint: hint}
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
	case aErr != nil || bErr != nil || a > Max || b > Max:
		return fail(fmt.Sprintf("goes beyond %d", Max), "")
	case a > b:
		return fail("runs backwards", fmt.Sprintf("write %d-%d", b, a))
	}
	return span{first: a, last: b}, nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// IsZero reports whether no list was given.
func (l List) IsZero() bool { return !l.all && l.spans == nil && !l.NeedsPool() }

// In is the list for a pool, in which nothing counts from the end, or goes by hosts, any more. on is the name of the host of each rank. What is none of
// them is an *Error.
func (l List) In(on []string) (List, error) {
	if !l.NeedsPool() {
		return l, nil
	}
	worldSize := len(on)
	in := List{spans: slices.Clone(l.spans)}
	for _, h := range l.hosts {
		ranks, err := h.of(on)
		if err != nil {
			return List{}, err
		}
		in.spans = append(in.spans, Of(ranks...).spans...)
	}
	for _, e := range l.ends {
		ranks := e.of(worldSize)
		if len(ranks) == 0 || ranks[0] < 0 {
			return List{}, &Error{Item: e.text, Reason: fmt.Sprintf("is none of %d ranks", worldSize)}
		}
		in.spans = append(in.spans, Of(ranks...).spans...)
	}
	return in, nil
}

// NeedsPool reports whether only a pool tells which ranks are meant: see [List.In].
func (l List) NeedsPool() bool { return l.ends != nil || l.hosts != nil }

// All reports whether the list is "all".
func (l List) All() bool { return l.all }

// Contains reports whether rank is in the list, as far as the pool's size need not be known.
func (l List) Contains(rank int) bool {
	return l.all && rank >= 0 || slices.ContainsFunc(l.spans, func(s span) bool { return s.first <= rank && rank <= s.last })
}

// Max is the largest rank in the list; -1 for "all" and for no list.
func (l List) Max() int {
	m := -1
	for _, s := range l.spans {
		m = max(m, s.last)
	}
	return m
}

// Written yields the ranks in the order written, repetitions included; nothing for "all".
func (l List) Written() iter.Seq[int] {
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
func (l List) Of(worldSize int) []int {
	spans := l.merged()
	if l.all {
		spans = []span{{first: 0, last: worldSize - 1}}
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
func (l List) Equal(m List) bool {
	return l.all == m.all && slices.Equal(l.merged(), m.merged()) && slices.Equal(l.ends, m.ends) && slices.Equal(l.hosts, m.hosts)
}

// String is the canonical spelling of the set: "all", ascending like "0,2-4", or "" for no list.
func (l List) String() string {
	if l.all {
		return "all"
	}
	var b strings.Builder
	b.WriteString(spell(l.merged()))
	add := func(text string) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text)
	}
	for _, e := range l.ends {
		add(e.text)
	}
	for _, h := range l.hosts {
		add(h.text)
	}
	return b.String()
}

// Name names the ranks for people: "all ranks", "rank 3", "ranks 0,2-4", and as far as they count from the end "rank -1" or "ranks ::2".
func (l List) Name() string {
	switch ends := len(l.ends); {
	case l.all:
		return "all ranks"
	case l.hosts != nil:
		return "ranks " + l.String()
	case ends == 0:
		return nameSpans(l.merged())
	case ends == 1 && l.spans == nil && l.ends[0].step == 0:
		return "rank " + l.String()
	}
	return "ranks " + l.String()
}

// MarshalText writes the list as String does, for JSON, too.
func (l List) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is the inverse of MarshalText. It takes all that [ParseRanks] does, and "" for no list.
func (l *List) UnmarshalText(text []byte) (err error) {
	*l = List{}
	if len(text) > 0 {
		*l, err = ParseRanks(string(text))
	}
	return err
}

// merged returns the fewest spans that make up the set, ascending.
func (l List) merged() []span { return merge(slices.Clone(l.spans)) }

// merge returns the fewest spans that make up a set, ascending. It may reuse those that it is given.
func merge(spans []span) []span {
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

// spell writes merged spans: "0,2-4".
func spell(spans []span) string {
	var b strings.Builder
	for i, s := range spans {
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
