package docs

import (
	"testing"

	"go.lsp.dev/uri"

	"dipls/cells"
)

// textOf is the text of a cell of which somebody else has the source.
func textOf(source string) CellText {
	c, _ := cells.Parse(source).Cell(1)
	return TextOf(c)
}

// taken says the same of all cells.
func taken(is bool) func(uri.URI, CellID, CellText) bool {
	return func(uri.URI, CellID, CellText) bool { return is }
}

// located are cells that are located before their document is opened, and where they are then.
var located = []struct {
	what   string
	index  int
	source string
	file   string
	want   int // index of the cell; 0: it is not there
}{
	{"same place", 2, "# %%\nb\n", "# %%\na\n# %%\nb\n", 2},
	{"moved down", 1, "# %%\na\n", "# %%\nnew\n# %%\na\n", 2},
	{"the nearest of those that are alike", 3, "# %%\na\n", "# %%\na\n# %%\na\n# %%\na\n# %%\na\n", 3},
	{"retitled", 1, "# %% Train\na\n", "# %% Train it\na\n", 1},
	{"the title decides between those that are alike", 1, "# %% Two\na\n", "# %% One\na\n# %% Two\na\n", 2},
	{"edited, with a title", 1, "# %% Train\na\n", "# %%\nnew\n# %% Train\nb\n", 2},
	{"edited, without a title", 2, "# %%\na\n", "# %%\nx\n# %%\nb\n", 2},
	{"edited and moved, without a title", 2, "# %%\na\n", "# %%\nx\n", 0},
	{"deleted", 2, "# %% Train\na\n", "# %%\nx\n# %% Test\ny\n", 0},
	{"without a header", 1, "a\n", "a\n# %%\nb\n", 1},
}

// A cell that is located before its document is open is found when it is.
func TestLocateBeforeOpen(t *testing.T) {
	for _, test := range located {
		t.Run(test.what, func(t *testing.T) {
			f := newFixture(t)
			u, id := f.Locate("/a.py", test.index, textOf(test.source), nil)
			if again, same := f.Locate("/a.py", test.index, textOf(test.source), nil); u != testURI || again != u || same != id || id == 0 {
				t.Fatalf("%s %d, and again %s %d", u, id, again, same)
			}
			c, ok := f.open(testURI, test.file).Find(id)
			if ok != (test.want > 0) || ok && c.Index() != test.want {
				t.Errorf("it is cell %d (%v), want %d", c.Index(), ok, test.want)
			}
		})
	}
}

// In an open document a cell is found as it is; one that is not there is, once its text is.
func TestLocateInOpen(t *testing.T) {
	for _, test := range located {
		t.Run(test.what, func(t *testing.T) {
			f := newFixture(t)
			d := f.open(testURI, test.file)
			_, id := f.Locate("/a.py", test.index, textOf(test.source), taken(false))
			c, ok := d.Find(id)
			if ok != (test.want > 0) || ok && c.Index() != test.want {
				t.Errorf("it is cell %d (%v), want %d", c.Index(), ok, test.want)
			}
			if ok {
				return
			}
			if c, ok := f.set(testURI, test.file+test.source).Find(id); !ok || c.Index() != d.File.Len()+1 {
				t.Errorf("after it has come it is cell %d (%v)", c.Index(), ok)
			}
		})
	}
	f := newFixture(t)
	d := f.open(testURI, "# %%\nx\n")
	if _, id := f.Locate("/a.py", 1, textOf("# %%\ny\n"), taken(true)); id == d.IDs()[0] {
		t.Error("an untitled cell of which something better is known was taken for another one")
	}
}

// A cell that is edited between two looks at it is the same one.
func TestLocateEdited(t *testing.T) {
	f := newFixture(t)
	_, first := f.Locate("/a.py", 2, textOf("# %%\na\n"), nil)
	_, second := f.Locate("/a.py", 2, textOf("# %%\nb\n"), nil)
	_, other := f.Locate("/a.py", 3, textOf("# %%\nc\n"), nil)
	if first != second || other == first {
		t.Errorf("%d, %d and %d", first, second, other)
	}
	d := f.open(testURI, "# %%\nx\n# %%\nb\n# %%\nc\n")
	if ids := d.IDs(); ids[1] != first || ids[2] != other {
		t.Errorf("%v, want %d and %d", ids, first, other)
	}
}

// An untitled cell that was edited is found below what was put above, if one near it is known to have moved.
func TestLocateMovedAndEdited(t *testing.T) {
	for _, opened := range []bool{false, true} {
		f := newFixture(t)
		const now = "# %%\nnew\n# %%\na\n# %%\nb, edited\n"
		var d *Snapshot
		if opened {
			d = f.open(testURI, now)
		}
		_, a := f.Locate("/a.py", 1, textOf("# %%\na\n"), taken(false))
		_, b := f.Locate("/a.py", 2, textOf("# %%\nb\n"), taken(false))
		if !opened {
			d = f.open(testURI, now)
		}
		if ids := d.IDs(); ids[1] != a || ids[2] != b {
			t.Errorf("opened before: %v: %v, want %d and %d below", opened, ids, a, b)
		}
	}
}

// What cannot be a document has no cells, and clients may write uris in their own way.
func TestLocateNames(t *testing.T) {
	f := newFixture(t)
	if u, id := f.Locate("untitled:Untitled-1", 1, textOf("x\n"), nil); u != "" || id != 0 {
		t.Errorf("%s %d", u, id)
	}
	var from, to uri.URI
	f.Renamed = func(a, b uri.URI) { from, to = a, b }
	u, id := f.Locate("/a+b.py", 1, textOf("x\n"), nil)
	const written = "file:///a+b.py"
	if d := f.open(written, "x\n"); d.IDs()[0] != id || from != u || to != written {
		t.Errorf("%v, want %d; renamed from %s to %s", d.IDs(), id, from, to)
	}
	if f.LastKnown(u) != nil {
		t.Error("it is still known by its old uri")
	}
}

// What was located is forgotten when there is too much of it.
func TestLocateForgets(t *testing.T) {
	f := newFixture(t)
	for i := range maxLost + 1 {
		f.Locate("/a.py", i+1, textOf("# %%\nx\n"), nil)
	}
	if len(f.gone) != 1 || len(f.gone[0].Cells) != 1 {
		t.Errorf("gone: %v", f.gone)
	}
	for i := range maxClosed {
		f.Locate(string(rune('a'+i%26))+string(rune('a'+i/26)), 1, textOf("x\n"), nil)
		f.Locate("/"+string(rune('a'+i%26))+string(rune('a'+i/26)), 1, textOf("x\n"), nil)
	}
	if f.LastKnown(testURI) != nil || len(f.closed) != maxClosed {
		t.Errorf("%d closed documents", len(f.closed))
	}
}
