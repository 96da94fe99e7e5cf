package lsp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// steering returns the control characters in a message; "" if there are none.
func steering(t *testing.T, m lsptest.Message) string {
	t.Helper()
	if len(m.Params) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(m.Params, &v); err != nil {
		t.Fatal(err)
	}
	var find func(any) string
	find = func(v any) string {
		switch v := v.(type) {
		case string:
			if strings.ContainsAny(v, "\x1b\x07\x00\u202e") {
				return fmt.Sprintf("%.200q", v)
			}
		case []any:
			for _, inner := range v {
				if s := find(inner); s != "" {
					return s
				}
			}
		case map[string]any:
			for _, inner := range v {
				if s := find(inner); s != "" {
					return s
				}
			}
		}
		return ""
	}
	return find(v)
}

// No title, class name, exception or display brings control characters to a client. Of a long one, the beginning and the end are shown, and where all of it
// is.
func TestTextOfProgramsIsCleanAndBounded(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: lsptest.Object{"trusted": true}})
	e.Open("a.py", "# %% ti\x1b]0;x\x07tle \u202e\n"+unindent(`
		from IPython.display import display
		class D:
		    def __repr__(self): return "shown\x1b]52;c;ZXZpbA==\x07\x1b[2J"
		display(D())
		D()
		# %%
		evil = "\x1b]0;x\x07\u202e"
		E = type("E" + evil + "rror", (Exception,), {})
		raise E("the first line" + evil + "\n" + "x" * 3_000_000 + "\n" + "line\n" * 10000 + "the last line")
		# %%
		raise ValueError("y" * 3_000_000)
	`))
	for cell := 1; cell <= 3; cell++ {
		e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell})
	}
	first := e.Await("the message", lsptest.Method("window/showMessage"), lsptest.Contains("message", "Error: the first line"))
	second := e.Await("the other message", lsptest.Method("window/showMessage"), lsptest.Contains("message", "ValueError: yyy"))
	for _, m := range []lsptest.Message{first, second} {
		text, _ := m.Get("message").(string)
		if len(text) > 3<<10 || strings.Count(text, "\n") > 12 || !strings.Contains(text, " left out; all of it is in /") ||
			!strings.Contains(text, "/dipls/runs/") || !strings.HasSuffix(text, ")") {
			t.Errorf("%d bytes: %.300q … %q", len(text), text, text[max(0, len(text)-300):])
		}
	}
	if text, _ := first.Get("message").(string); !strings.Contains(text, "the last line (local, line ") {
		t.Errorf("%q", text)
	}
	diagnostics := func(start string) lsptest.Condition {
		return func(m lsptest.Message) bool {
			list, _ := m.Get("diagnostics").([]any)
			for _, d := range list {
				if text, _ := lsptest.Dig(d, "message").(string); strings.HasPrefix(text, start) {
					return len(text) < 6<<10 && strings.Contains(text, " left out; all of it is in /")
				}
			}
			return false
		}
	}
	e.Await("a diagnostic", lsptest.Method("textDocument/publishDiagnostics"), diagnostics("Error: the first line"))
	e.Await("a diagnostic", lsptest.Method("textDocument/publishDiagnostics"), diagnostics("ValueError: yyy"))
	e.Await("what was displayed", lsptest.Method("window/logMessage"), lsptest.Contains("message", "shown"))
	for _, m := range e.Messages() {
		if len(m.Params) > 100<<10 {
			t.Errorf("%d bytes: %v", len(m.Params), m)
		}
		if m.Method != "" && steering(t, m) != "" {
			t.Errorf("%s has %s", m.Method, steering(t, m))
		}
	}
	var symbols []any
	err := e.Call("textDocument/documentSymbol", inDocument(e, "a.py"), &symbols)
	if err != nil || len(symbols) == 0 || lsptest.Dig(symbols[0], "name") != "title" {
		t.Errorf("%v, %v", symbols, err)
	}
}
