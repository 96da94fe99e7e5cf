package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dipls/internal/ranklist"
	"dipls/internal/testdisk"
	"dipls/internal/testpython"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"dipls":    main,
		"intruder": intrude,
	})
}

// patience is how long a condition may take to come true before a test gives up; no test depends on its value.
const patience = 2 * time.Minute

// TestScripts runs the binary in sessions that read as a person would type them. Each script has its own home and
// runtime directory, and fails if it leaves a process or a socket behind.
//
// Commands besides testscript's own:
//
//	exits CODE COMMAND…    run a command that must exit with CODE
//	await FILE…            wait until the files exist and are not empty
//	awaitout NAME TEXT     wait until the output file NAME contains TEXT
//	signal SIGNAL FILE     send a signal to the process whose pid is in FILE
//	gone FILE…             wait until the processes whose pids are in the files have ended
//	said RANKS REGEXP      the last command showed lines that match, of exactly these ranks: how lines are folded depends on when they come
//	disk DIR BYTES         mount a disk of that size; only where the condition "[disk]" holds
//	count N TEXT           the last command's output and errors together contain TEXT exactly N times
func TestScripts(t *testing.T) {
	// A process inherits ignored signals, as from nohup, and dipls respects that. Handled ones are at their default there.
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, os.Interrupt, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(handled) }) // when the scripts, which run in parallel, have ended
	python := testpython.Need(t)
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Socket paths are short by law (108 bytes), and a test's working directory is not.
			runtime, err := os.MkdirTemp("", "d")
			if err != nil {
				return err
			}
			mark := filepath.Base(runtime)
			env.Setenv("XDG_RUNTIME_DIR", runtime)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "home", ".cache"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "home", ".local", "state"))
			env.Setenv("DIPLS_PYTHON", python)
			env.Setenv("DIPLS_TEST_MARK", mark)
			env.Setenv("EXAMPLES", examples)
			env.Setenv("CASES", filepath.Join(filepath.Dir(examples), "testdata", "cases"))
			env.Setenv("TERM", "dumb")
			if err := os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700); err != nil {
				return err
			}
			env.Defer(func() {
				checkNothingLeft(env.T(), mark, runtime)
				os.RemoveAll(runtime)
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    cmdExits,
			"await":    cmdAwait,
			"awaitout": cmdAwaitOut,
			"signal":   cmdSignal,
			"gone":     cmdGone,
			"count":    cmdCount,
			"disk":     cmdDisk,
			"said":     cmdSaid,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "disk" {
				unmount, err := testdisk.Mount(t.TempDir(), 1<<16)
				return err == nil && unmount() == nil, nil
			}
			module, ok := strings.CutPrefix(cond, "python:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return exec.Command(python, "-c", "import "+module).Run() == nil, nil
		},
	})
}

// checkNothingLeft fails the test if a process that carries the mark in its environment still lives, or if the runtime
// directory is not empty.
func checkNothingLeft(t interface{ Fatal(...any) }, mark, runtime string) {
	if left := awaitNothing(func() []string { return marked(mark) }); len(left) > 0 {
		for _, process := range left {
			pid, _, _ := strings.Cut(process, " ")
			if n, err := strconv.Atoi(pid); err == nil {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		t.Fatal("processes left behind:\n" + strings.Join(left, "\n"))
	}
	if left := awaitNothing(func() []string { return sessionsIn(runtime) }); len(left) > 0 {
		t.Fatal("runtime directories left behind:\n" + strings.Join(left, "\n"))
	}
}

// sessionsIn are the sessions' directories in a runtime directory.
func sessionsIn(runtime string) []string {
	sessions, _ := filepath.Glob(filepath.Join(runtime, "dipls", "????????"))
	return sessions
}

// awaitNothing waits until look finds nothing, and returns what it found last.
func awaitNothing(look func() []string) []string {
	var found []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found = look(); len(found) == 0 {
			return nil
		}
	}
	return found
}

// marked lists the living processes whose environment has DIPLS_TEST_MARK=mark, as "PID command line".
func marked(mark string) []string {
	var found []string
	entries, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, entry := range entries {
		environ, err := os.ReadFile(entry)
		if err != nil || !bytes.Contains(environ, []byte("DIPLS_TEST_MARK="+mark)) {
			continue
		}
		dir := filepath.Dir(entry)
		if stat, _ := os.ReadFile(filepath.Join(dir, "stat")); bytes.Contains(stat, []byte(") Z ")) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
	}
	return found
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func await(ts *testscript.TestScript, what string, condition func() bool) {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("gave up waiting for %s", what)
		}
	}
}

func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: disk DIR BYTES")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	unmount, err := testdisk.Mount(ts.MkAbs(args[0]), size)
	ts.Check(err)
	ts.Defer(func() { ts.Check(unmount()) })
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		await(ts, name, func() bool {
			info, err := os.Stat(ts.MkAbs(name))
			return err == nil && info.Size() > 0
		})
	}
}

func cmdAwaitOut(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: awaitout FILE TEXT")
	}
	await(ts, fmt.Sprintf("%q in %s", args[1], args[0]), func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(text), args[1])
	})
}

func pidIn(ts *testscript.TestScript, name string) int {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(name)))
	ts.Check(err)
	return pid
}

func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: signal SIGNAL FILE")
	}
	signals := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1,
		"QUIT": syscall.SIGQUIT, "STOP": syscall.SIGSTOP}
	number, ok := signals[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	ts.Check(syscall.Kill(pidIn(ts, args[1]), number))
}

func cmdGone(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		pid := pidIn(ts, name)
		await(ts, fmt.Sprintf("the end of process %d (%s)", pid, name), func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || bytes.Contains(stat, []byte(") Z "))
		})
	}
}

// rankLine is a line of several ranks' output, folded or not.
var rankLine = regexp.MustCompile(`(?m)^\[([0-9,-]+)\] (.*)$`)

func cmdSaid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: said RANKS REGEXP")
	}
	wanted, err := regexp.Compile(args[1])
	ts.Check(err)
	var said []string
	for _, line := range rankLine.FindAllStringSubmatch(ts.ReadFile("stdout"), -1) {
		if wanted.MatchString(line[2]) {
			said = append(said, line[1])
		}
	}
	if got, err := ranklist.Parse(strings.Join(said, ",")); err != nil || got.String() != args[0] {
		ts.Fatalf("%q was said by ranks %q, want %s", args[1], said, args[0])
	}
}

func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: count N TEXT")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	both := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if got := strings.Count(both, args[1]); got != want {
		ts.Fatalf("%q occurs %d times, want %d", args[1], got, want)
	}
}
