package lsp

import (
	"strings"

	"dipls/cells"
	"dipls/lsp/docs"
)

// section is a cell and the deeper cells that follow it, up to the next one that is not deeper.
type section struct {
	cell   cells.Cell
	parent int // index of the section around it; -1 if there is none
	last   int // index of the last section in it: its own, if no deeper cell follows
}

// maxDepth is how deeply sections may be nested. Nobody writes that many; it protects clients that do not bound nesting.
const maxDepth = 16

// outline returns the sections of a file, one for each cell, in order. The text before the first marker has no sections in it.
func outline(f *cells.File) []section {
	sections := make([]section, 0, f.Len())
	var around []int // sections that are open, outermost first
	for c := range f.Cells() {
		for len(around) > 0 && depthOf(sections[around[len(around)-1]].cell) >= depthOf(c) {
			around = around[:len(around)-1]
		}
		i := len(sections)
		parent := -1
		for _, a := range around {
			sections[a].last = i
			parent = a
		}
		sections = append(sections, section{c, parent, i})
		if c.HasHeader() {
			around = append(around, i)
		}
	}
	return sections
}

func depthOf(c cells.Cell) int { return min(c.Depth(), maxDepth) }

// end returns where a section ends: before the terminator of its last line, unless it ends with the file.
func (n section) end(d *docs.Snapshot, sections []section) int {
	end := sections[n.last].cell.Range().End
	if end < d.File.Size() {
		end-- // a caret that stands before the next marker is in the next section
	}
	return end
}

// contentEnd returns where a cell's text ends without the blank lines at its end.
func contentEnd(c cells.Cell) int {
	return c.BodyRange().Start + len(strings.TrimRight(c.Body(), " \t\f\r\n"))
}
