package lsp

import (
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/lsp/docs"
)

// anchor is a line of a cell as it was when the cell ran.
type anchor struct {
	cellKey
	text docs.CellText // of the cell
	line int           // 0: the cell's first line
}

// in returns where the line is now, 1-based. c is the cell with the anchor's identity; ok is false if its code has changed.
func (a anchor) in(c cells.Cell) (line int, ok bool) {
	if !a.text.SameCode(docs.TextOf(c)) {
		return 0, false
	}
	return c.Line() + a.line, true
}

// headerOf returns the first line of a run's cell.
func headerOf(r Run) anchor { return anchor{cellKey: cellKey{r.Doc, r.Cell}, text: r.text} }

// anchorNow returns the anchor of a line of a document as it is now. line is 1-based.
func anchorNow(doc *docs.Snapshot, line int) (anchor, bool) {
	c, ok := doc.File.CellAt(doc.File.Offset(cells.Position{Line: line - 1}, cells.UTF8))
	if !ok || line < c.Line() || line > c.EndLine() {
		return anchor{}, false
	}
	return anchor{cellKey{doc.URI, doc.ID(c)}, docs.TextOf(c), line - c.Line()}, true
}

// spot is a place in a document, or in a file that is not open.
type spot struct {
	uri  uri.URI // "": it is nowhere
	line int     // 1-based, as it was; used where the text is not known
	tied bool    // at has the place
	at   anchor
}

// spotAt makes a spot that is tied to a cell.
func spotAt(at anchor) spot { return spot{uri: at.doc, tied: true, at: at} }

// spotOf returns the spot of a run's frame in a document. If no cell of the document ran that line, it was imported, and its place in the present text
// counts.
func (b *board) spotOf(doc *docs.Snapshot, r Run, frame event.Frame) spot {
	p := spot{uri: doc.URI, line: frame.Line}
	if p.at, p.tied = b.anchor(doc.URI, r, frame); !p.tied {
		p.at, p.tied = anchorNow(doc, frame.Line)
	}
	return p
}

// key returns the cell of the spot, or cell 0 of its document.
func (p *spot) key() cellKey { return cellKey{p.uri, p.at.cell} }

// location returns where the spot is now; ok is false if it is nowhere, or its text has been edited.
func (p *spot) location(open docs.View) (location protocol.Location, ok bool) {
	if p.uri == "" {
		return location, false
	}
	doc := open[p.uri]
	if !p.tied || doc == nil {
		line := uint32(max(p.line, 1) - 1)
		return protocol.Location{URI: p.uri, Range: protocol.Range{Start: protocol.Position{Line: line}, End: protocol.Position{Line: line + 1}}}, true
	}
	c, ok := doc.Find(p.at.cell)
	if !ok {
		return location, false
	}
	line, ok := p.at.in(c)
	if !ok {
		return location, false
	}
	return protocol.Location{URI: p.uri, Range: doc.CodeRange(c, line, "")}, true
}
