package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shellOf runs a shell in this process, with what is typed into it.
func shellOf(typed string, args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	cmd := newRoot()
	cmd.SetArgs(append([]string{"shell"}, args...))
	cmd.SetIn(strings.NewReader(typed))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	return exitCode(cmd.Execute(), &stderr), stdout.String(), stderr.String()
}

// Where no person types, each statement runs once it is complete, up to the first that fails.
func TestShellReads(t *testing.T) {
	host(t)
	for _, test := range []struct {
		typed string
		args  []string
		code  int
		out   string
		err   string
	}{
		{typed: "print a\nresult 3\n", out: "a\nOut[2]: 3\n"},
		{typed: "print a\r\nprint b", out: "a\nb\n"},
		{typed: "%on ranks\nrank\n%on 1\nrank\n%on local\nrank\n", args: []string{"--see", "all"}, out: "[0] 0\n[1] 1\n1\nnone\n"},
		{typed: "%on everywhere\n%%dip -r 1\nrank\n\n\nrank\n", out: "1\nnone\n0\n"},
		{typed: "rank\n%on\nrank\n", args: []string{"--on", "ranks:1"}, out: "1\nnone\n"},
		{typed: "error ValueError bad\nprint never\n", code: 1, err: "ValueError"},
		{typed: "error ValueError bad\nprint on\n", args: []string{"-k"}, code: 1, out: "on\n", err: "ValueError"},
		{typed: "%on 7\nrank\n", code: 2, err: "names rank 7"},
		{typed: "%on there\n", code: 2, err: `unknown target "there"`},
		{typed: "print (a\n", code: 2, err: "never closed"},
		{typed: "\n  \n# a comment\n"},
		{typed: "", args: []string{"--keep", "0"}, code: 2, err: "--keep"},
		{typed: "", args: []string{"-n", "0"}, code: 2, err: "at least one rank"},
	} {
		code, out, errOut := shellOf(test.typed, test.args...)
		if code != test.code || out != test.out || !strings.Contains(errOut, test.err) {
			t.Errorf("%q %q: exit code %d\n%s%s", test.typed, test.args, code, out, errOut)
		}
	}
}

// A shell wants a session in any case; one that is named has to live.
func TestShellStartsASession(t *testing.T) {
	o := host(t)
	shellOf("")
	shellOf("", "-s", "other")
	if len(o.asked) != 2 || !o.asked[0].Start || o.asked[1].Start || o.asked[1].Name != "other" {
		t.Errorf("asked for %+v", o.asked)
	}
}

// Blocks of a file that somebody redirects have blank lines in them.
func TestShellReadsBlocks(t *testing.T) {
	host(t)
	code, _, errOut := shellOf("if 1:\n  print a\n\n  print b\nelse:\n  print c\n\nprint d\nfor x:\n  print e\n\n\nprint f\n", "-k", "--on", "local")
	var began []string
	for line := range strings.Lines(errOut) {
		if title, ok := strings.CutPrefix(line, "── "); ok {
			began = append(began, strings.TrimSpace(title))
		}
	}
	if got, want := strings.Join(began, ";"), "if 1: · local;print d · local;for x: · local;print f · local"; got != want {
		t.Errorf("exit code %d, began %s\n%s", code, got, errOut)
	}
}

// What was typed is kept for its user alone, and comes back.
func TestPast(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_STATE_HOME", home)
	p, err := openPast()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"x = 1", "x = 1", "def f():\n    pass\n", " ", `s = "ü\n"`} {
		if _, err := p.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"x = 1", "def f():\n    pass", `s = "ü\n"`}
	file := filepath.Join(home, "dipls", "shell_history")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	} else if _, err := f.WriteString(`"a line that was cu`); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	p, err = openPast()
	if err != nil || strings.Join(p.texts, "|") != strings.Join(want, "|") {
		t.Errorf("%q %v", p.texts, err)
	}
	if _, err := p.GetLine(3); err == nil || p.Len() != 3 {
		t.Error(p.Len(), err)
	}
	for i := range 2 * maxPast {
		p.texts = append(p.texts, strings.Repeat("x", i%7+1))
	}
	if err := p.rewrite(); err != nil {
		t.Fatal(err)
	}
	if p, err = openPast(); err != nil || p.Len() != maxPast {
		t.Error(p.Len(), err)
	}
	if p, err = openPast(); err != nil || p.Len() != maxPast {
		t.Error(p.Len(), err)
	}
}

func TestIndentation(t *testing.T) {
	for text, want := range map[string]string{
		"x": "", "if x:": "    ", "if x:\n    y": "    ", "if x:\n  if y:  ": "      ", "": "", "\tx": "\t",
	} {
		if got := indentation(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
