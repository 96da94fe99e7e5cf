package view

import (
	"slices"
	"strings"

	"dipls/internal/clean"
	"dipls/internal/ranklist"
)

// Limits of what [Apart.Lines] tells.
const (
	maxApart     = 8   // lines
	maxApartText = 200 // characters of a text in a line
)

// Apart collects the texts of failures that have the same [event.Failure.Signature].
type Apart struct {
	texts []string         // each once
	who   [][]ranklist.Who // has said it
}

// Add adds what a process has said.
func (a *Apart) Add(who ranklist.Who, text string) {
	i := slices.Index(a.texts, text)
	if i < 0 {
		i = len(a.texts)
		a.texts, a.who = append(a.texts, text), append(a.who, nil)
	}
	a.who[i] = append(a.who[i], who)
}

// Lines tells what differs, as in "ranks 1-3: loss 0.5", for some of the processes; none if nothing differs. name names processes.
func (a *Apart) Lines(of []ranklist.Who, name func([]ranklist.Who) string) []string {
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
	first := func(i int) ranklist.Who { return slices.MinFunc(a.who[i], ranklist.Who.Compare) }
	slices.SortStableFunc(order, func(i, j int) int { return first(i).Compare(first(j)) })
	for _, i := range order {
		who := slices.DeleteFunc(slices.Clone(a.who[i]), func(w ranklist.Who) bool { return !slices.Contains(of, w) })
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
