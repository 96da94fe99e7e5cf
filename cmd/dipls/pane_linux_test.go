package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dipls/internal/testpython"
)

// pane is a terminal that tmux shows: a person types there, and what stands on its screen can be read.
type pane struct {
	t     *testing.T
	place string // home and working directory of what runs there
	tmux  func(args ...string) (out string)
}

// openPane makes a terminal of so many columns in a home of its own, where shell commands run, the last of which must end soon.
func openPane(t *testing.T, columns, commands string, files map[string]string) *pane {
	t.Helper()
	program, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip("no tmux")
	}
	python := testpython.Need(t)
	p := &pane{t: t, place: t.TempDir()}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.place, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runtime, err := os.MkdirTemp("", "d") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Base(runtime)
	t.Cleanup(func() {
		checkNothingLeft(t, mark, runtime)
		os.RemoveAll(runtime)
	})
	p.tmux = func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, append([]string{"-u", "-S", filepath.Join(runtime, "tmux"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+p.place, "XDG_STATE_HOME="+filepath.Join(p.place, "state"), "XDG_RUNTIME_DIR="+runtime, "DIPLS_RUNTIME_DIR="+runtime,
			"DIPLS_PYTHON="+python, "DIPLS_TEST_MARK="+mark, "NO_COLOR=1", "LC_ALL=C.UTF-8")
		cmd.Dir = p.place
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	p.tmux("new-session", "-d", "-x", columns, "-y", "80", commands+"; echo exit $?; sleep 1000")
	t.Cleanup(func() {
		p.tmux("kill-server") // dipls ends what it runs when its terminal goes
	})
	return p
}

// types presses keys, by the names that tmux has for them, and types texts.
func (p *pane) types(keys ...string) {
	p.t.Helper()
	p.tmux(append([]string{"send-keys"}, keys...)...)
}

// shows waits until a text stands on the screen, and returns all that does: lines that were broken at the edge are whole.
func (p *pane) shows(want string) (screen string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if screen = p.tmux("capture-pane", "-p", "-J"); strings.Contains(screen, want) {
			return screen
		}
	}
	p.t.Fatalf("%q is not on the screen:\n%s", want, screen)
	return ""
}

// goesOn makes a file for which code waits.
func (p *pane) goesOn(name string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.place, name), nil, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// day is a file of a working day, whose ranks wait for files named go-N.
const day = `# %% Set up
# %%dip everywhere
import os, shutil, time

rank = int(os.environ.get("RANK", "-1"))

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

# %% Choose
model = input("Which model? ")
print("model is", model)

# %% Train
# %%dip --see all
for step in range(1, 31):
    print(f"\rstep {step}/30 " + "#" * step, end="")
    if step == 20:
        wait_for("go-1")
print()
print(f"rank {rank} has seen", "word " * 20)
print("a terminal of", shutil.get_terminal_size().columns)

# %% Fail
# %%dip
def forward(x):
    return 1 / x

if rank == 1:
    forward(0)
wait_for("never")
`

// A file of cells in terminals of two widths: a question, during which the terminal is resized, progress, a failure, an interrupt. What stands on the screen
// in the end is in testdata/pane.
func TestRunOnScreen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ columns, before string }{{"120", "60"}, {"60", "120"}} {
		t.Run(test.columns, func(t *testing.T) {
			t.Parallel()
			p := openPane(t, test.before, "dipls run 'größe 1.py' -n 3", map[string]string{"größe 1.py": day})
			p.shows("Which model?")
			p.tmux("resize-window", "-x", test.columns)
			p.types("résnet", "Enter")
			p.shows("model is résnet")
			p.shows("\n[0-2] step 20/30 ####################\n") // one line for ranks that have come as far
			p.shows("0-2 of 3 running")
			p.goesOn("go-1")
			p.shows("ZeroDivisionError: division by zero")
			p.shows("rank 1: ZeroDivisionError · 0,2 of 3")
			p.types("C-c")
			screen := p.settled(p.shows("exit "))
			golden, err := os.ReadFile(filepath.Join("testdata", "pane", "run-"+test.columns+".txt"))
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(string(golden), screen); diff != "" {
				t.Errorf("the screen in the end, without times and folders (-want +got):\n%s\n%s", diff, screen)
			}
		})
	}
}

var (
	duration = regexp.MustCompile(`\d+(\.\d)? m?s\b`)
	runID    = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9a-f-]*`)
)

// settled is a screen without what differs each time.
func (p *pane) settled(screen string) string {
	screen = strings.ReplaceAll(screen, p.place, "HOME")
	screen = runID.ReplaceAllString(duration.ReplaceAllString(screen, "TIME"), "RUN")
	return strings.TrimRight(screen, "\n") + "\n"
}
