package docs

import (
	"cmp"
	"slices"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
)

// Snapshot is one version of an open document. It is immutable: a request, a run or a feature reads one snapshot from beginning to end,
// whatever is typed meanwhile.
type Snapshot struct {
	URI      uri.URI
	Path     string // of the file, or of the notebook that it is a cell of; "" if the document has none yet
	Version  int32
	Language string
	File     *cells.File

	encoding cells.Encoding
	ids      []CellID // of the cells of File, in order
}

// Offset returns the byte offset of one of the client's positions. A position outside of the document is moved inside, as LSP says.
func (d *Snapshot) Offset(p protocol.Position) int {
	return d.File.Offset(cells.Position{Line: int(p.Line), Column: int(p.Character)}, d.encoding)
}

// Position returns the client's position of a byte offset.
func (d *Snapshot) Position(offset int) protocol.Position {
	p := d.File.Position(offset, d.encoding)
	return protocol.Position{Line: uint32(p.Line), Character: uint32(p.Column)}
}

// Range returns the client's range of a range of bytes.
func (d *Snapshot) Range(r cells.Range) protocol.Range {
	return protocol.Range{Start: d.Position(r.Start), End: d.Position(r.End)}
}

// LineRange returns the range of one line without its terminator. line counts from 1; beyond the document it is the nearest end.
func (d *Snapshot) LineRange(line int) protocol.Range {
	start := d.File.Offset(cells.Position{Line: line - 1}, cells.UTF8)
	end := d.File.Offset(cells.Position{Line: line - 1, Column: d.File.Size()}, cells.UTF8)
	return d.Range(cells.Range{Start: start, End: end})
}

// CellAt is the cell at a position.
func (d *Snapshot) CellAt(p protocol.Position) (cells.Cell, bool) { return d.File.CellAt(d.Offset(p)) }

// IDs are the identities of the snapshot's cells, in order. The caller must not change them.
func (d *Snapshot) IDs() []CellID { return d.ids }

// ID is the identity of one of the snapshot's cells.
func (d *Snapshot) ID(c cells.Cell) CellID { return d.ids[c.Index()-1] }

// Find returns the cell with an identity; ok is false if this version of the document has none.
func (d *Snapshot) Find(id CellID) (c cells.Cell, ok bool) {
	i := slices.Index(d.ids, id)
	if id == 0 || i < 0 {
		return cells.Cell{}, false
	}
	return d.File.Cell(i + 1)
}

// IsModule reports whether the document is an ordinary module: a person sees no cells in it.
func (d *Snapshot) IsModule() bool {
	if d.File.Len() > 1 {
		return false
	}
	c, ok := d.File.Cell(1)
	return !ok || !c.HasHeader() && len(c.Magics()) == 0
}

// Name is the file name in the document's code objects and tracebacks: the file's path, or the document's uri if it has no file of its own.
func (d *Snapshot) Name() string {
	if InNotebook(d.URI) {
		return string(d.URI)
	}
	return cmp.Or(d.Path, string(d.URI))
}
