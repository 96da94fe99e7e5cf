package lsp_test

import (
	"fmt"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// Magics in comments, commands, and the line by which a file says where its cells run, are marked, and nothing else.
func TestTokens(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Encodings: []string{"utf-8"}, Capabilities: ableToFix})
	const text = "# dip: ranks 0,2\n# %% é %time\n# %matplotlib inline\nx = '''\n# %pwd\n'''  # %pwd\n\n" +
		"# 😀\n# !nvidia-smi -L\n%dipush  x\n# %time is short\n# %%dip\n"
	e.Open("a.py", text)
	lines := strings.Split(text, "\n")
	tokens := func(method string, params map[string]any) string {
		t.Helper()
		var answer struct{ Data []int }
		must(t, e.Call(method, params, &answer))
		var b strings.Builder
		line, column := 0, 0
		for i := 0; i+4 < len(answer.Data); i += 5 {
			if answer.Data[i] > 0 {
				line, column = line+answer.Data[i], 0
			}
			column += answer.Data[i+1]
			fmt.Fprintf(&b, "%d %s %d\n", line, lines[line][column:column+answer.Data[i+2]], answer.Data[i+3])
		}
		return b.String()
	}
	const last = "11 %%dip 0\n"
	const want = "0 dip 0\n0 ranks 0,2 1\n2 %matplotlib 0\n2 inline 1\n8 ! 0\n8 nvidia-smi -L 1\n9 %dipush 0\n9 x 1\n" + last
	if got := tokens("textDocument/semanticTokens/full", inDocument(e, "a.py")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	params := inDocument(e, "a.py")
	params["range"] = lsptest.Range{Start: lsptest.Position{Line: 11}, End: lsptest.Position{Line: 11, Character: 3}}
	if got := tokens("textDocument/semanticTokens/range", params); got != last {
		t.Errorf("got\n%swant\n%s", got, last)
	}
}

// What a file says about its cells is completed and explained, and a typing error there has a fix. Bare magics can be written as comments.
func TestHelpWithComments(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Encodings: []string{"utf-8"}, Capabilities: ableToFix})
	for line, want := range map[string]string{
		"# d|":             "# dip: remote # dip: local # dip: everywhere",
		"# dip: |":         "# dip: remote # dip: local # dip: everywhere",
		"# dip: ev|":       "# dip: everywhere",
		"# depth of a co|": "",
		"# %matplot|":      "# %matplotlib",
		"# %%tim|":         "# %%time # %%timeit",
	} {
		before, after, _ := strings.Cut(line, "|")
		e.Open("a.py", before+after+"\n# %%\ny = 1\n")
		if got := strings.Join(completed(t, e, "a.py", line+"\n# %%\ny = 1\n"), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
		e.Close("a.py")
	}

	e.Open("b.py", "# dip: ranks 0,2\n# %%\n%matplotlib inline\n")
	var hover struct{ Contents struct{ Value string } }
	params := inDocument(e, "b.py")
	params["position"] = lsptest.Position{Character: 4}
	must(t, e.Call("textDocument/hover", params, &hover))
	if !strings.HasPrefix(hover.Contents.Value, "The cells of this file run on ranks 0,2, unless") {
		t.Errorf("%+v", hover)
	}
	var actions []struct {
		Title string
		Kind  string
	}
	params = inDocument(e, "b.py")
	params["range"] = lsptest.Range{Start: lsptest.Position{Line: 2, Character: 3}, End: lsptest.Position{Line: 2, Character: 3}}
	params["context"] = map[string]any{"diagnostics": []any{}, "only": []string{"quickfix"}}
	must(t, e.Call("textDocument/codeAction", params, &actions))
	if len(actions) != 1 || actions[0].Title != "Write as a comment: '# %matplotlib inline'" {
		t.Errorf("%+v", actions)
	}
}
