// Package docs holds the documents that an editor has open: immutable snapshots of their versions, and the identity of their cells from one version to
// the next. It knows nothing of runs, features and connections. Positions and ranges are those of the client, in the encoding that it has chosen.
package docs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/cells"
)

// Change says that a document's text has changed.
type Change struct {
	URI            uri.URI
	Opened, Closed bool // it was opened or closed; neither: it was edited
}

// Gone are cells of a document that will never be back. Cells nil means all of them.
type Gone struct {
	Doc   uri.URI
	Cells []CellID
}

// View is all open documents at one moment. It is never changed.
type View map[uri.URI]*Snapshot

// maxClosed is how many closed documents are remembered. When one is reopened, what is known of its cells is shown again.
const maxClosed = 64

// Store has the current versions of all open documents, and remembers those that were closed. Only the client's notifications and
// [Store.Reparse] change it, one after the other; anybody may read it at any time.
type Store struct {
	// Encoding is how the client counts columns. It is set before the first document is opened.
	Encoding cells.Encoding
	// Markers are the further markers of cells in a file, which may change: see [Store.Reparse]. Nil: there are none.
	Markers func(path string) *cells.Markers
	// Renamed is told that a document which was only located by its file's name has another uri, before it is opened under that. Nil: nobody is.
	Renamed func(from, to uri.URI)

	log     *zap.Logger
	changed func(Change)
	gone    func(Gone)
	current atomic.Pointer[View] // replaced, never changed

	changing sync.Mutex // held while a document changes, and before mu

	mu     sync.Mutex // guards what follows
	ids    identities
	closed map[uri.URI]*Snapshot // the last version of documents that were closed
	order  []uri.URI             // of closed, oldest first
}

// New makes a store without documents. changed is called after every change of a text, when the store has it; gone, when cells will never be back.
func New(log *zap.Logger, changed func(Change), gone func(Gone)) *Store {
	s := &Store{log: log, changed: changed, gone: gone, closed: map[uri.URI]*Snapshot{}, ids: identities{lost: map[uri.URI][]lostCell{}, shift: map[uri.URI]int{}}}
	s.current.Store(&View{})
	return s
}

// View returns the documents that are open now.
func (s *Store) View() View { return *s.current.Load() }

// LastKnown returns a document as it is now, or was when it was closed; nil if it was never open, or closed long ago.
func (s *Store) LastKnown(u uri.URI) *Snapshot {
	if snapshot := s.View()[u]; snapshot != nil {
		return snapshot
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed[u]
}

// ByName returns the open document with a name, see [Snapshot.Name]; nil if there is none.
func (v View) ByName(name string) *Snapshot {
	for _, d := range v {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// ByCell is the open document that has a cell.
func (v View) ByCell(id CellID) (d *Snapshot, c cells.Cell, ok bool) {
	for _, d := range v {
		if c, ok := d.Find(id); ok {
			return d, c, true
		}
	}
	return nil, c, false
}

// DidOpen is textDocument/didOpen.
func (s *Store) DidOpen(_ context.Context, p *protocol.DidOpenTextDocumentParams) error {
	item := p.TextDocument
	if item.URI == "" {
		return errors.New("a document needs a uri")
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	path := PathOf(item.URI)
	next := &Snapshot{
		URI: item.URI, Path: path, Version: item.Version, Language: string(item.LanguageID),
		File: s.Parse(path, item.Text), encoding: s.Encoding,
	}
	s.mu.Lock()
	from := s.rename(next)
	s.mu.Unlock()
	if from != "" && s.Renamed != nil {
		s.Renamed(from, item.URI)
	}
	s.replace(s.LastKnown(item.URI), next, true)
	s.changed(Change{URI: item.URI, Opened: true})
	return nil
}

// DidChange is textDocument/didChange.
func (s *Store) DidChange(_ context.Context, p *protocol.DidChangeTextDocumentParams) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	old := s.View()[p.TextDocument.URI]
	if old == nil {
		return fmt.Errorf("%s is not open", p.TextDocument.URI)
	}
	if p.TextDocument.Version <= old.Version {
		s.log.Warn("a document's version does not grow", zap.String("uri", string(old.URI)),
			zap.Int32("from", old.Version), zap.Int32("to", p.TextDocument.Version))
	}
	next := *old
	next.Version = p.TextDocument.Version
	for _, c := range p.ContentChanges {
		switch c := c.(type) {
		case *protocol.TextDocumentContentChangePartial:
			next.File = next.File.Edit(next.Offset(c.Range.Start), next.Offset(c.Range.End), c.Text)
		case *protocol.TextDocumentContentChangeWholeDocument:
			next.File = next.File.Markers().Parse(c.Text)
		default:
			return fmt.Errorf("a change of %s that is neither a range nor the whole text", old.URI)
		}
	}
	s.replace(old, &next, false)
	s.changed(Change{URI: next.URI})
	return nil
}

// Parse parses the text of a file with the markers that it has now.
func (s *Store) Parse(path, text string) *cells.File {
	if s.Markers == nil {
		return cells.Parse(text)
	}
	return s.Markers(path).Parse(text)
}

// Reparse parses the open documents anew whose markers are others now.
func (s *Store) Reparse() {
	if s.Markers == nil {
		return
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	for u, old := range s.View() {
		if m := s.Markers(old.Path); !m.Equal(old.File.Markers()) {
			next := *old
			next.File = m.Parse(old.File.Text())
			s.replace(old, &next, false)
			s.changed(Change{URI: u})
		}
	}
}

// DidClose is textDocument/didClose.
func (s *Store) DidClose(_ context.Context, p *protocol.DidCloseTextDocumentParams) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	u := p.TextDocument.URI
	old := s.View()[u]
	if old == nil {
		return fmt.Errorf("%s is not open", u)
	}
	s.mu.Lock()
	forgotten := s.shelve(old)
	s.mu.Unlock()
	if forgotten != "" {
		s.gone(Gone{Doc: forgotten})
	}
	next := maps.Clone(s.View())
	delete(next, u)
	s.current.Store(&next)
	s.changed(Change{URI: u, Closed: true})
	return nil
}

// shelve remembers a document that is not open. To make room it forgets another one. mu is held.
func (s *Store) shelve(d *Snapshot) (forgotten uri.URI) {
	s.unshelve(d.URI)
	s.closed[d.URI] = d
	s.order = append(s.order, d.URI)
	if len(s.order) > maxClosed {
		forgotten = s.order[0]
		s.unshelve(forgotten)
		delete(s.ids.lost, forgotten)
		delete(s.ids.shift, forgotten)
	}
	return forgotten
}

// unshelve is the contrary. mu is held.
func (s *Store) unshelve(u uri.URI) {
	delete(s.closed, u)
	s.order = slices.DeleteFunc(s.order, func(o uri.URI) bool { return o == u })
}

// replace makes next the current version of a document. Its cells get the identities of the cells of old that they come from.
func (s *Store) replace(old, next *Snapshot, opened bool) {
	s.mu.Lock()
	if old == nil {
		old = &Snapshot{File: cells.Parse("")}
	}
	var forgotten []CellID
	next.ids, forgotten = s.ids.carry(next.URI, old, next.File, opened)
	s.unshelve(next.URI)
	s.mu.Unlock()
	if len(forgotten) > 0 {
		s.gone(Gone{next.URI, forgotten})
	}
	changed := maps.Clone(s.View())
	changed[next.URI] = next
	s.current.Store(&changed)
}

// notebookCell is the scheme of documents that are a cell of a notebook. Their uris have the path of the notebook's file, and a fragment that tells them
// apart. An authority names the machine as the editor's window knows it: it is this one.
const notebookCell = "vscode-notebook-cell"

// PathOf returns the path of a document's file, which is the notebook's for a cell of one; "" if it has none.
func PathOf(u uri.URI) string {
	switch {
	case u.IsFile():
		return u.FsPath()
	case InNotebook(u):
		return u.Path()
	}
	return ""
}

// InNotebook reports whether a document is a cell of a notebook. The notebook shows its outcome and its output.
func InNotebook(u uri.URI) bool { return u.Scheme() == notebookCell && filepath.IsAbs(u.Path()) }
