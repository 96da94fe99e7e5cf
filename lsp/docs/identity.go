package docs

import (
	"slices"
	"strings"

	"go.lsp.dev/uri"

	"dipls/cells"
)

// CellID identifies a cell as long as a person would call it the same one. A cell keeps its ID when lines are inserted above it, when its text is
// edited, when it is moved, when a formatter replaces the whole text, and when the file is closed and reopened. Everything that is known of a cell
// is kept under its ID. IDs are never used again. Zero names no cell.
type CellID uint64

// CellText is a cell's text with its title and marker, but without its place. It tells whether a cell is still as it was when it ran.
type CellText struct {
	title, body, directive string
	typ                    cells.CellType
	depth                  int
}

// TextOf is a cell's text.
func TextOf(c cells.Cell) CellText {
	return CellText{c.Title(), c.Body(), c.Directive().String(), c.Type(), c.Depth()}
}

// SameCode reports whether two cells run the same code. Their titles may differ, and so may blank lines at the end, as when a cell is added below.
func (t CellText) SameCode(u CellText) bool {
	return t.directive == u.directive && t.typ == u.typ && strings.TrimRight(t.body, blanks) == strings.TrimRight(u.body, blanks)
}

// blanks are the characters of blank lines.
const blanks = " \t\f\r\n"

// header is what identifies a cell whose body has changed.
type header struct {
	title string
	typ   cells.CellType
	depth int
}

func (t CellText) header() header { return header{t.title, t.typ, t.depth} }

// maxLost is how many cells of a document are remembered after they have disappeared. They may be pasted again, or come back by an undo.
const maxLost = 256

// identities gives cells their ids.
type identities struct {
	last CellID
	lost map[uri.URI][]lostCell // oldest first
	// shift is by how much the cell that was located last has moved down in a document. Those around it probably have, too.
	shift map[uri.URI]int
}

type lostCell struct {
	id      CellID
	text    CellText
	index   int  // where it was, if it is located
	located bool // it is only known from elsewhere, see [Store.Locate]
}

// carry gives the cells of a document's new version their ids: those of the old cells that they come from, or fresh ones. Cells that have changed are
// matched by their text, then by their header, then by their order. No cell will have the forgotten ids again. In a document that has just been opened,
// cells that were located elsewhere are looked for first.
func (g *identities) carry(u uri.URI, old *Snapshot, file *cells.File, opened bool) (ids, forgotten []CellID) {
	first, last := file.Shared(old.File)
	ids = make([]CellID, file.Len())
	copy(ids, old.ids[:first])
	copy(ids[len(ids)-last:], old.ids[len(old.ids)-last:])

	var left []lostCell
	for i := first; i < len(old.ids)-last; i++ {
		c, _ := old.File.Cell(i + 1)
		left = append(left, lostCell{id: old.ids[i], text: TextOf(c)})
	}
	came := ids[first : len(ids)-last]
	texts := make([]CellText, len(came))
	for i := range came {
		c, _ := file.Cell(first + i + 1)
		texts[i] = TextOf(c)
	}
	left = match(came, texts, left, func(t CellText) CellText { return t })
	g.settle(u, first, came, texts, lostCell.isText)
	if lost := g.lost[u]; len(lost) > 0 {
		g.lost[u] = match(came, texts, lost, func(t CellText) CellText { return t })
	}
	if opened {
		g.settle(u, first, came, texts, lostCell.isHeader)
	}
	left = match(came, texts, left, CellText.header)
	left = match(came, texts, left, func(CellText) struct{} { return struct{}{} })
	forgotten = g.lose(u, left)
	for i := range came {
		if came[i] == 0 {
			g.last++
			came[i] = g.last
		}
	}
	return ids, forgotten
}

// match gives each cell without an id the one of an old cell with the same key, in order. It returns the old cells that are left.
func match[K comparable](ids []CellID, texts []CellText, from []lostCell, key func(CellText) K) (left []lostCell) {
	if len(ids) == 0 || len(from) == 0 {
		return from
	}
	waiting := make(map[K][]int, len(ids)) // indices of cells without an id
	for i, t := range texts {
		if ids[i] == 0 {
			waiting[key(t)] = append(waiting[key(t)], i)
		}
	}
	for _, c := range from {
		k := key(c.text)
		if w := waiting[k]; len(w) > 0 {
			ids[w[0]] = c.id
			waiting[k] = w[1:]
			continue
		}
		left = append(left, c)
	}
	return left
}

// lose remembers cells that have disappeared. To make room it forgets the oldest ones, and returns their ids.
func (g *identities) lose(u uri.URI, gone []lostCell) (forgotten []CellID) {
	if len(gone) == 0 {
		return nil
	}
	lost := append(g.lost[u], gone...)
	over := max(0, len(lost)-maxLost)
	for _, c := range lost[:over] {
		forgotten = append(forgotten, c.id)
	}
	g.lost[u] = slices.Clone(lost[over:]) // else what is forgotten stays in memory
	return forgotten
}
