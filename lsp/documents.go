package lsp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/cells"
)

// Snapshot is one version of an open document. It is immutable: a request, a run or a feature reads one snapshot from beginning to end,
// whatever is typed meanwhile.
type Snapshot struct {
	URI      uri.URI
	Path     string // of the file; "" if the document has none yet
	Version  int32
	Language string
	File     *cells.File

	encoding cells.Encoding
	ids      []cellID // of the cells of File, in order
}

// Offset is the byte offset of a position that the client has sent. What lies outside of the document is clamped as LSP says.
func (d *Snapshot) Offset(p protocol.Position) int {
	return d.File.Offset(cells.Position{Line: int(p.Line), Column: int(p.Character)}, d.encoding)
}

// Position is the client's position of a byte offset.
func (d *Snapshot) Position(offset int) protocol.Position {
	p := d.File.Position(offset, d.encoding)
	return protocol.Position{Line: uint32(p.Line), Character: uint32(p.Column)}
}

// Range is the client's range of a range of bytes.
func (d *Snapshot) Range(r cells.Range) protocol.Range {
	return protocol.Range{Start: d.Position(r.Start), End: d.Position(r.End)}
}

// LineRange is the range of one line without its terminator; line counts from 1. A line that is not there is the nearest end.
func (d *Snapshot) LineRange(line int) protocol.Range {
	start := d.File.Offset(cells.Position{Line: line - 1}, cells.UTF8)
	end := d.File.Offset(cells.Position{Line: line - 1, Column: d.File.Size()}, cells.UTF8)
	return d.Range(cells.Range{Start: start, End: end})
}

// CellAt is the cell at a position.
func (d *Snapshot) CellAt(p protocol.Position) (cells.Cell, bool) { return d.File.CellAt(d.Offset(p)) }

// IDs are the identities of the snapshot's cells, in order. They are not to be changed.
func (d *Snapshot) IDs() []cellID { return d.ids }

// ID is the identity of one of the snapshot's cells.
func (d *Snapshot) ID(c cells.Cell) cellID { return d.ids[c.Index()-1] }

// Find is the cell that has an identity; ok is false if this version of the document has none.
func (d *Snapshot) Find(id cellID) (c cells.Cell, ok bool) {
	i := slices.Index(d.ids, id)
	if id == 0 || i < 0 {
		return cells.Cell{}, false
	}
	return d.File.Cell(i + 1)
}

// Change tells that a document's text is not as it was.
type Change struct {
	URI            uri.URI
	Opened, Closed bool
}

// goneCells are cells of a document that will never be back; nil means all of them.
type goneCells struct {
	doc   uri.URI
	cells []cellID
}

// view is all open documents at one moment.
type view map[uri.URI]*Snapshot

// maxClosed is how many closed documents are remembered, so that what is known of their cells is there again when they are reopened.
const maxClosed = 64

// documents are the open documents. They change only by notifications, which are handled one after the other.
type documents struct {
	log      *zap.Logger
	encoding cells.Encoding        // set by initialize
	changed  func(Change)          // told of every change, after it can be seen
	gone     func(goneCells)       // told of what will never be back
	current  atomic.Pointer[view]  // replaced, never changed
	mu       sync.Mutex            // guards what follows
	ids      identities            //
	closed   map[uri.URI]*Snapshot // the last version of documents that were closed
	order    []uri.URI             // of closed, oldest first
}

// newDocuments makes a store without documents. changed is told of every change of a text, after it can be seen; gone of what will never be back.
func newDocuments(log *zap.Logger, changed func(Change), gone func(goneCells)) *documents {
	d := &documents{log: log, changed: changed, gone: gone, closed: map[uri.URI]*Snapshot{}, ids: identities{lost: map[uri.URI][]lostCell{}}}
	d.current.Store(&view{})
	return d
}

// view is what is open now.
func (d *documents) view() view { return *d.current.Load() }

// lastKnown is a document as it is now or was when it was closed; nil if it never was open, or long ago.
func (d *documents) lastKnown(u uri.URI) *Snapshot {
	if snapshot := d.view()[u]; snapshot != nil {
		return snapshot
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed[u]
}

// Name is what the document's code is compiled under, and tracebacks call it: the file's path, or without a file the document's uri.
func (d *Snapshot) Name() string { return cmp.Or(d.Path, string(d.URI)) }

// byName is the open document of a name.
func (v view) byName(name string) *Snapshot {
	for _, d := range v {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

func (d *documents) didOpen(_ context.Context, p *protocol.DidOpenTextDocumentParams) error {
	item := p.TextDocument
	if item.URI == "" {
		return jsonrpc2.NewError(jsonrpc2.InvalidParams, "a document needs a uri")
	}
	next := &Snapshot{
		URI: item.URI, Path: pathOf(item.URI), Version: item.Version, Language: string(item.LanguageID),
		File: cells.Parse(item.Text), encoding: d.encoding,
	}
	old := d.lastKnown(item.URI)
	d.replace(old, next)
	d.changed(Change{URI: item.URI, Opened: true})
	return nil
}

func (d *documents) didChange(_ context.Context, p *protocol.DidChangeTextDocumentParams) error {
	old := d.view()[p.TextDocument.URI]
	if old == nil {
		return fmt.Errorf("%s is not open", p.TextDocument.URI)
	}
	if p.TextDocument.Version <= old.Version {
		d.log.Warn("a document's version does not grow", zap.String("uri", string(old.URI)),
			zap.Int32("from", old.Version), zap.Int32("to", p.TextDocument.Version))
	}
	next := *old
	next.Version = p.TextDocument.Version
	for _, c := range p.ContentChanges {
		switch c := c.(type) {
		case *protocol.TextDocumentContentChangePartial:
			next.File = next.File.Edit(next.Offset(c.Range.Start), next.Offset(c.Range.End), c.Text)
		case *protocol.TextDocumentContentChangeWholeDocument:
			next.File = cells.Parse(c.Text)
		default:
			return fmt.Errorf("a change of %s that is neither a range nor the whole text", old.URI)
		}
	}
	d.replace(old, &next)
	d.changed(Change{URI: next.URI})
	return nil
}

func (d *documents) didClose(_ context.Context, p *protocol.DidCloseTextDocumentParams) error {
	u := p.TextDocument.URI
	old := d.view()[u]
	if old == nil {
		return fmt.Errorf("%s is not open", u)
	}
	d.mu.Lock()
	d.closed[u] = old
	d.order = append(slices.DeleteFunc(d.order, func(o uri.URI) bool { return o == u }), u)
	var forgotten uri.URI
	if len(d.order) > maxClosed {
		forgotten = d.order[0]
		delete(d.closed, forgotten)
		delete(d.ids.lost, forgotten)
		d.order = d.order[1:]
	}
	d.mu.Unlock()
	if forgotten != "" {
		d.gone(goneCells{doc: forgotten})
	}
	next := maps.Clone(d.view())
	delete(next, u)
	d.current.Store(&next)
	d.changed(Change{URI: u, Closed: true})
	return nil
}

// replace makes next the current version of a document, whose cells are those of old as far as they can be recognized.
func (d *documents) replace(old, next *Snapshot) {
	d.mu.Lock()
	if old == nil {
		old = &Snapshot{File: cells.Parse("")}
	}
	var forgotten []cellID
	next.ids, forgotten = d.ids.carry(next.URI, old, next.File)
	delete(d.closed, next.URI)
	d.order = slices.DeleteFunc(d.order, func(o uri.URI) bool { return o == next.URI })
	d.mu.Unlock()
	if len(forgotten) > 0 {
		d.gone(goneCells{next.URI, forgotten})
	}
	changed := maps.Clone(d.view())
	changed[next.URI] = next
	d.current.Store(&changed)
}

// pathOf is the path of a document's file; "" if it is none.
func pathOf(u uri.URI) string {
	if !u.IsFile() {
		return ""
	}
	return u.FsPath()
}

// byCell is the open document that has a cell.
func (v view) byCell(id cellID) (d *Snapshot, c cells.Cell, ok bool) {
	for _, d := range v {
		if c, ok := d.Find(id); ok {
			return d, c, true
		}
	}
	return nil, c, false
}
