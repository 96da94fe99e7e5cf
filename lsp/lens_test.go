package lsp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// codeLens is one as the client sees it.
type codeLens struct {
	Range   lsptest.Range   `json:"range"`
	Data    json.RawMessage `json:"data,omitempty"`
	Command *struct {
		Title     string           `json:"title"`
		Command   string           `json:"command"`
		Arguments []lsptest.Object `json:"arguments,omitempty"`
	} `json:"command,omitempty"`
}

// lensesOf asks for a document's lenses and resolves them.
func lensesOf(t *testing.T, e *lsptest.Editor, name string) []codeLens {
	t.Helper()
	var list []codeLens
	if err := e.Call("textDocument/codeLens", inDocument(e, name), &list); err != nil {
		t.Fatal(err)
	}
	for i, lens := range list {
		if lens.Command != nil {
			continue
		}
		if err := e.Call("codeLens/resolve", lens, &list[i]); err != nil {
			t.Fatalf("%s: %v", lens.Data, err)
		}
	}
	return list
}

// inDocument is the beginning of most requests' parameters.
func inDocument(e *lsptest.Editor, name string) lsptest.Object {
	return lsptest.Object{"textDocument": lsptest.Object{"uri": e.URI(name)}}
}

// titles are the titles of the lenses of a line.
func titles(list []codeLens, line int) string {
	var found []string
	for _, lens := range list {
		if lens.Range.Start.Line == line {
			found = append(found, lens.Command.Title)
		}
	}
	return strings.Join(found, " | ")
}

// titled is the lens with a title, which has to be one only.
func titled(t *testing.T, list []codeLens, title string) codeLens {
	t.Helper()
	var found []codeLens
	for _, lens := range list {
		if lens.Command.Title == title {
			found = append(found, lens)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d lenses %q in %+v", len(found), title, list)
	}
	return found[0]
}

// settingsIn is the settings that a case asks for.
func settingsIn(t *testing.T, m *lsptest.Marked) lsptest.Object {
	t.Helper()
	settings := lsptest.Object{}
	if text := m.Value("settings"); text != "" {
		if err := json.Unmarshal([]byte(text), &settings); err != nil {
			t.Fatal(err)
		}
	}
	return settings
}

// forFiles runs a test for every case of a directory of testdata, with every server. The editor has opened the case's documents.
func forFiles(t *testing.T, dir string, test func(*testing.T, *lsptest.Editor, *lsptest.Marked)) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		lsptest.Files(t, "testdata/"+dir+"/*.txtar", func(t *testing.T, m *lsptest.Marked) {
			o := lsptest.Options{Server: server, Init: settingsIn(t, m)}
			if text := m.Value("capabilities"); text != "" {
				if err := json.Unmarshal([]byte(text), &o.Capabilities); err != nil {
					t.Fatal(err)
				}
			}
			e := lsptest.Start(t, o)
			m.Open(e)
			test(t, e, m)
		})
	})
}

// Lenses that nothing has run for.
func TestLenses(t *testing.T) {
	forFiles(t, "lens", func(t *testing.T, e *lsptest.Editor, m *lsptest.Marked) {
		var b strings.Builder
		for _, lens := range lensesOf(t, e, "a.py") {
			fmt.Fprintf(&b, "%d: %s", lens.Range.Start.Line, lens.Command.Title)
			if lens.Range.Start != lens.Range.End || lens.Range.Start.Character != 0 {
				fmt.Fprintf(&b, " at %v", lens.Range)
			}
			if lens.Command.Command != "" {
				fmt.Fprintf(&b, " → %s", lens.Command.Command)
			}
			for _, arg := range lens.Command.Arguments {
				if arg["uri"] != e.URI("a.py") {
					t.Errorf("uri %v", arg["uri"])
				}
				delete(arg, "uri")
				delete(arg, "id")
				text, _ := json.Marshal(arg)
				fmt.Fprintf(&b, " %s", text)
			}
			b.WriteString("\n")
		}
		m.Golden(t, "lenses", b.String())
	})
}
