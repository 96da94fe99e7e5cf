package cells

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to compare with")
	}
	pattern := filepath.Join("..", "testdata", "cells", "*.py")
	if p := os.Getenv("DIPLS_TEST_PY_FILES"); p != "" {
		pattern = p // a larger corpus, such as the standard library
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files at %s: %v", pattern, err)
	}
	cmd := exec.Command(python, append([]string{"-c", tokenizePy}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", python, err, &stderr)
	}
	var answer struct {
		Version []int
		Files   [][]token
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
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
