package docs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/cells"
)

const testURI = uri.URI("file:///a.py")

// fixture is a store whose changes and forgotten cells are recorded.
type fixture struct {
	*Store
	t       *testing.T
	changes []Change
	gone    []Gone
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t}
	f.Store = New(zap.NewNop(), func(c Change) { f.changes = append(f.changes, c) }, func(g Gone) { f.gone = append(f.gone, g) })
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) open(u uri.URI, text string) *Snapshot {
	f.t.Helper()
	f.must(f.DidOpen(f.t.Context(), &protocol.DidOpenTextDocumentParams{TextDocument: protocol.TextDocumentItem{URI: u, Version: 1, Text: text}}))
	return f.View()[u]
}

func (f *fixture) close(u uri.URI) {
	f.t.Helper()
	f.must(f.DidClose(f.t.Context(), &protocol.DidCloseTextDocumentParams{TextDocument: protocol.TextDocumentIdentifier{URI: u}}))
}

// set replaces the whole text.
func (f *fixture) set(u uri.URI, text string) *Snapshot {
	f.t.Helper()
	id := protocol.VersionedTextDocumentIdentifier{TextDocumentIdentifier: protocol.TextDocumentIdentifier{URI: u}, Version: f.View()[u].Version + 1}
	f.must(f.DidChange(f.t.Context(), &protocol.DidChangeTextDocumentParams{TextDocument: id, ContentChanges: []protocol.TextDocumentContentChangeEvent{
		&protocol.TextDocumentContentChangeWholeDocument{Text: text},
	}}))
	return f.View()[u]
}

// A snapshot stays as it is whatever becomes of the document, and every change is told once it can be seen.
func TestSnapshotsStay(t *testing.T) {
	f := newFixture(t)
	first := f.open(testURI, "x\n# %%\ny\n")
	second := f.set(testURI, "x\n# %%\nz\n")
	f.close(testURI)
	if first.File.Text() != "x\n# %%\ny\n" || first.Version != 1 || second.File.Text() != "x\n# %%\nz\n" || second.Version != 2 {
		t.Errorf("got %d %q, %d %q", first.Version, first.File.Text(), second.Version, second.File.Text())
	}
	if !slices.Equal(first.IDs(), second.IDs()) {
		t.Errorf("the cells %v became %v", first.IDs(), second.IDs())
	}
	if want := []Change{{URI: testURI, Opened: true}, {URI: testURI}, {URI: testURI, Closed: true}}; !slices.Equal(f.changes, want) {
		t.Errorf("told %v, want %v", f.changes, want)
	}
	if f.View()[testURI] != nil || f.LastKnown(testURI) != second {
		t.Error("the document is not closed, or not remembered")
	}
}

// What will never be back is told and let go of: cells that disappeared long ago, and documents that were closed long ago.
func TestForgets(t *testing.T) {
	f := newFixture(t)
	kept := f.open(testURI, "x\n# %%\ny\n").IDs()[0]
	for i := range 2 * maxLost {
		f.set(testURI, fmt.Sprintf("x\n# %%%%\n%d\n", i))
		f.set(testURI, "x\n")
		f.set(testURI, "x\n# %%\ny\n")
	}
	if n := len(f.ids.lost[testURI]); n > maxLost {
		t.Errorf("%d cells that have disappeared are remembered", n)
	}
	for _, g := range f.gone {
		if g.Doc != testURI || len(g.Cells) == 0 || slices.Contains(g.Cells, kept) {
			t.Fatalf("told %+v", g)
		}
	}
	f.gone = nil
	for i := range 2 * maxClosed {
		f.close(testURI)
		f.open(testURI, "x\n") // again and again: not the one that was closed longest ago
		u := uri.URI(fmt.Sprintf("file:///%d.py", i))
		f.open(u, "x\n")
		f.close(u)
	}
	if slices.ContainsFunc(f.gone, func(g Gone) bool { return g.Doc == testURI && g.Cells == nil }) {
		t.Error("a document that is open is forgotten")
	}
	f.close(testURI)
	for i := range maxClosed {
		u := uri.URI(fmt.Sprintf("file:///again-%d.py", i))
		f.open(u, "x\n")
		f.close(u)
	}
	if !slices.ContainsFunc(f.gone, func(g Gone) bool { return g.Doc == testURI && g.Cells == nil }) || f.LastKnown(testURI) != nil || len(f.ids.lost) > 0 {
		t.Errorf("a document that was closed long ago is remembered, or cells of one: %d", len(f.ids.lost))
	}
}

// Names of variables stand in code and in line magics.
func TestNameAt(t *testing.T) {
	f := newFixture(t)
	const text = "# %%\nloss = model.loss('text')  # comment\n# %dipush été\n"
	d := f.open(testURI, text)
	c, _ := d.File.Cell(1)
	for at, want := range map[string]string{"loss": "loss", "oss =": "loss", "del.": "model", "text": "", "comment": "", "= ": "", "été": "été"} {
		_, _, word := d.NameAt(c, strings.Index(text, at))
		if got := text[word.Start:word.End]; got != want {
			t.Errorf("at %q: %q, want %q", at, got, want)
		}
	}
	if r := d.CodeRange(c, 2, "model"); r != d.Range(cells.Range{Start: strings.Index(text, "model"), End: strings.Index(text, ".loss")}) {
		t.Errorf("the only model is at %v", r)
	}
	if r := d.CodeRange(c, 2, "loss"); r.Start.Character != 0 { // it is there twice
		t.Errorf("the line is at %v", r)
	}
}
