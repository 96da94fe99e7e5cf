package lsp_test

import (
	"testing"

	"dipls/internal/lsptest"
)

// failing is a cell that fails in two ways, on three ranks, one of which comes late to it, and prints in colour.
const failing = `# %%dip --see all
# line 2
# line 3
draw "\x1b[32mgreen\x1b[0m\n"
on 1 gate late
# line 6
on 0-1 foobar
error ZeroDivisionError division by zero
`

// A failure is shown once, however many ranks have it and whenever they do, and nothing that is shown has colours.
func TestFailuresOnce(t *testing.T) {
	e, machine := startFaked(t, lsptest.Options{Init: lsptest.Object{"trusted": true}, Settings: lsptest.Object{"ranks": 3, "app": "none"}})
	e.Open("a.py", failing+"# %%\nprint the next\n# %%\nfoobar\n")
	for range 2 {
		e.Mark()
		e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
		e.Await("a line", lsptest.Method("window/logMessage"), lsptest.Has("message", "[0-2] green"))
		e.Await("a failure", lsptest.Method("window/showMessage"), lsptest.Contains("message", "NameError: name 'foobar' is not defined ("))
		e.Await("a failure", lsptest.Method("window/showMessage"), lsptest.Contains("message", "ZeroDivisionError: division by zero (rank 2, line 8)"))
		machine.Open("late") // for the second time, too
		e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 3})
		e.Await("the end of all", lsptest.Method("window/showMessage"), lsptest.Contains("message", "(local, line 12)"))
		if told := e.Messages(lsptest.Method("window/showMessage")); len(told) != 3 {
			t.Errorf("told %v", told)
		}
		for _, m := range e.Messages(lsptest.Contains("message", "\x1b")) {
			t.Errorf("colours in %v", m)
		}
	}
}

// A value of several lines begins on a line of its own, for clients that log output as for those that show it at the cell. IPython's magics in comments run.
func TestResultOfSeveralLines(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: lsptest.Object{"trusted": true}})
	e.Open("a.py", "# %%\n# %env DIPLS_ROWS=a\nimport os\nclass Rows:\n    def __repr__(self): return os.environ['DIPLS_ROWS'] + ' 1\\n  2'\nRows()\n")
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the value", lsptest.Method("window/logMessage"), lsptest.Contains("message", "Out[1]:\na 1\n  2"))
	e.Await("it at the cell", lsptest.Method("textDocument/publishDiagnostics"), lsptest.Has("diagnostics.0.message", "env: DIPLS_ROWS=a\nOut[1]:\na 1\n  2"))
}

// If dip.failures is "ask", the user is asked whether to see the output; if it is "off", the user is not told.
func TestFailuresAsked(t *testing.T) {
	answers := lsptest.Answers{"window/showMessageRequest": func(m lsptest.Message) any { return m.Get("actions.0") }}
	e, _ := startFaked(t, lsptest.Options{Answers: answers, Settings: lsptest.Object{"failures": "ask"}})
	e.Open("a.py", "# %%\nprint before\nfoobar\n")
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Has("actions.0.title", "Show output"),
		lsptest.Has("message", "NameError: name 'foobar' is not defined (local, line 3)"))
	e.Await("the output", lsptest.Method("window/showDocument"), lsptest.Contains("uri", "/output.txt"))

	e.Settings(lsptest.Object{"failures": "off"})
	e.Mark()
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the traceback", lsptest.Method("window/logMessage"), lsptest.Contains("message", "NameError"))
	e.Command("dip.status", nil, nil)
	if told := e.Messages(lsptest.Method("window/showMessage")); len(told) > 0 {
		t.Error(told)
	}
}

// A picture is a file to open for a client without events, and comes whole to one with.
func TestPictures(t *testing.T) {
	needPython(t)
	server := program(t)
	const draw = `# %%
from IPython.display import display
class Picture:
    def _repr_mimebundle_(self, **_): return {"text/plain": "a picture", "image/svg+xml": "<svg/>"}
for _ in range(3): display(Picture())
`
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: lsptest.Object{"trusted": true}})
	e.Open("a.py", draw)
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the first picture", lsptest.Method("window/showMessage"), lsptest.Has("type", 3), lsptest.Contains("message", "cell 1 shows a picture: /"),
		lsptest.Contains("message", "/local-1.svg"))
	e.Await("the last picture", lsptest.Method("window/logMessage"), lsptest.Contains("message", "/local-3.svg"))
	if told := e.Messages(lsptest.Method("window/showMessage")); len(told) != 1 {
		t.Errorf("told %v", told)
	}

	e = lsptest.Start(t, lsptest.Options{Server: server, Init: events})
	e.Open("a.py", draw)
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	m := e.Await("a picture", lsptest.Has("event", "display"), lsptest.Has("run", run))
	data, _ := m.Get("data").(map[string]any)
	if data["image/svg+xml"] != "<svg/>" || data["text/plain"] != "a picture" {
		t.Errorf("%v", m)
	}
}
