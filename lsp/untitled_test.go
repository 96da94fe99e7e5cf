package lsp_test

import (
	"os"
	"testing"

	"dipls/internal/lsptest"
)

// A document that has never been saved runs like any other, and what fails in it is shown where it does.
func TestUntitled(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	const name = "untitled:Untitled-1"
	e.Open(name, "# %%\ndef f():\n    return nowhere\n# %%\nx = 1\nf()\n")
	e.Open("untitled:Untitled-2", "# %%\nf()\n")
	run := func(name string, cell int, status string) {
		t.Helper()
		id := e.Run("dip.runCell", lsptest.Object{"uri": e.URI(name), "cell": cell})
		finished(e, id, status)
	}
	run(name, 1, "ok")
	run(name, 2, "error")
	const undefined = "error NameError NameError: name 'nowhere' is not defined"
	awaitDiagnostics(t, e, name, "2:11-2:18 "+undefined)
	e.Replace(name, "# %%\ndef", "\n\n# %%\ndef")
	awaitDiagnostics(t, e, name, "4:11-4:18 "+undefined)
	run("untitled:Untitled-2", 1, "error")
	awaitDiagnostics(t, e, "untitled:Untitled-2", "1:0-1:3 "+undefined)
	awaitDiagnostics(t, e, name, "4:11-4:18 "+undefined, "4:11-4:18 "+undefined)
}

// The name of a document without a file is not a path, whatever it looks like: no such file is read or made.
func TestUntitledIsNoPath(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events, Settings: quietly})
	for _, name := range []string{"untitled:../../a.py", "untitled:/etc/a.py", "untitled:a%00b", "untitled:%C3%A4%20%F0%9F%9A%80"} {
		e.Open(name, "# %%\nprint(f\"a file: {'__file__' in globals()}\")\nnowhere\n")
		run := e.Run("dip.runCell", lsptest.Object{"uri": name, "cell": 1})
		e.Await("no file", lsptest.Has("run", run), lsptest.Contains("text", "a file: False"))
		finished(e, run, "error")
		awaitDiagnostics(t, e, name, "2:0-2:7 error NameError NameError: name 'nowhere' is not defined")
	}
	if made, err := os.ReadDir(e.Folder); err != nil || len(made) > 0 {
		t.Errorf("%v, %v", made, err)
	}
}
