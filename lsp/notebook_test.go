package lsp_test

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/internal/lsptest"
)

// Cells of a notebook are documents of their own. They run in the session of the notebook's folder, one after the other up to the first that fails, and
// failures are shown in them. The notebook itself shows how they went.
func TestNotebook(t *testing.T) {
	for _, authority := range []string{"", "//ssh-remote%2Bgpu1"} {
		e, _ := startFaked(t, lsptest.Options{Init: events, Settings: quietly})
		cell := func(fragment string) string {
			path := url.URL{Path: filepath.Join(e.Folder, "Étude à deux.ipynb")}
			return "vscode-notebook-cell:" + authority + path.EscapedPath() + "#" + fragment
		}
		names := []string{cell("W0"), cell("W1"), cell("W2"), cell("W3")}
		texts := []string{"# %%dip everywhere\nlet x 1\n", "\n", "let y 2\n# %%dip\nlet z 3\n\nnowhere", "let w 4"}
		for i, name := range names {
			e.Open(name, texts[i])
		}
		var reply struct{ Runs [][]string }
		e.Command("dip.runDocuments", lsptest.Object{"uris": names}, &reply)
		var counts []int
		for _, runs := range reply.Runs {
			counts = append(counts, len(runs))
		}
		if want := []int{1, 0, 2, 1}; !slices.Equal(counts, want) {
			t.Fatalf("%v runs of the documents, want %v", counts, want)
		}
		finished(e, reply.Runs[0][0], "ok")
		finished(e, reply.Runs[2][0], "ok")
		finished(e, reply.Runs[2][1], "error")
		finished(e, reply.Runs[3][0], "skipped")
		awaitDiagnostics(t, e, names[2], "4:0-4:7 error NameError NameError: name 'nowhere' is not defined — ranks 0-1")
		var got []string
		for _, m := range e.Messages(lsptest.Has("event", "run_started")) {
			got = append(got, strings.TrimPrefix(m.Get("path").(string), "vscode-notebook-cell:")+" "+m.Get("target").(string))
		}
		rest := func(fragment string) string { return strings.TrimPrefix(cell(fragment), "vscode-notebook-cell:") }
		if diff := cmp.Diff([]string{rest("W0") + " everywhere", rest("W2") + " local", rest("W2") + " remote"}, got); diff != "" {
			t.Error(diff)
		}
		for _, method := range []string{"textDocument/codeLens", "textDocument/documentSymbol"} {
			var list []any
			err := e.Call(method, lsptest.Object{"textDocument": lsptest.Object{"uri": names[2]}}, &list)
			if err != nil || len(list) > 0 {
				t.Errorf("%s: %v, %v", method, list, err)
			}
		}
	}
}

// What is about a whole file is refused for a cell of a notebook: a restart would lose all and run one cell, an export would have one cell of many.
func TestWholeFileOnly(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events})
	notebook := filepath.Join(e.Folder, "a.ipynb")
	if err := os.WriteFile(notebook, []byte("all cells"), 0o600); err != nil {
		t.Fatal(err)
	}
	cell := "vscode-notebook-cell:" + (&url.URL{Path: notebook}).EscapedPath() + "#W0"
	e.Open(cell, "let x 1\n")
	for command, args := range map[string]lsptest.Object{
		"dip.restartAndRunAll": {},
		"dip.restartAndRunTo":  {"cell": 1},
		"dip.export":           {"format": "ipynb", "path": notebook, "force": true},
	} {
		args["uri"] = cell
		if err := e.TryCommand(command, args, nil); err == nil || !strings.Contains(err.Error(), "a cell of a notebook is only a part") {
			t.Errorf("%s: %v", command, err)
		}
	}
	if text, err := os.ReadFile(notebook); string(text) != "all cells" {
		t.Errorf("%v\n%s", err, text)
	}
}

// Documents of one sequence are those of one workspace, and open.
func TestRunDocumentsRefused(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "let x 1\n")
	const elsewhere = "vscode-notebook-cell:/elsewhere/b.ipynb#W0"
	e.Open(elsewhere, "let x 1\n")
	for want, uri := range map[string]string{"are in different workspaces": elsewhere, "none.py": e.URI("none.py")} {
		err := e.TryCommand("dip.runDocuments", lsptest.Object{"uris": []string{e.URI("a.py"), uri}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
