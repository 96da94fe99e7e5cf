package lsp_test

import (
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// What is typed at a prompt runs where the prompt or the code says, and is completed from there.
func TestCodeOfNoDocument(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 2}})
	e.Open("a.py", "# %%\nlet alpha here\n")
	uri := e.URI("a.py")
	printed := func(code, target, want string) {
		t.Helper()
		e.Mark()
		finished(e, e.Run("dip.runCode", lsptest.Object{"uri": uri, "code": code, "target": target}), "ok")
		var got strings.Builder
		for _, m := range e.Messages(lsptest.Has("event", "stream")) {
			got.WriteString(m.Get("text").(string))
		}
		if got.String() != want {
			t.Errorf("%q on %q: %q, want %q", code, target, got.String(), want)
		}
	}
	printed("rank", "", "none\n")
	printed("rank", "ranks:1", "1\n")
	printed("%%dip local\nrank", "remote", "none\n")
	printed("let alpha there", "remote", "")
	printed("let beta here", "local", "")

	var found struct {
		Replaces string
		Matches  []struct{ Text, Kind string }
	}
	for _, test := range []struct{ code, target, want string }{
		{"x = al", "remote", "alpha"}, {"%%dip local\nbe", "remote", "beta"}, {"be", "", "beta"}, {"zz", "local", ""},
	} {
		found.Matches = nil
		e.Command("dip.complete", lsptest.Object{"uri": uri, "code": test.code, "target": test.target}, &found)
		var names []string
		for _, m := range found.Matches {
			names = append(names, m.Text)
		}
		if got := strings.Join(names, ","); got != test.want || !strings.HasSuffix(test.code, found.Replaces) {
			t.Errorf("%+v: %+v", test, found)
		}
	}
	for code, want := range map[string]string{"": "no code", "%%dip nowhere\nx": "nowhere", "# %% [markdown]\n# a": "no code"} {
		if err := e.TryCommand("dip.runCode", lsptest.Object{"uri": uri, "code": code}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", code, err)
		}
	}
}
