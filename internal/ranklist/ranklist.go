// Package ranklist has the words for ranks: sets of them as they are written ([List]: "0,2-4"), one process, a rank or the local namespace
// ([Who]), and how both are named for people ([Name]: "rank 3", "local and ranks 0-3"). The agent and the VS Code extension have their own,
// held to the same examples: testdata/ranklist.json.
package ranklist

import "fmt"

// maxPieces is how many pieces a list may have in a sentence.
const maxPieces = 16

// Name names processes for people: "local", "rank 3", "ranks 0,2-4", "local and ranks 0-3". Ranks alone may also be given by their numbers.
// Ranks that would take more than 16 pieces are counted: "17 ranks".
func Name[P int | Who](who []P) string { return name(who, "local", maxPieces) }

// NameEach is Name, however many pieces it takes.
func NameEach[P int | Who](who []P) string { return name(who, "local", len(who)) }

// InSentence is Name with "the local namespace" for "local", as a subject or object needs it.
func InSentence(who []Who) string { return name(who, "the local namespace", maxPieces) }

func name[P int | Who](who []P, local string, most int) string {
	isLocal, ranks := split(who)
	text := ""
	if spans := ranks.merged(); len(spans) > most {
		text = fmt.Sprintf("%d ranks", count(spans))
	} else if len(spans) > 0 {
		text = nameSpans(spans)
	}
	switch {
	case isLocal && text != "":
		return local + " and " + text
	case isLocal:
		return local
	}
	return text
}

// Split tells whether the local namespace is among processes, and lists the ranks that are.
func Split(who []Who) (local bool, ranks List) { return split(who) }

func split[P int | Who](who []P) (local bool, ranks List) {
	for _, p := range who {
		if n, ok := number(p); ok {
			ranks.add(n)
		} else {
			local = true
		}
	}
	return local, ranks
}

// number is the number of a rank; ok is false for the local namespace.
func number[P int | Who](p P) (n int, ok bool) {
	if w, is := any(p).(Who); is {
		return w.Rank()
	}
	return any(p).(int), true
}

// count is how many ranks there are in merged spans.
func count(spans []span) int {
	n := 0
	for _, s := range spans {
		n += s.last - s.first + 1
	}
	return n
}

// nameSpans names the ranks of merged spans.
func nameSpans(spans []span) string {
	if len(spans) == 1 && spans[0].first == spans[0].last {
		return "rank " + spell(spans)
	}
	return "ranks " + spell(spans)
}
