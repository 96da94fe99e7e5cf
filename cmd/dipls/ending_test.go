package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"dipls/internal/stress"
	"dipls/internal/testpython"
)

// backgroundFile leaves threads, executors and exit handlers behind, in the local namespace and on ranks.
const backgroundFile = `
import atexit, threading, time
from concurrent.futures import ThreadPoolExecutor
threading.Thread(target=time.sleep, args=(0.2,)).start()
executor = ThreadPoolExecutor(2)
# Not by the main thread: of a worker that an interrupt of its start has kept from the executor, Python waits for the end for ever.
starter = threading.Thread(target=lambda: [executor.submit(time.sleep, 0.1) for _ in range(4)])
starter.start()
starter.join()
atexit.register(time.sleep, 0.1)
# %%
# %%dip
import atexit, os, threading, time
threading.Thread(target=time.sleep, args=(0.3 * int(os.environ["RANK"]),)).start()
atexit.register(time.sleep, 0.1)
# %%
# %%dip everywhere
time.sleep(0.1)
`

// Whatever signals come, and whenever they come, dipls run ends with a code that says how, and leaves nothing behind.
func TestStressEnds(t *testing.T) {
	python := testpython.Need(t)
	rng := stress.Rand(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "background.py")
	if err := os.WriteFile(file, []byte(backgroundFile), 0o600); err != nil {
		t.Fatal(err)
	}
	runtime, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(runtime)
	mark := filepath.Base(runtime)
	for round := range stress.Rounds(3, 60) {
		cmd := exec.Command(exe, "run", file, "-n", "2", "--app", "none")
		cmd.Args[0] = "dipls"
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtime, "XDG_STATE_HOME="+dir, "XDG_CACHE_HOME="+dir, "DIPLS_PYTHON="+python, "DIPLS_TEST_MARK="+mark)
		cmd.Dir = dir
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		signals, err := signalled(cmd, rng)
		code := cmd.ProcessState.ExitCode()
		killed := slices.Contains(signals, syscall.SIGKILL) && code == -1
		terminated := len(signals) > 0 && code == -1 && !killed // before it had a handler
		if !killed && !terminated && code != exitInterrupted && (code != exitOK || err != nil) {
			t.Errorf("round %d: %v after %v\n%s", round, err, signals, output.String())
		}
		if left := awaitNothing(func() []string { return marked(mark) }); len(left) > 0 {
			t.Fatalf("round %d: left after %v: %q\n%s", round, signals, left, output.String())
		}
		if left := awaitNothing(func() []string { return sessionsIn(runtime) }); len(left) > 0 {
			t.Fatalf("round %d: left after %v: %q", round, signals, left)
		}
	}
}

// signalled sends up to three signals at random moments to a process, and waits for its end.
func signalled(cmd *exec.Cmd, rng *rand.Rand) (sent []syscall.Signal, err error) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wait := time.Duration(rng.Int64N(int64(3 * time.Second)))
	for range 1 + rng.IntN(3) {
		select {
		case err := <-ended:
			return sent, err
		case <-time.After(wait):
		}
		signal := []syscall.Signal{syscall.SIGINT, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL}[rng.IntN(5)]
		if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return sent, err
		}
		sent = append(sent, signal)
		wait = time.Duration(rng.Int64N(int64(500 * time.Millisecond)))
	}
	return sent, <-ended
}
