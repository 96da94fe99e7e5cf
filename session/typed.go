package session

import (
	"strings"

	"dipls/cells"
)

// CellOfTyped is a cell of a text that somebody has typed at a prompt: it is of no file, and goes on the target unless it says itself where. Lines that have
// nothing but our own magics are the local namespace's. ok is as for [CellOf].
func CellOfTyped(cell cells.Cell, on cells.Target) (c Cell, ok bool) {
	if c, ok = CellOf("", cell); !ok {
		return c, false
	}
	switch {
	case c.Directive.Target.Where != cells.None:
	case onlyMagics(cell.Body()):
		c.Target = cells.Target{Where: cells.Local}
	default:
		c.Target = on
	}
	if c.Cell, c.Source = 0, ""; c.Title == "" {
		c.Title, _, _ = strings.Cut(strings.TrimSpace(c.Code), "\n")
	}
	return c, true
}

// onlyMagics reports whether a text has nothing but lines with our own magics.
func onlyMagics(text string) bool {
	for line := range strings.Lines(text) {
		if m, ok := cells.ReadMagic(line); strings.TrimSpace(line) != "" && (!ok || m.Cell) {
			return false
		}
	}
	return true
}
