package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// typist sits at a terminal.
type typist struct {
	t     *testing.T
	other *os.File
	read  chan string
	text  string // what was shown since the last that was awaited, without escapes
}

// types types, and waits until a text is shown after that.
func (p *typist) types(keys, until string) {
	p.t.Helper()
	if _, err := p.other.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
	late := time.After(patience)
	for {
		shown := strings.ReplaceAll(ansi.Strip(p.text), "\r", "")
		if i := strings.Index(shown, until); i >= 0 {
			p.text = shown[i+len(until):]
			return
		}
		select {
		case piece := <-p.read:
			p.text += piece
		case <-late:
			p.t.Fatalf("%q was typed, and %q is not shown, but\n%s", keys, until, shown)
		}
	}
}

// A person at a terminal: the prompt says where statements run, and what was typed is completed, walked through, interrupted and left.
func TestShellAtTerminal(t *testing.T) {
	host(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("TERM", "xterm")
	end, other := openPair(t, 80)
	in, out := *os.Stdin, *os.Stdout // the editor reads from what was standard input at the program's start
	*os.Stdin, *os.Stdout = *end, *end
	defer func() { *os.Stdin, *os.Stdout = in, out }()
	p := &typist{t: t, other: other, read: make(chan string, 1000)}
	go func() {
		for piece := make([]byte, 64<<10); ; {
			n, err := other.Read(piece)
			if err != nil {
				return
			}
			p.read <- string(piece[:n])
		}
	}()
	ended := make(chan int)
	go func() { ended <- run([]string{"shell"}, end, end) }()

	p.types("", "\nlocal> ")
	p.types("print ünï京\r", "ünï京\n")
	p.types("", "\nlocal> ")
	p.types("%on ranks\r", "\nranks 0-1> ")
	p.types("rank\r", "\n0")
	p.types("%on\r", "\nlocal> ")
	p.types("let model 3\r", "\nlocal> ")
	p.types("print \x1b[D\x1b[Clet_it\x03", "\nlocal> ") // Ctrl-C throws it away
	p.types("\x1b[A", "let model 3")
	p.types("\x1b[A\x1b[A", "rank")
	p.types("\r", "\nnone")
	p.types("%%dip local\rprint y\r", "print y")
	p.types("\r", "\ny")
	p.types("error ValueError bad\r", "ValueError: bad")
	p.types("", "\nlocal> ")
	p.types("\x1b[200~print on\r\rprint too\x1b[201~\r", "\ntoo") // pasted
	p.types("", "\nlocal> ")
	p.types("wait\r", "wait · local")
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.types("", "interrupted")
	p.types("", "\nlocal> ")
	p.types("\x04", "dipls shell -s 'tr ain'")
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// What stands on the screen, with Python.
func TestShellOnScreen(t *testing.T) {
	t.Parallel()
	for _, columns := range []string{"120", "60"} {
		t.Run(columns, func(t *testing.T) {
			t.Parallel()
			p := openPane(t, columns, "dipls shell -n 2; dipls stop", nil)
			p.shows("local>")
			p.types("größe = {'a': 1, 'bc': 2}", "Enter")
			p.shows("1, 'bc': 2}\nlocal>")
			p.types("größe['b", "Tab", "']", "Enter")
			p.shows("Out[2]: 2\nlocal>")
			p.types("%on ranks", "Enter")
			p.shows("all ranks>")
			p.types("import time", "Enter")
			p.shows("ranks 0-1>")
			p.types("for i in range(2):", "Enter", "print('rank line', i)", "Enter", "Enter")
			p.shows("rank line 0\nrank line 1\n")
			p.types("time.sleep(600)", "Enter")
			p.shows("time.sleep(600) · 0-1 of 2 running")
			p.types("C-c")
			p.shows("interrupted after")
			p.types("Up", "C-u", "C-r", "print")
			p.shows("print('rank line', i)")
			p.types("C-g", "C-c")
			p.types("%%dip local", "Enter", "größe", "Enter", "Enter")
			p.shows("{'a': 1, 'bc': 2}")
			p.types("C-d")
			p.shows("exit 0")
		})
	}
}
