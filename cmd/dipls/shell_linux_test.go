package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"dipls/internal/testpython"
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
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip("no tmux")
	}
	python := testpython.Need(t)
	for _, columns := range []string{"120", "60"} {
		t.Run(columns, func(t *testing.T) {
			place := t.TempDir()
			runtime, err := os.MkdirTemp("", "d")
			if err != nil {
				t.Fatal(err)
			}
			mark := filepath.Base(runtime)
			t.Cleanup(func() {
				checkNothingLeft(t, mark, runtime)
				os.RemoveAll(runtime)
			})
			server := filepath.Join(runtime, "tmux")
			at := func(args ...string) string {
				t.Helper()
				cmd := exec.Command(tmux, append([]string{"-u", "-S", server, "-f", "/dev/null"}, args...)...)
				cmd.Env = append(os.Environ(), "HOME="+place, "XDG_STATE_HOME="+place, "XDG_RUNTIME_DIR="+runtime, "DIPLS_RUNTIME_DIR="+runtime,
					"DIPLS_PYTHON="+python, "DIPLS_TEST_MARK="+mark, "NO_COLOR=1", "LC_ALL=C.UTF-8")
				cmd.Dir = place
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("tmux %q: %v\n%s", args, err, out)
				}
				return string(out)
			}
			shows := func(want string) (screen string) {
				t.Helper()
				for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
					if screen = at("capture-pane", "-p", "-J"); strings.Contains(screen, want) {
						return screen
					}
				}
				t.Fatalf("%q is not on the screen:\n%s", want, screen)
				return ""
			}
			at("new-session", "-d", "-x", columns, "-y", "40", "dipls shell -n 2; dipls stop; echo exit $?; sleep 1000")
			defer func() {
				if t.Failed() { // the session is ended all the same
					at("send-keys", "C-c", "C-d")
					shows("exit")
				}
				at("kill-server")
			}()
			shows("local>")
			at("send-keys", "größe = {'a': 1, 'bc': 2}", "Enter")
			shows("1, 'bc': 2}\nlocal>")
			at("send-keys", "größe['b", "Tab", "']", "Enter")
			shows("Out[2]: 2\nlocal>")
			at("send-keys", "%on ranks", "Enter")
			shows("all ranks>")
			at("send-keys", "import time", "Enter")
			shows("ranks 0-1>")
			at("send-keys", "for i in range(2):", "Enter", "print('rank line', i)", "Enter", "Enter")
			shows("rank line 0\nrank line 1\n")
			at("send-keys", "time.sleep(600)", "Enter")
			shows("time.sleep(600) · 0-1 of 2 running")
			at("send-keys", "C-c")
			shows("interrupted after")
			at("send-keys", "Up", "C-u", "C-r", "print")
			shows("print('rank line', i)")
			at("send-keys", "C-g", "C-c")
			at("send-keys", "%%dip local", "Enter", "größe", "Enter", "Enter")
			shows("{'a': 1, 'bc': 2}")
			at("send-keys", "C-d")
			shows("exit 0")
		})
	}
}
