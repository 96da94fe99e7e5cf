package cells

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A token is a comment as Python's tokenize sees it: line from 1, column in code points from 0.
type token struct {
	Line, Column int
	Text         string
}

const tokenizePy = `
import io, json, sys, tokenize
out = []
for name in sys.argv[1:]:
    with open(name, "rb") as f:
        tokens = tokenize.tokenize(f.readline)
        try:
            out.append([{"Line": t.start[0], "Column": t.start[1], "Text": t.string} for t in tokens if t.type == tokenize.COMMENT])
        except (tokenize.TokenError, SyntaxError) as e:
            out.append(None)
json.dump({"version": sys.version_info[:2], "files": out}, sys.stdout)
`

// The scanner and CPython's own tokenizer find the same comments.
func TestCommentsAgreeWithPython(t *testing.T) {
	files := corpus(t)
	var answer struct {
		Version []int
		Files   [][]token
	}
	askPython(t, tokenizePy, files, &answer)
	for i, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			if strings.HasPrefix(filepath.Base(name), "py312") && answer.Version[0] == 3 && answer.Version[1] < 12 {
				t.Skipf("needs Python 3.12, this is %v", answer.Version)
			}
			if answer.Files[i] == nil {
				t.Skip("Python refuses the file")
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(answer.Files[i], comments(string(text))); diff != "" {
				t.Errorf("Python is -, we are +\n%s", diff)
			}
		})
	}
}

// corpus returns Python files to compare on.
func corpus(t *testing.T) []string {
	pattern := filepath.Join("..", "testdata", "cells", "*.py")
	if p := os.Getenv("DIPLS_TEST_PY_FILES"); p != "" {
		pattern = p // a larger corpus, such as the standard library
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files at %s: %v", pattern, err)
	}
	return files
}

// askPython runs a script on files, and decodes the JSON that it prints. Without a Python the test is skipped.
func askPython(t *testing.T, script string, files []string, answer any) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to compare with")
	}
	cmd := exec.Command(python, append([]string{"-c", script}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", python, err, &stderr)
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatal(err)
	}
}

// callsPy prints the sorted names that each file calls, null for a file that Python refuses. match and case are names only where
// Python's grammar says so, which callsIn cannot know.
const callsPy = `
import ast, json, sys
def dotted(f):
    parts = []
    while isinstance(f, ast.Attribute):
        parts.append(f.attr)
        f = f.value
    if isinstance(f, ast.Name):
        parts.append(f.id)
    elif parts:
        parts.append("")
    return ".".join(reversed(parts))
out = []
for name in sys.argv[1:]:
    with open(name, "rb") as f:
        try:
            tree = ast.parse(f.read())
        except (SyntaxError, ValueError):
            out.append(None)
            continue
    called = {ast.Call: "func", getattr(ast, "MatchClass", None): "cls"}
    calls = [dotted(getattr(n, called[type(n)])) for n in ast.walk(tree) if type(n) in called]
    out.append(sorted((c for c in calls if c not in ("", "match", "case")), key=lambda s: s.encode()))
json.dump(out, sys.stdout)
`

// callsIn and CPython's own parser find the same calls by name.
func TestCallsAgreeWithPython(t *testing.T) {
	files := corpus(t)
	var answer [][]string
	askPython(t, callsPy, files, &answer)
	for i, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			if answer[i] == nil {
				t.Skip("Python refuses the file")
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(names(callsIn(codeOf(string(text)))), func(s string) bool { return s == "match" || s == "case" })
			slices.Sort(got)
			if diff := cmp.Diff(answer[i], got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Python is -, we are +\n%s", diff)
			}
		})
	}
}

func comments(text string) []token {
	found := []token{}
	f := Parse(text)
	s := scanner{src: text, pos: len(text) - len(strings.TrimPrefix(text, byteOrderMark)), eof: true}
	bom := s.pos
	s.onComment = func(r Range) {
		p := f.Position(r.Start, UTF32)
		if bom > 0 && p.Line == 0 {
			p.Column--
		}
		found = append(found, token{p.Line + 1, p.Column, text[r.Start:r.End]})
	}
	for s.pos < len(s.src) {
		s.line()
	}
	return found
}
