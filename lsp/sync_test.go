package lsp_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// textOf is the text that the server has.
func textOf(e *lsptest.Editor, t *testing.T, name string) string {
	t.Helper()
	var text string
	if err := e.Call("test/text", lsptest.Object{"uri": e.URI(name)}, &text); err != nil {
		t.Fatal(err)
	}
	return text
}

// symbolsOf is a document's symbols, as JSON.
func symbolsOf(e *lsptest.Editor, t *testing.T, name string) string {
	t.Helper()
	var symbols json.RawMessage
	if err := e.Call("textDocument/documentSymbol", lsptest.Object{"textDocument": lsptest.Object{"uri": e.URI(name)}}, &symbols); err != nil {
		t.Fatal(err)
	}
	return string(symbols)
}

// After any number of edits, both sides have the same text, whatever positions are counted in.
func TestRandomEdits(t *testing.T) {
	pieces := []string{"", "x", "é", "日本", "🚀", "👩‍🔬", "\n", "# %% 🚀\n", "\n# %%dip\ny = '𝔘'\n", "\"\"\"", "(", ")", strings.Repeat("𝕏", 40)}
	for _, encoding := range []string{"utf-8", "utf-16", "utf-32"} {
		t.Run(encoding, func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: inProcess(t), Encodings: []string{"utf-7", encoding, "utf-8"}, Init: lsptest.Object{"prewarm": false}})
			if got := e.Caps["positionEncoding"]; got != encoding {
				t.Fatalf("the server chose %v", got)
			}
			random := rand.New(rand.NewPCG(7, 7))
			e.Open("a.py", "# %% 🚀\nx = '🚀' # é\n# %%\n")
			place := func() int { // at the beginning of a character
				text := e.Text("a.py")
				i := random.IntN(len(text) + 1)
				for i < len(text) && text[i]&0xc0 == 0x80 {
					i++
				}
				return i
			}
			edit := func() lsptest.Edit {
				a, b := place(), place()
				if a > b {
					a, b = b, a
				}
				if len(e.Text("a.py")) < 2000 {
					b = a // let it grow
				}
				return lsptest.Edit{
					Range: lsptest.Range{Start: e.Position("a.py", a), End: e.Position("a.py", b)},
					Text:  pieces[random.IntN(len(pieces))],
				}
			}
			for i := range 20_000 / 4 {
				e.Edits("a.py", 1+i%7, edit) // 4 on average
				if i%250 == 0 {
					if got := textOf(e, t, "a.py"); got != e.Text("a.py") {
						t.Fatalf("after %d changes the server has %q, the editor %q", i, got, e.Text("a.py"))
					}
				}
			}
			if got := textOf(e, t, "a.py"); got != e.Text("a.py") {
				t.Fatal("the texts differ")
			}
			got, text := symbolsOf(e, t, "a.py"), e.Text("a.py")
			e.Close("a.py")
			e.Open("a.py", text)
			if want := symbolsOf(e, t, "a.py"); got != want {
				t.Errorf("after the edits the symbols are %s, of the same text at once %s", got, want)
			}
		})
	}
}

// A client that names no encoding gets UTF-16.
func TestDefaultEncoding(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	if got := e.Caps["positionEncoding"]; got != "utf-16" {
		t.Errorf("%v", got)
	}
}

// A position that does not exist means the nearest one that does.
func TestAbsurdPositions(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	const huge = 1<<31 - 1
	for _, test := range []struct {
		start, end lsptest.Position
		want       string
	}{
		{lsptest.Position{Line: huge}, lsptest.Position{Line: huge, Character: huge}, "a🚀b\ncd\nX"},
		{lsptest.Position{Character: huge}, lsptest.Position{Character: huge}, "a🚀bX\ncd\n"},
		{lsptest.Position{Character: 2}, lsptest.Position{Character: 2}, "aX🚀b\ncd\n"}, // inside of the rocket
		{lsptest.Position{Line: 1, Character: 1}, lsptest.Position{}, "a🚀b\ncXd\n"},    // the end before the start
		{lsptest.Position{}, lsptest.Position{Line: huge}, "X"},
	} {
		e.Open("a.py", "a🚀b\ncd\n")
		e.Notify("textDocument/didChange", lsptest.Object{
			"textDocument": lsptest.Object{"uri": e.URI("a.py"), "version": 2},
			"contentChanges": []any{lsptest.Object{
				"range": lsptest.Object{"start": test.start, "end": test.end}, "text": "X",
			}},
		})
		if got := textOf(e, t, "a.py"); got != test.want {
			t.Errorf("%v to %v: %q, want %q", test.start, test.end, got, test.want)
		}
		e.Close("a.py")
	}
}

// A request sees the document as it was when the request came, and changes come in order.
func TestOrder(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	e.Open("a.py", "0\n")
	var asked []lsptest.Sent
	var want []string
	for i := range 2000 {
		e.SetText("a.py", fmt.Sprint(i, "\n"))
		if i%20 == 0 {
			asked = append(asked, e.Send("test/text", lsptest.Object{"uri": e.URI("a.py")}))
			want = append(want, e.Text("a.py"))
		}
	}
	for i, sent := range asked {
		var got string
		if err := e.Wait(sent, &got); err != nil || got != want[i] {
			t.Fatalf("%q, %v, want %q", got, err, want[i])
		}
	}
}

// Cells stay who they are: ids is a text and, for each of its cells, the letter of the cell of the first text that it is.
func TestCellIdentity(t *testing.T) {
	const text = "# %% a\n1\n# %% b\n2\n# %% c\n3\n"
	for _, test := range []struct {
		name string
		edit func(*lsptest.Editor)
		want string // new cells are numbered
	}{
		{"nothing", func(e *lsptest.Editor) {}, "a b c"},
		{"a body", func(e *lsptest.Editor) { e.Replace("t.py", "2\n", "22\n") }, "a b c"},
		{"a title", func(e *lsptest.Editor) { e.Replace("t.py", "# %% b", "# %% bee") }, "a b c"},
		{"lines above", func(e *lsptest.Editor) { e.Replace("t.py", "1\n", "1\n1\n1\n") }, "a b c"},
		{"a cell before", func(e *lsptest.Editor) { e.Replace("t.py", "# %% a", "# %% new\n0\n# %% a") }, "4 a b c"},
		{"text before all", func(e *lsptest.Editor) { e.Replace("t.py", "# %% a", "0\n# %% a") }, "4 a b c"},
		{"a cell between", func(e *lsptest.Editor) { e.Replace("t.py", "2\n", "2\n# %%\n0\n") }, "a b 4 c"},
		{"split", func(e *lsptest.Editor) { e.Replace("t.py", "# %% b\n2\n", "# %% b\n# %%\n2\n") }, "a b 4 c"},
		{"merged", func(e *lsptest.Editor) { e.Replace("t.py", "# %% b\n", "") }, "a c"},
		{"moved at once", func(e *lsptest.Editor) {
			e.SetText("t.py", "# %% c\n3\n# %% a\n1\n# %% b\n2\n")
		}, "c a b"},
		{"cut and pasted", func(e *lsptest.Editor) {
			e.Replace("t.py", "# %% a\n1\n", "")
			e.Replace("t.py", "3\n", "3\n# %% a\n1\n")
		}, "b c a"},
		{"deleted and brought back", func(e *lsptest.Editor) {
			e.Replace("t.py", "# %% b\n2\n", "")
			e.Replace("t.py", "# %% c\n", "# %% b\n2\n# %% c\n")
		}, "a b c"},
		{"formatted", func(e *lsptest.Editor) { e.SetText("t.py", "# %% a\n1 \n# %% b\n2 \n# %% c\n3 \n") }, "a b c"},
		{"copied", func(e *lsptest.Editor) { e.Replace("t.py", "3\n", "3\n# %% a\n1\n") }, "a b c 4"},
		{"reopened", func(e *lsptest.Editor) { e.Close("t.py"); e.Open("t.py", "# %% new\n"+text) }, "4 a b c"},
		{"swallowed by a string and freed", func(e *lsptest.Editor) {
			e.Replace("t.py", "1\n", "\"\"\"1\n")
			e.Replace("t.py", "\"\"\"1\n", "1\n")
		}, "a b c"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
			e.Open("t.py", text)
			test.edit(e)
			var ids []int
			if err := e.Call("test/ids", lsptest.Object{"uri": e.URI("t.py")}, &ids); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, id := range ids {
				names = append(names, map[bool]string{true: string(rune('a' + id - 1)), false: fmt.Sprint(id)}[id <= 3])
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
