package view

import (
	"slices"
	"strings"

	"dipls/internal/clean"
)

// Limits of what [Apart.Lines] tells.
const (
	maxApart     = 8   // lines
	maxApartText = 200 // characters of a text in a line
)

// Apart collects the texts of failures that have the same [event.Failure.Signature].
type Apart struct {
	texts []string // each once
	ranks [][]int  // that have said it
}

// Add adds what a rank has said.
func (a *Apart) Add(rank int, text string) {
	i := slices.Index(a.texts, text)
	if i < 0 {
		i = len(a.texts)
		a.texts, a.ranks = append(a.texts, text), append(a.ranks, nil)
	}
	a.ranks[i] = append(a.ranks[i], rank)
}

// Lines tells what differs, as in "ranks 1-3: loss 0.5", for some of the ranks, with the names that name gives; none if nothing differs.
func (a *Apart) Lines(ranks []int, name func(ranks []int) string) []string {
	if len(a.texts) < 2 {
		return nil
	}
	split := make([][]string, len(a.texts)) // all into the same number of lines: line breaks cannot differ
	for i, text := range a.texts {
		split[i] = strings.Split(text, "\n")
	}
	at := 0 // the first line that differs
	for at < len(split[0])-1 && !slices.ContainsFunc(split, func(other []string) bool { return other[at] != split[0][at] }) {
		at++
	}
	var lines []string
	order := make([]int, len(a.texts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return slices.Min(a.ranks[i]) - slices.Min(a.ranks[j]) })
	for _, i := range order {
		all := a.ranks[i]
		who := slices.DeleteFunc(slices.Clone(all), func(rank int) bool { return !slices.Contains(ranks, rank) })
		if len(who) == 0 {
			continue
		}
		if len(lines) == maxApart {
			return append(lines, "…")
		}
		text := []rune(clean.Line(strings.TrimSpace(split[i][at])))
		if len(text) > maxApartText {
			text = append(text[:maxApartText], '…')
		}
		lines = append(lines, name(who)+": "+string(text))
	}
	return lines
}
