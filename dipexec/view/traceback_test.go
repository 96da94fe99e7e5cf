package view

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/dipexec/event"
)

// Frames of libraries are folded, the user's own and the last one never. The extension reads the same examples.
func TestTracebackParts(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/tracebacks.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tracebacks []struct {
			Name  string
			Parts []TracebackPart
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, ex := range file.Tracebacks {
		t.Run(ex.Name, func(t *testing.T) {
			var texts []string
			for _, p := range ex.Parts {
				texts = append(texts, p.Text)
			}
			if diff := cmp.Diff(ex.Parts, TracebackParts(strings.Join(texts, "\n"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Nothing of a text is lost, whatever it is.
func FuzzTracebackParts(f *testing.F) {
	f.Add("File a:1\n\nFile /site-packages/torch/a.py:2\n\nFile b:1\n\nE: x")
	f.Add("  File \"/site-packages/a.py\", line 3\n    x\n  File \"b\", line 3\nE\n[... skipping ")
	f.Fuzz(func(t *testing.T, text string) {
		var texts []string
		for _, p := range TracebackParts(text) {
			texts = append(texts, p.Text)
		}
		if got := strings.Join(texts, "\n"); got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}

// A folder folds frames, and says once what shows all of them; with Whole it shows them.
func TestFoldTracebacks(t *testing.T) {
	traceback := []string{"ValueError", "File /home/u/a.py:3\n----> 3 f()\n", "File /v/site-packages/torch/x.py:3, in f()\n----> 3 g()\n",
		"File /v/site-packages/torch/y.py:3, in g()\n----> 3 h()\n", "ValueError: x"}
	for _, c := range []struct {
		whole bool
		want  string
	}{
		{false, "ValueError\nFile /home/u/a.py:3\n----> 3 f()\n\n… 1 frame in torch (all: dipls logs a-1)\n\n" +
			"File /v/site-packages/torch/y.py:3, in g()\n----> 3 h()\n\nValueError: x"},
		{true, strings.Join(traceback, "\n")},
	} {
		f := &folding{f: NewFolder(FoldOptions{Whole: c.whole})}
		f.add(&event.RunStarted{Header: event.Header{Run: "a-1"}, See: "all", Target: "local"})
		f.add(&event.Failure{Header: event.Header{Run: "a-1", Local: true}, EName: "ValueError", EValue: "x", Traceback: traceback})
		var shown []string
		for _, it := range f.items {
			shown = append(shown, it.Text)
		}
		if got := strings.Join(shown, "\n"); got != c.want {
			t.Errorf("whole %v:\n%s", c.whole, cmp.Diff(c.want, got))
		}
	}
}
