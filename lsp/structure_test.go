package lsp_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// symbol is a DocumentSymbol, or what is there of a SymbolInformation.
type symbol struct {
	Name           string
	Detail         string
	Kind           int
	Range          lsptest.Range
	SelectionRange lsptest.Range
	Children       []symbol
	ContainerName  string
	Location       struct{ Range lsptest.Range }
}

type foldingRange struct {
	StartLine, EndLine int
	Kind               string
}

type selectionRange struct {
	Range  lsptest.Range
	Parent *selectionRange
}

// Symbols, folding ranges and, at marks, selection ranges.
func TestStructure(t *testing.T) {
	forFiles(t, "structure", func(t *testing.T, e *lsptest.Editor, m *lsptest.Marked) {
		var list []symbol
		must(t, e.Call("textDocument/documentSymbol", inDocument(e, "a.py"), &list))
		m.Golden(t, "symbols", writeSymbols(list, ""))

		var folds []foldingRange
		must(t, e.Call("textDocument/foldingRange", inDocument(e, "a.py"), &folds))
		var b strings.Builder
		for _, f := range folds {
			fmt.Fprintf(&b, "%d-%d %s\n", f.StartLine, f.EndLine, f.Kind)
		}
		m.Golden(t, "folding", b.String())

		params := inDocument(e, "a.py")
		positions := []lsptest.Position{}
		for _, mark := range m.Kinds("select") {
			positions = append(positions, mark.Range.Start)
		}
		params["positions"] = positions
		var chains []selectionRange
		must(t, e.Call("textDocument/selectionRange", params, &chains))
		if len(chains) != len(positions) {
			t.Fatalf("%d selections for %d positions", len(chains), len(positions))
		}
		b.Reset()
		for i, at := range positions {
			b.WriteString(place(at) + ":")
			for r := &chains[i]; r != nil; r = r.Parent {
				fmt.Fprintf(&b, " %s-%s", place(r.Range.Start), place(r.Range.End))
			}
			b.WriteString("\n")
		}
		m.Golden(t, "selection", b.String())
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func place(p lsptest.Position) string { return fmt.Sprintf("%d.%d", p.Line, p.Character) }

func writeSymbols(list []symbol, indent string) string {
	var b strings.Builder
	for _, y := range list {
		if y.SelectionRange == (lsptest.Range{}) && y.Range == (lsptest.Range{}) {
			fmt.Fprintf(&b, "%q in %q kind %d %s-%s\n", y.Name, y.ContainerName, y.Kind, place(y.Location.Range.Start), place(y.Location.Range.End))
			continue
		}
		fmt.Fprintf(&b, "%s%q kind %d %s-%s header %s-%s", indent, y.Name, y.Kind, place(y.Range.Start), place(y.Range.End),
			place(y.SelectionRange.Start), place(y.SelectionRange.End))
		if y.Detail != "" {
			fmt.Fprintf(&b, " %s", y.Detail)
		}
		b.WriteString("\n" + writeSymbols(y.Children, indent+"  "))
	}
	return b.String()
}

// What LSP asks of ranges holds whatever is in a file: children lie in their parents, a header in its symbol, a position in its selection.
func TestStructureNests(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	lines := []string{
		"# %%", "# %%% Deeper 🚀", "# %%%% [markdown]", "# %%dip", "  # %%%% indented", "x = '🚀'", "", "   ", "\t# text", "# ---", "'''",
		"# " + strings.Repeat("%", 40),
	}
	for _, encoding := range []string{"utf-8", "utf-16", "utf-32"} {
		e := lsptest.Start(t, lsptest.Options{Server: inProcess(t), Encodings: []string{encoding}, Capabilities: nesting})
		for i := range 60 {
			name := fmt.Sprintf("%d.py", i)
			var text strings.Builder
			for range random.IntN(40) {
				text.WriteString(lines[random.IntN(len(lines))])
				text.WriteString([]string{"\n", "\r\n", "\n", "\r"}[random.IntN(4)])
			}
			e.Open(name, text.String())
			var list []symbol
			must(t, e.Call("textDocument/documentSymbol", inDocument(e, name), &list))
			checkSymbols(t, list, lsptest.Range{End: lsptest.Position{Line: 1 << 20}})

			params := inDocument(e, name)
			at := lsptest.Position{Line: random.IntN(45), Character: random.IntN(3)}
			params["positions"] = []lsptest.Position{at, {}, {Line: 1 << 30, Character: 1 << 30}}
			var chains []selectionRange
			must(t, e.Call("textDocument/selectionRange", params, &chains))
			for _, r := range chains {
				for ; r.Parent != nil; r = *r.Parent {
					if r.Range == r.Parent.Range || !within(r.Range, r.Parent.Range) {
						t.Fatalf("%q at %v: %v is not in %v", text.String(), at, r.Range, r.Parent.Range)
					}
				}
			}
			var folds []foldingRange
			must(t, e.Call("textDocument/foldingRange", inDocument(e, name), &folds))
			for _, f := range folds {
				if f.StartLine >= f.EndLine {
					t.Fatalf("%q: %+v", text.String(), f)
				}
			}
			e.Close(name)
		}
	}
}

// nesting is what a client says that knows trees of symbols.
var nesting = lsptest.Object{"textDocument": lsptest.Object{"documentSymbol": lsptest.Object{"hierarchicalDocumentSymbolSupport": true}}}

func checkSymbols(t *testing.T, list []symbol, around lsptest.Range) {
	t.Helper()
	for i, y := range list {
		if strings.TrimSpace(y.Name) == "" || !within(y.SelectionRange, y.Range) || !within(y.Range, around) {
			t.Fatalf("%+v in %v", y, around)
		}
		if i > 0 && !ordered(list[i-1].Range.End, y.Range.Start) {
			t.Fatalf("%+v overlaps %+v", list[i-1], y)
		}
		checkSymbols(t, y.Children, y.Range)
	}
}

func within(r, around lsptest.Range) bool {
	return ordered(around.Start, r.Start) && ordered(r.Start, r.End) && ordered(r.End, around.End)
}

func ordered(p, q lsptest.Position) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Character <= q.Character
}
