package sessiontest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dipls/ranks/fakerank"
)

// Script is the language of a session's cells. Tests write fakerank's commands.
type Script interface {
	// Code is commands in the language, each in its line.
	Code(commands string) string
	// Open opens a gate for all that waits there, or will.
	Open(t testing.TB, gate string)
}

// Python is Python, in which gates are files of a directory.
type Python struct{ Gates string }

// Code writes the commands in Python.
func (p Python) Code(commands string) string {
	lines := strings.Split(commands, "\n")
	for i, line := range lines {
		lines[i] = p.line(line)
	}
	return strings.Join(lines, "\n")
}

// line is a line of Python that does what a command says.
func (p Python) line(command string) string {
	verb, text, _ := strings.Cut(command, " ")
	first, rest, _ := strings.Cut(text, " ")
	switch verb {
	case "":
		return "pass"
	case "print":
		return fmt.Sprintf("print(%q)", text)
	case "stderr":
		return fmt.Sprintf("print(%q, file=__import__('sys').stderr)", text)
	case "result":
		return fmt.Sprintf("type('Result', (), {'__repr__': lambda self: %q})()", text)
	case "display":
		return fmt.Sprintf("display({%q: %q}, raw=True)", first, rest)
	case "error":
		return fmt.Sprintf("raise %s(%q)", first, rest)
	case "wrong":
		return "x = = 1"
	case "rank":
		return "print(__import__('os').environ.get('RANK', 'none'))"
	case "let":
		return fmt.Sprintf("%s = %q", first, rest)
	case "argv":
		show := "print(*__import__('sys').argv[1:], __import__('os').environ['COLUMNS'])"
		if text != "" {
			return fmt.Sprintf("while __import__('os').environ['COLUMNS'] != %q: __import__('time').sleep(0.005)\n%s", text, show)
		}
		return show
	case "wait":
		return "__import__('time').sleep(1000)"
	case "exit":
		return fmt.Sprintf("__import__('os')._exit(%s)", text)
	case "later":
		return fmt.Sprintf("__import__('threading').Timer(0.2, print, [%q]).start()", text)
	case "input":
		return fmt.Sprintf("print(input(%q))", text)
	case "getpass":
		return fmt.Sprintf("print(__import__('getpass').getpass(%q))", text)
	case "gate":
		return fmt.Sprintf("while not __import__('os').path.exists(%q): __import__('time').sleep(0.005)", filepath.Join(p.Gates, text))
	}
	panic("no such command in Python: " + command)
}

// Open makes the file.
func (p Python) Open(t testing.TB, gate string) {
	if err := os.WriteFile(filepath.Join(p.Gates, gate), nil, 0o600); err != nil {
		t.Error(err)
	}
}

// Fake is what the processes of a [fakerank.Host] understand.
type Fake struct{ Machine *fakerank.Host }

// Code leaves the commands as they are.
func (Fake) Code(commands string) string { return commands }

// Open opens the gate.
func (f Fake) Open(_ testing.TB, gate string) { f.Machine.Open(gate) }
