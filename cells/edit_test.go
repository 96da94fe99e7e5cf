package cells

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// snapshot is everything that a File tells.
type snapshot struct {
	Text     string
	Lines    int
	Target   string
	Cells    []cellSnapshot
	Problems []Problem
}

type cellSnapshot struct {
	View        View
	Range, Body Range
	Directive   string
	Autodip     string
	Alone       bool
	Fault       Problem
	Lines       []MagicLine
	Metadata    []Metadatum
	Magics      []Magic
	Rewritten   string
	RewriteLine int
}

func snap(f *File) snapshot {
	s := snapshot{Text: f.Text(), Lines: f.Lines(), Target: f.Target().String(), Problems: f.Problems()}
	for c := range f.Cells() {
		d := c.Directive()
		text, line := c.Rewrite()
		autodip, _ := c.Autodip()
		fault, _ := c.Fault()
		s.Cells = append(s.Cells, cellSnapshot{
			View: c.View(), Range: c.Range(), Body: c.BodyRange(), Metadata: c.Metadata(), Magics: c.Magics(),
			Directive: fmt.Sprintf("%v see=%v quiet=%v app=%q px=%v noblock=%v verbose=%v", d.Target, d.See, d.Quiet, d.AppCommand, d.Px, d.NoBlock, d.Verbose),
			Autodip:   autodip.String(), Alone: c.LeavesAutodip(), Fault: fault, Lines: slices.Collect(c.MagicLines()),
			Rewritten: text, RewriteLine: line,
		})
	}
	return s
}

// checkFile checks what holds of every file.
func checkFile(t *testing.T, f *File, text string) {
	t.Helper()
	if got := f.Text(); got != text {
		t.Fatalf("nodes give back %q, want %q", got, text)
	}
	end, lines, index := 0, 1, 0
	for c := range f.Cells() {
		index++
		r, body := c.Range(), c.BodyRange()
		if index == 1 {
			end = r.Start // the gap
			lines = c.Line()
			if got := f.Position(end, UTF8); got.Line+1 != lines {
				t.Fatalf("first cell's line is %d, its position %v", lines, got)
			}
		}
		if c.Index() != index || r.Start != end || r.Len() <= 0 || c.Line() != lines {
			t.Fatalf("cell %d is at line %d, %v, numbered %d; want line %d, offset %d", index, c.Line(), r, c.Index(), lines, end)
		}
		for first := range f.CellsFrom(index) {
			if first != c {
				t.Fatalf("the cells from %d on begin with %d", index, first.Index())
			}
			break
		}
		if body.Start < r.Start || body.End != r.End || text[body.Start:body.End] != c.Body() {
			t.Fatalf("body %v of %v", body, r)
		}
		end, lines = r.End, c.EndLine()+1
		source, line := c.Rewrite()
		want := strings.Count(newlines.Replace(c.Body()), "\n")
		if c.n.help.Len() > 0 {
			want = 2 // the magic, and a body for it
		}
		if got := strings.Count(source, "\n"); got != want || line < c.Line() || line > c.EndLine()+1 {
			t.Fatalf("rewritten body has %d newlines from line %d on, want %d: %q", got, line, want, source)
		}
		if got, want := c.Runs(), c.Type() == CodeCell && strings.TrimSpace(source) != ""; got != want {
			t.Fatalf("there is something to run: %v, want %v: %q", got, want, source)
		}
		for _, m := range c.Magics() {
			if m.Range.Start < r.Start || m.Range.End > r.End || !strings.HasSuffix(text[m.Range.Start:m.Range.End], m.Args) {
				t.Fatalf("magic %+v outside of %v", m, r)
			}
		}
		for _, m := range c.Metadata() {
			if m.Range.Start < r.Start || m.Range.End > body.Start {
				t.Fatalf("metadata %+v outside of %v", m, r)
			}
		}
		if again, ok := f.Cell(index); !ok || again != c {
			t.Fatalf("Cell(%d) is another one", index)
		}
		for _, at := range []int{r.Start, r.End - 1} {
			if again, ok := f.CellAt(at); !ok || again != c {
				t.Fatalf("CellAt(%d) is not cell %d", at, index)
			}
		}
	}
	if index != f.Len() || index > 0 && end != len(text) {
		t.Fatalf("%d cells up to %d; want %d up to %d", index, end, f.Len(), len(text))
	}
	for _, p := range f.Problems() {
		if p.Range.Start < 0 || p.Range.Start > p.Range.End || p.Range.End > len(text) || p.Code == "" || p.Message == "" ||
			strings.ContainsAny(p.Message, "\r\n") || p.Severity == 0 {
			t.Fatalf("problem %+v", p)
		}
	}
}

func checkEdit(t *testing.T, text string, start, end int, insert string) {
	t.Helper()
	edited := text[:start] + insert + text[end:]
	got, want := Parse(text).Edit(start, end, insert), Parse(edited)
	checkFile(t, got, edited)
	if want, got := snap(want), snap(got); !reflect.DeepEqual(want, got) {
		t.Fatalf("edit [%d,%d) %q of %q: parse is -, edit is +\n%s", start, end, insert, text, cmp.Diff(want, got))
	}
}

// pieces are what random files and edits are made of: everything that the scanner or the grammar treats specially.
var pieces = []string{
	"for x in y:\n", "    z\n", "    # %% in a block\n", "# %%time\n", "# %%bash\n", "# ls\n", "# %env A=b\n", "# !ls\n", "# %%dipp\n",
	"# %% [md]\n", "else:\n", "#%%Title\n", "# %% dip local\n", "\"\"\"x\n", "'x\n", "# %dipsh x\n", "# In[1]\n", "#dip_localy\n",
	"# %%\n", "# %%", "#%% title\n", "  # %%% deep\n", "# In[3]:\n", "# <codecell>\n", "# %% [markdown]\n",
	"# %% x target=\"ranks:0-3\"\n", "# %%dip everywhere --see all\n", "# %%px\n", "%%dip\n", "# %%dip -h\n", "%%bash\n", "#dip_locally\n",
	"# %dipush x\n", "%dipull y\n", "%autodip on --see all\n", "# %autodip off\n", "%autopx\n", "%makedip -n0 -a '\n",
	"%time f(\n", "!ls 'a\n", "# ---\n", "#!/bin/sh\n", "# coding: x\n", "# comment\n",
	"# dip: remote\n", "# dip: remot\n", "# %%rank 0,2\n",
	"x = 1\n", "def f():\n", "(", ")", "[", "]", "{", "}", ":", "'", "\"", "'''", "\"\"\"", "f'", "f\"\"\"", "rb'''", "\\", "\\\n",
	"\n", "\r", "\r\n", "\t", "\f", " ", "\x00", "\xff", "é", "😀", "\ufeff", "#", "%", "\\N{", "a", "{{", "}}",
}

func randomText(r *rand.Rand, n int) string {
	var b strings.Builder
	for range r.IntN(n + 1) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// A chain of edits, each applied to the result of the last, equals a parse of the text so far at every step.
func TestEditsEqualParse(t *testing.T) {
	train, err := os.ReadFile(filepath.Join("..", "testdata", "cells", "train.py"))
	if err != nil {
		t.Fatal(err)
	}
	steps := 60
	if testing.Short() {
		steps = 10
	}
	for name, first := range map[string]func(*rand.Rand) string{
		"nothing":  func(*rand.Rand) string { return "" },
		"rubbish":  func(r *rand.Rand) string { return randomText(r, 500) },
		"a file":   func(*rand.Rand) string { return string(train) },
		"many":     func(*rand.Rand) string { return strings.Repeat("# %% a\nf(x)\n# %%dip\ng('''\n''')\n", 150) },
		"unclosed": func(*rand.Rand) string { return strings.Repeat("# %% a\nf(x\n\n", 40) },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				r := rand.New(rand.NewPCG(seed, 7))
				text := first(r)
				f := Parse(text)
				for range steps {
					start := r.IntN(len(text) + 1)
					end := min(len(text), start+max(0, r.IntN(30)-15))
					insert := randomText(r, 3)
					before := f.Problems()
					g := f.Edit(start, end, insert)
					edited := text[:start] + insert + text[end:]
					checkFile(t, g, edited)
					if want, got := snap(Parse(edited)), snap(g); !reflect.DeepEqual(want, got) {
						t.Fatalf("seed %d: edit [%d,%d) %q of %q: parse is -, edit is +\n%s", seed, start, end, insert, text, cmp.Diff(want, got))
					}
					if f.Text() != text || !reflect.DeepEqual(before, f.Problems()) {
						t.Fatalf("seed %d: the edit changed the file it was applied to", seed)
					}
					f, text = g, edited
				}
			}
		})
	}
}

// An edit makes new nodes around it only.
func TestEditSharesNodes(t *testing.T) {
	f := Parse(bigFile())
	at := f.Size() / 2
	g := f.Edit(at, at, "x")
	old := map[*node]bool{}
	for n := range f.all(0) {
		old[n.node] = true
	}
	fresh := 0
	for n := range g.all(0) {
		if !old[n.node] {
			fresh++
		}
	}
	if fresh == 0 || fresh > 2 {
		t.Errorf("%d new nodes of %d", fresh, g.nodes)
	}
}
