package lsp

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// note is what the tests keep of a mark.
type note struct{ mark }

// marksFixture is a store of marks over one document, and a layer of notes.
type marksFixture struct {
	*boardFixture
	marks *marks
	notes *layer[*note]
}

func newMarksFixture(t *testing.T, text string) *marksFixture {
	b := newBoardFixture(t, text)
	client := &rpc.Client{}
	client.Can.TextDocument = &protocol.TextDocumentClientCapabilities{PublishDiagnostics: &protocol.PublishDiagnosticsClientCapabilities{
		DiagnosticsCapabilities: protocol.DiagnosticsCapabilities{RelatedInformation: new(true)},
	}}
	s := &server{docs: b.docs, board: b.board, client: client}
	s.config = newConfiguration(s)
	m := newMarks(s)
	return &marksFixture{b, m, newLayer[*note](m, true)}
}

// note leaves a mark at a line of a cell as it is now, counted from the cell's first.
func (f *marksFixture) note(index, line int, text string) *note {
	c, ok := f.doc().File.Cell(index)
	if !ok {
		f.t.Fatalf("there is no cell %d", index)
	}
	n := &note{mark{
		spot: spotAt(anchor{cellKey{boardURI, f.doc().ID(c)}, docs.TextOf(c), line}), severity: protocol.DiagnosticSeverityWarning, code: "note",
		text: func(Settings) string { return text },
	}}
	f.notes.add(n)
	return n
}

// want compares what is said in the document with lines such as "2 text".
func (f *marksFixture) want(what string, want ...string) []finding {
	f.t.Helper()
	found := f.marks.foundIn(f.doc(), protocol.Range{End: protocol.Position{Line: 1000}})
	var got []string
	for _, d := range found {
		got = append(got, fmt.Sprintf("%d %s", d.Range.Start.Line, d.Message))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("%s: %s", what, diff)
	}
	return found
}

// A mark moves with its line, and is shown while its cell, and the one on whose account it is there, are as they were.
func TestMarksFollowTheText(t *testing.T) {
	f := newMarksFixture(t, "x\n# %%\ny\nz\n")
	n := f.note(2, 2, "z")
	f.want("at first", "3 z")
	f.edit(0, 0, "import a\n")
	f.want("a line above", "4 z")
	f.edit(3, 4, "why\n")
	f.want("the cell is another one")
	f.edit(3, 4, "y\n")
	f.want("it is as it was", "4 z")

	first, _ := f.doc().File.Cell(1)
	n.owner = anchor{cellKey: cellKey{boardURI, f.doc().ID(first)}, text: docs.TextOf(first)}
	f.want("with an owner", "4 z")
	f.edit(0, 1, "import b\n")
	f.want("the owner is another one")
}

// Features have a layer each: one says nothing of the marks of another. What the text says by itself comes first.
func TestLayersOfMarks(t *testing.T) {
	f := newMarksFixture(t, "x\n# %%\ny\n")
	other := newLayer[*note](f.marks, false)
	f.marks.addSource(source{text: func(doc *docs.Snapshot, c cells.Cell) []finding {
		return []finding{{Diagnostic: newDiagnostic(doc.LineRange(c.Line()), protocol.DiagnosticSeverityHint, "text", "cell")}}
	}})
	a, b := f.note(1, 0, "a"), f.note(1, 0, "b")
	c := f.note(2, 1, "c")
	other.set(&note{a.mark})
	f.want("all", "0 cell", "0 a", "0 b", "0 a", "1 cell", "2 c")
	f.notes.drop(func(n *note) bool { return n == b })
	f.want("without b", "0 cell", "0 a", "0 a", "1 cell", "2 c")
	f.notes.set(b)
	f.want("b in the place of all others", "0 cell", "0 b", "0 a", "1 cell", "2 c")
	if !f.marks.dirty[boardURI][b.at.cell] {
		t.Error("what has changed is not to be published")
	}
	c.unopened = true
	f.notes.forget(func(cellKey) bool { return true })
	f.want("what is said of files that are not open is not forgotten", "0 cell", "0 a", "1 cell", "2 c")
	if n := len(f.notes.of(b.key())); n > 0 {
		t.Errorf("%d notes are left", n)
	}
}

// A mark refers to other places where they are now, and says what may be done about it.
func TestMarksReferAndRemedy(t *testing.T) {
	f := newMarksFixture(t, "x\n# %%\ny\n")
	a, b := f.note(1, 0, "a"), f.note(2, 1, "b")
	file := spot{uri: uri.File("/elsewhere.py"), line: 7}
	a.related = []related{{&b.spot, "here"}, {&file, "there"}}
	b.remedy = func() remedy { return remedy{hung: "run"} }
	f.edit(1, 1, "\n")
	found := f.want("both", "0 a", "3 b")
	var got []string
	for _, r := range found[0].RelatedInformation {
		got = append(got, fmt.Sprintf("%s:%d %s", r.Location.URI, r.Location.Range.Start.Line, r.Message))
	}
	if diff := cmp.Diff([]string{"file:///a.py:3 here", "file:///elsewhere.py:6 there"}, got); diff != "" {
		t.Error(diff)
	}
	if found[0].remedy.hung != "" || found[1].remedy.hung != "run" {
		t.Errorf("the remedies are %+v and %+v", found[0].remedy, found[1].remedy)
	}
}
