package lsp_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// at is the parameters of a request about the place in a document that stands before a "|" in a text of it.
func at(t *testing.T, e *lsptest.Editor, name, where string) lsptest.Object {
	t.Helper()
	before, after, ok := strings.Cut(where, "|")
	text := e.Text(name)
	if !ok || strings.Count(text, before+after) != 1 {
		t.Fatalf("%q occurs %d times", before+after, strings.Count(text, before+after))
	}
	params := inDocument(e, name)
	params["position"] = e.Position(name, strings.Index(text, before+after)+len(before))
	return params
}

// completionItem is one as the client sees it.
type completionItem struct {
	Label    string
	Kind     int
	Detail   string
	Data     any
	TextEdit struct {
		Range   lsptest.Range
		NewText string
	}
	Documentation struct{ Kind, Value string }
}

// completed is what the completions at a place make of its line, up to where the cursor stands after it.
func completed(t *testing.T, e *lsptest.Editor, name, where string) []string {
	t.Helper()
	items := itemsAt(t, e, name, where)
	var made []string
	for _, item := range items {
		line := strings.Split(e.Text(name), "\n")[item.TextEdit.Range.Start.Line]
		made = append(made, string([]rune(line)[:item.TextEdit.Range.Start.Character])+item.TextEdit.NewText)
	}
	return made
}

func itemsAt(t *testing.T, e *lsptest.Editor, name, where string) []completionItem {
	t.Helper()
	var list *struct{ Items []completionItem }
	if err := e.Call("textDocument/completion", at(t, e, name, where), &list); err != nil {
		t.Fatal(err)
	}
	if list == nil {
		return nil
	}
	return list.Items
}

// hovered is the text of a hover; "" if there is none.
func hovered(t *testing.T, e *lsptest.Editor, name, where string) string {
	t.Helper()
	var h *struct {
		Contents struct{ Kind, Value string }
		Range    lsptest.Range
	}
	if err := e.Call("textDocument/hover", at(t, e, name, where), &h); err != nil {
		t.Fatal(err)
	}
	if h == nil {
		return ""
	}
	return h.Contents.Value
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}

// ran runs cells, each to its end.
func ran(e *lsptest.Editor, name string, cells ...int) {
	for _, c := range cells {
		finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI(name), "cell": c}), "ok")
	}
}

var utf32 = []string{"utf-32"} // as []rune counts

const lookedAt = `# %% One
import os
größe = [1, 2]
def scale(x, factor=2):
    "Scales x."
    return x * factor
class Net:
    def forward(self): pass
    layers = {"first": 1, "last": 2}
net = Net()
# %%dip
import os
rank = int(os.environ["RANK"]); same = "all"
if rank < 2: some = [rank]
# %% Local
print(größe, "größe", net.layers, f"{größe}")  # größe
scale(1, fac
net.lay
net.layers["f
"net.lay
# %%dip
print(rank, same, some)
sa
# %dipush größe
%px ran
# %% [markdown]
# größe
`

// Hover and completion know what the namespace of the cell holds: the local one's, or the ranks'.
func TestLookups(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Encodings: utf32, Settings: lsptest.Object{"ranks": 3, "app": "none"}})
	e.Open("a.py", lookedAt)
	if got := hovered(t, e, "a.py", "print(grö|ße, "); got != "" {
		t.Errorf("before anything has run: %s", got)
	}
	ran(e, "a.py", 1, 2)

	const list = "**`größe`** `list` · length 2\n\n```text\n[1, 2]\n```"
	equal(t, "a variable", hovered(t, e, "a.py", "print(grö|ße, "), list)
	equal(t, "its end", hovered(t, e, "a.py", "print(größe|, "), list)
	equal(t, "in an f-string", hovered(t, e, "a.py", "{grö|ße}"), list)
	for _, nowhere := range []string{`"grö|ße", net`, "  # grö|ße", "\n# grö|ße\n", "# %% Lo|cal"} {
		if got := hovered(t, e, "a.py", nowhere); got != "" {
			t.Errorf("%s: %s", nowhere, got)
		}
	}
	if got := hovered(t, e, "a.py", "prin|t(größe,"); !strings.HasPrefix(got, "**`print(") {
		t.Errorf("a function of Python's: %s", got)
	}
	equal(t, "an attribute", hovered(t, e, "a.py", "net.lay|ers, f"), "**`net.layers`** `dict` · length 2\n\n```text\n{'first': 1, 'last': 2}\n```")
	equal(t, "a function", hovered(t, e, "a.py", "sca|le(1"), "**`scale(x, factor=2)`** function\n\n```text\nScales x.\n```")

	equal(t, "on ranks, different", hovered(t, e, "a.py", "print(ra|nk,"), "**`rank`** `int` — ranks 0-2\n\n```text\nrank 0: 0\nrank 1: 1\nrank 2: 2\n```")
	equal(t, "on ranks, the same", hovered(t, e, "a.py", "sa|me, some"), "**`same`** `str` · length 3 — ranks 0-2\n\n```text\n'all'\n```")
	equal(t, "on some ranks", hovered(t, e, "a.py", "so|me)"),
		"**`some`** `list` · length 1 — ranks 0-1\n\n```text\nrank 0: [0]\nrank 1: [1]\n```\n\nnot defined: rank 2")

	equal(t, "arguments", fmt.Sprint(completed(t, e, "a.py", "scale(1, fac|\n")), "[scale(1, factor=]")
	equal(t, "attributes", fmt.Sprint(completed(t, e, "a.py", "\nnet.lay|\nnet")), "[net.layers]")
	equal(t, "keys", fmt.Sprint(completed(t, e, "a.py", "net.layers[\"f|")), `[net.layers["first]`)
	equal(t, "in a string", fmt.Sprint(completed(t, e, "a.py", "\"net.lay|\n")), "[]")
	equal(t, "on ranks", fmt.Sprint(completed(t, e, "a.py", "\nsa|\n#")), "[same]")
	equal(t, "in a magic's arguments", hovered(t, e, "a.py", "dipush grö|ße"), list)
	equal(t, "in a magic of the ranks", fmt.Sprint(completed(t, e, "a.py", "%px ran|\n")), "[%px range %px rank]")
	equal(t, "in a text", fmt.Sprint(completed(t, e, "a.py", "markdown]\n# gr|öße")), "[]")

	items := itemsAt(t, e, "a.py", "\nnet.lay|\nnet")
	var item completionItem
	if err := e.Call("completionItem/resolve", lsptest.Object{"label": items[0].Label, "data": items[0].Data}, &item); err != nil {
		t.Fatal(err)
	}
	equal(t, "the item's documentation", item.Documentation.Value, "**`net.layers`** `dict` · length 2\n\n```text\n{'first': 1, 'last': 2}\n```")

	var reply struct {
		Variables []struct {
			Name   string
			Values []map[string]any
		}
	}
	e.Command("dip.variables", nil, &reply)
	var lines []string
	for _, v := range reply.Variables {
		for _, value := range v.Values {
			lines = append(lines, fmt.Sprint(v.Name, " ", value["local"], " ", value["ranks"], " ", value["type"], " ", value["text"]))
		}
	}
	slices.Sort(lines)
	for _, want := range []string{"größe true <nil> list [1, 2]", "rank <nil> 2 int 2", "same <nil> 0-2 str 'all'", "some <nil> 0 list [0]"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %q in %s", want, strings.Join(lines, "\n"))
		}
	}
	reply.Variables = nil
	e.Command("dip.variables", lsptest.Object{"rank": 2}, &reply)
	if len(reply.Variables) != 3 { // os, rank, same
		t.Errorf("%+v", reply)
	}
	reply.Variables = nil
	e.Command("dip.variables", lsptest.Object{"of": "net.layers"}, &reply)
	if len(reply.Variables) != 2 || reply.Variables[0].Name != "['first']" || reply.Variables[0].Values[0]["text"] != "1" {
		t.Errorf("%+v", reply)
	}
	if err := e.TryCommand("dip.variables", lsptest.Object{"rank": -2}, nil); err == nil {
		t.Error("rank -2 is none")
	}
	var tables struct {
		Tables []struct{ Page struct{ Reason string } }
	}
	e.Command("dip.table", lsptest.Object{"name": "same", "filters": []lsptest.Object{{"column": 0, "text": "a"}}}, &tables)
	if len(tables.Tables) != 4 || tables.Tables[0].Page.Reason != "it is not defined" || tables.Tables[3].Page.Reason != "a str is not shown as a table" {
		t.Errorf("%+v", tables)
	}
}

// A busy process is not asked, and the answer says so at once. A hover never delays a cell.
func TestLookupsWhileBusy(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", unindent(`
		# %%
		import time
		class Slow:
		    def __repr__(self):
		        while True: time.sleep(0.01)
		x, slow = 1, Slow()
		# %%
		print("held", flush=True)
		while True: time.sleep(0.01)
		# %%
		x
		slow
	`))
	ran(e, "a.py", 1)
	if got := hovered(t, e, "a.py", "\nslo|w\n"); got != "" {
		t.Errorf("what takes for ever: %s", got)
	}
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2})
	e.Await("the cell", lsptest.Has("run", run), lsptest.Contains("text", "held"))
	if got := hovered(t, e, "a.py", "\nx|\n"); got != "" {
		t.Errorf("while busy: %s", got)
	}
	if got := completed(t, e, "a.py", "\nx|\n"); got != nil {
		t.Errorf("while busy: %s", got)
	}
	var reply struct{ Busy string }
	e.Command("dip.variables", nil, &reply)
	if reply.Busy != "local" {
		t.Errorf("%+v", reply)
	}
	e.Command("dip.interrupt", lsptest.Object{"run": run}, nil)
	finished(e, run, "interrupted")
	if got := hovered(t, e, "a.py", "\nx|\n"); !strings.Contains(got, "int") {
		t.Errorf("idle again: %q", got)
	}
}

// Tensors are described by shape, dtype and device; a client without Markdown gets plain text.
func TestHoverTensor(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events, Settings: lsptest.Object{"ranks": 2}, Capabilities: lsptest.Object{
		"textDocument": lsptest.Object{"hover": lsptest.Object{"contentFormat": []string{"plaintext"}}},
	}})
	e.Open("a.py", "# %%dip\nimport os, torch\nx = torch.arange(1000.) + int(os.environ['RANK'])\nx\n")
	ran(e, "a.py", 1)
	equal(t, "a tensor", hovered(t, e, "a.py", "\nx|\n"), unindent(`
		x torch.Tensor · shape (1000,) · float32 · cpu · 3.9 KiB — ranks 0-1

		rank 0: [0, 1, 2, 3, 4, 5, …]
		rank 1: [1, 2, 3, 4, 5, 6, …]`))
}

// What directives, magics and headers take is known without any process.
func TestCompleteMagics(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		e := lsptest.Start(t, lsptest.Options{Server: server, Encodings: utf32})
		for _, test := range []struct{ line, want string }{
			{"# %%d|", "# %%dip # %%debug"},
			{"# %di|", "# %dipper # %dipull # %dipush # %dirs"},
			{"%mak|", "%makedip"},
			{"#!%autop|", "#!%autopx"},
			{"# %%dip ev|", "# %%dip everywhere"},
			{"# %%dip everywhere --s|", "# %%dip everywhere --see"},
			{"# %%dip everywhere -S|", ""},
			{"# %%dip --see all --q|", "# %%dip --see all --quiet"},
			{"# %%dip --see |", "# %%dip --see all"},
			{"%makedip --app to|", "%makedip --app torch"},
			{"%makedip -n 3 --res|", "%makedip -n 3 --restart"},
			{"# %autodip of|", "# %autodip off"},
			{"# %%dip --h|", "# %%dip --help"},
			{"%px --nob|", "%px --noblock"},
			{"%px --noblock --t|", "%px --noblock --targets"},
			{"%px --targets |", "%px --targets all"},
			{"%px --targets 0 x = --t|", ""},
			{"%%px --nob|", "%%px --noblock"},
			{"%%px ev|", ""},
			{"%pxconfig -|", "%pxconfig --targets %pxconfig --noblock %pxconfig --block %pxconfig --verbose %pxconfig --no-verbose %pxconfig -e %pxconfig -r " +
				"%pxconfig --group-outputs %pxconfig --stream %pxconfig --no-stream %pxconfig --progress-after %pxconfig --help"},
			{"# %% Train target=|", `# %% Train target="remote" # %% Train target="local" # %% Train target="everywhere" # %% Train target="ranks:0"`},
			{`# %% Train target="ev|"`, `# %% Train target="everywhere"`},
			{"# %% Train see='a|", "# %% Train see='all'"},
			{"# %% Train ta|", "# %% Train target="},
			{"# %% [m|", "# %% [markdown]"},
			{"# just a comment abou|", ""},
			{"print(1).|", ""},
		} {
			name := "a.py"
			before, after, _ := strings.Cut(test.line, "|")
			e.Open(name, "# %% x\n"+before+after+"\ny = 1\n")
			if got := strings.Join(completed(t, e, name, "\n"+test.line+"\ny"), " "); got != test.want {
				t.Errorf("%s: %s, want %s", test.line, got, test.want)
			}
			e.Close(name)
		}
	})
}

// A place outside of the text has no hover and no completions, and causes no error.
func TestLookupsAnywhere(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events})
	const text = "x = '🚀'\r\n# %%\r\nx.\r\n\"\"\"x\r\n# %% \r\n# %%dip \r\nd[\"\r\nx"
	e.Open("a.py", text)
	e.Open("empty.py", "")
	ran(e, "a.py", 1)
	for _, name := range []string{"a.py", "empty.py"} {
		for line := range 10 {
			for _, character := range []int{0, 1, 2, 5, 8, 1 << 30} {
				params := inDocument(e, name)
				params["position"] = lsptest.Position{Line: line, Character: character}
				for _, method := range []string{"textDocument/hover", "textDocument/completion"} {
					if err := e.Call(method, params, nil); err != nil {
						t.Errorf("%s of %s:%d:%d: %v", method, name, line, character, err)
					}
				}
			}
		}
	}
	for _, item := range []lsptest.Object{{"label": "x"}, {"label": "x", "data": 3}, {"label": "x", "data": lsptest.Object{"uri": "file:///gone.py"}}} {
		if err := e.Call("completionItem/resolve", item, nil); err != nil {
			t.Error(err)
		}
	}
}

// Modules are looked for beside the file that runs first, not beside one over which the pointer has only hovered.
func TestLookupSettlesNothing(t *testing.T) {
	needPython(t)
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		e := lsptest.Start(t, lsptest.Options{Server: server, Init: events})
		if err := os.Mkdir(e.Folder+"/nets", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(e.Folder+"/nets/layers_of_ours.py", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		e.Open("notes/seen.py", "x = 1\nx\n")
		if got := hovered(t, e, "notes/seen.py", "|x = 1"); got != "" {
			t.Error(got)
		}
		itemsAt(t, e, "notes/seen.py", "\nx|\n")
		e.Open("nets/train.py", "import layers_of_ours\n")
		ran(e, "nets/train.py", 1)
	})
}
