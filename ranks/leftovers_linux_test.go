package ranks

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/internal/stress"
	"dipls/internal/testpython"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
)

// offspring are ways in which code of a rank leaves something behind. Every process sleeps for TAG seconds, or has the environment of its
// round.
var offspring = map[string]string{
	"Popen":    `subprocess.Popen(["sleep", TAG])`,
	"setsid":   `subprocess.Popen(["sleep", TAG], start_new_session=True)`,
	"no env":   `subprocess.Popen(["sleep", TAG], start_new_session=True, env={})`,
	"shell":    `subprocess.Popen(f"nohup sleep {TAG} >/dev/null 2>&1 & exec sleep {TAG}", shell=True)`,
	"fork":     `multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,)).start()`,
	"spawn":    `multiprocessing.get_context("spawn").Process(target=time.sleep, args=(1000,)).start()`,
	"deaf":     `subprocess.Popen(["sh", "-c", f"trap '' INT TERM HUP; while true; do sleep {TAG}; done"])`,
	"daemon":   "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execve(shutil.which('sleep'), ['sleep', TAG], {})\n    os._exit(0)",
	"memory":   `held = shared_memory.SharedMemory(create=True, size=1 << 20)`,
	"lock":     "lock = multiprocessing.get_context('spawn').Lock()\nfiles.append('/dev/shm/sem.' + lock._semlock.name[1:])",
	"by files": "torch.multiprocessing.set_sharing_strategy('file_system')\ntensor = torch.zeros(1 << 16).share_memory_()",
}

// deaths are ways in which a session ends.
var deaths = map[string]func(t *testing.T, server *os.Process, r serverReport){
	"server":          func(t *testing.T, server *os.Process, r serverReport) { server.Kill() },
	"node":            func(t *testing.T, server *os.Process, r serverReport) { kill(t, r.Node) },
	"guard":           func(t *testing.T, server *os.Process, r serverReport) { kill(t, guardOf(t, r)) },
	"server and node": func(t *testing.T, server *os.Process, r serverReport) { server.Kill(); kill(t, r.Node) },
	"node and server": func(t *testing.T, server *os.Process, r serverReport) { kill(t, r.Node); server.Kill() },
	"node and guard": func(t *testing.T, server *os.Process, r serverReport) {
		g := guardOf(t, r)
		kill(t, r.Node)
		kill(t, g)
	},
	"server and guard": func(t *testing.T, server *os.Process, r serverReport) { g := guardOf(t, r); server.Kill(); kill(t, g) },
	"in order":         func(t *testing.T, server *os.Process, r serverReport) { server.Signal(syscall.SIGTERM) },
	"a process": func(t *testing.T, server *os.Process, r serverReport) {
		for _, p := range r.Processes {
			kill(t, p.PID)
			break
		}
		server.Signal(syscall.SIGTERM)
	},
}

func kill(t *testing.T, pid int) {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// guardOf is the guard of a session's node.
func guardOf(t *testing.T, r serverReport) int { return parentOf(t, r.Node) }

// parentOf is the parent of a process.
func parentOf(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "\nPPid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	parent, bad := strconv.Atoi(line)
	if err != nil || bad != nil {
		t.Fatal(err, bad)
	}
	return parent
}

// round is one session that is to leave nothing.
type round struct {
	tag    string
	tmp    string // TMPDIR
	shared []string
}

func newRound(t *testing.T, choices *rand.Rand) *round {
	tmp, err := os.MkdirTemp("/tmp", "dr") // short: sockets may lie there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	return &round{tag: fmt.Sprintf("100000.%09d", choices.IntN(1e9)), tmp: tmp}
}

// env has all processes of a session know the round that they are of.
func (r *round) env(t *testing.T) {
	t.Setenv("DIPLS_TEST_ROUND", r.tag)
	t.Setenv("TMPDIR", r.tmp)
}

// code leaves something behind, prints what files in shared memory there are then, and goes on for ever if it is to hang.
func (r *round) code(kinds []string, hang bool) string {
	lines := []string{
		"import json, multiprocessing, os, re, shutil, subprocess, time",
		"from multiprocessing import shared_memory",
		"TAG, files = '" + r.tag + "', []",
	}
	for _, kind := range kinds {
		if kind == "by files" {
			lines = append(lines, "import torch.multiprocessing")
		}
		if kind == "no tracker" {
			lines = append(lines, "import signal", "from multiprocessing.resource_tracker import _resource_tracker", "os.kill(_resource_tracker._pid, signal.SIGKILL)")
		}
		lines = append(lines, offspring[kind])
	}
	lines = append(lines, `print(json.dumps(files + re.findall(r"/dev/shm/[^. ]*$", open("/proc/self/maps").read(), re.M)), flush=True)`)
	if hang {
		lines = append(lines, "while True: pass")
	}
	return strings.Join(lines, "\n")
}

// left tells what there still is of the round.
func (r *round) left() []string {
	var left []string
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		line, _ := os.ReadFile(dir + "/cmdline") // a zombie has neither
		environ, _ := os.ReadFile(dir + "/environ")
		if strings.Contains(string(line), r.tag) || strings.Contains(string(environ), "DIPLS_TEST_ROUND="+r.tag) {
			left = append(left, fmt.Sprintf("process %s: %s", filepath.Base(dir), strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	for _, name := range r.shared {
		if _, err := os.Lstat(name); err == nil {
			left = append(left, name)
		}
	}
	managers, _ := filepath.Glob(r.tmp + "/*")
	left = append(left, managers...)
	for _, session := range sessions() {
		left = append(left, "session "+session)
	}
	return left
}

// awaitNothing waits until nothing is left of the round, which needs no further dipls.
func (r *round) awaitNothing(t *testing.T) {
	t.Helper()
	begin := time.Now()
	var left []string
	for left = r.left(); len(left) > 0; left = r.left() {
		if time.Since(begin) > testTimeout {
			t.Fatalf("left for %v:\n%s", testTimeout, strings.Join(left, "\n"))
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("nothing was left after %v", time.Since(begin).Round(10*time.Millisecond))
}

// run has a session leave things behind and die.
func (r *round) run(t *testing.T, spec serverSpec, death string) {
	t.Helper()
	r.env(t)
	cmd, _, report := startServer(t, spec)
	for _, p := range report.Processes {
		var names []string
		if err := json.Unmarshal([]byte(p.Output), &names); err != nil {
			t.Fatalf("%q: %v", p.Output, err)
		}
		r.shared = append(r.shared, names...)
	}
	deaths[death](t, cmd.Process, report)
	r.awaitNothing(t)
}

func keys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	return names
}

// Whatever ends a session, nothing that its processes started is left, and nobody has to start another dipls for that.
func TestLeftovers(t *testing.T) {
	python := testpython.Need(t)
	choices := stress.Rand(t)
	var kinds []string
	for kind := range offspring {
		if kind != "by files" { // torch takes long to import: see TestStressLeftovers
			kinds = append(kinds, kind)
		}
	}
	for death := range deaths {
		t.Run(death, func(t *testing.T) {
			r := newRound(t, choices)
			r.run(t, serverSpec{Python: python, Adopt: true, Code: r.code(kinds, false)}, death)
		})
	}
}

// The same with torch, a pool, some of the kinds, and processes that hang.
func TestStressLeftovers(t *testing.T) {
	python := testpython.Need(t)
	choices := stress.Rand(t)
	for range stress.Rounds(1, 60) {
		var kinds []string
		for kind := range offspring {
			if choices.IntN(2) == 0 {
				kinds = append(kinds, kind)
			}
		}
		names := keys(deaths)
		death := names[choices.IntN(len(names))]
		hang := choices.IntN(2) == 0
		t.Run(death, func(t *testing.T) {
			t.Logf("%v, hangs: %v", kinds, hang)
			r := newRound(t, choices)
			r.run(t, serverSpec{Python: python, Adopt: true, Ranks: choices.IntN(3), Code: r.code(kinds, hang)}, death)
		})
	}
}

// A server that is killed at any moment of its start leaves nothing.
func TestStressEarlyKill(t *testing.T) {
	python := testpython.Need(t)
	choices := stress.Rand(t)
	for range stress.Rounds(5, 100) {
		moment := time.Duration(choices.IntN(800)) * time.Millisecond
		r := newRound(t, choices)
		r.env(t)
		cmd, _ := runServer(t, serverSpec{Python: python, Ranks: choices.IntN(3)})
		time.Sleep(moment)
		killServer(t, cmd)
		t.Logf("killed after %v", moment)
		r.awaitNothing(t)
	}
}

// A node that imports something endless goes with its server, and is no obstacle to another dipls.
func TestServerKilledDuringAnEndlessImport(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "endless.py"), []byte("open('importing', 'w').close()\nwhile True: pass"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PYTHONPATH", dir)
	r := newRound(t, stress.Rand(t))
	r.env(t)
	cmd, _ := runServer(t, serverSpec{Python: testpython.Need(t), Dir: dir, Ranks: 2, Preload: []string{"endless"}})
	await(t, "the import", func() bool {
		_, err := os.Stat(filepath.Join(dir, "importing"))
		return err == nil
	})
	killServer(t, cmd)
	r.awaitNothing(t)
}

// sweep removes what dead sessions have left, as each new one does.
func sweep(t *testing.T) {
	t.Helper()
	if _, err := host.CheckSockets(); err != nil {
		t.Fatal(err)
	}
}

// A session whose directory was removed while it lives makes it anew for the next pool.
func TestSessionWithoutItsDirectory(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	startPool(t, n, 2)
	if err := os.RemoveAll(filepath.Dir(directory(n))); err != nil {
		t.Fatal(err)
	}
	sweep(t)
	p := startPool(t, n, 2)
	if got := execute(t, p.Ranks()[1], "print on"); got.output() == "" {
		t.Errorf("no output, %v", got.err)
	}
}

// While a living session makes its directory anew, there is a moment in which that is not locked. Another dipls that starts just then ends nothing.
func TestSessionMakesItsDirectoryAnew(t *testing.T) {
	n := startPython(t)
	p := startPool(t, n, 1)
	if err := errors.Join(os.RemoveAll(directory(n)), os.Mkdir(directory(n), 0o700)); err != nil {
		t.Fatal(err)
	}
	sweep(t)
	if got := execute(t, p.Ranks()[0], "print('on')"); got.output() != "on\n" {
		t.Errorf("output %q, %v", got.output(), got.err)
	}
	if got := execute(t, startPool(t, n, 1).Ranks()[0], "print('on')"); got.output() != "on\n" {
		t.Errorf("of the next pool, output %q, %v", got.output(), got.err)
	}
}

// When all who could clean up are killed at once, the next dipls does, as far as it can know what was the session's.
func TestServerNodeAndGuardKilled(t *testing.T) {
	r := newRound(t, stress.Rand(t))
	r.env(t)
	cmd, _, report := startServer(t, serverSpec{
		Python: testpython.Need(t), Adopt: true,
		Code: r.code([]string{"Popen", "setsid", "fork", "deaf"}, false),
	})
	for _, pid := range []int{report.Node, guardOf(t, report), cmd.Process.Pid} {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range []int{report.Node, guardOf(t, report), cmd.Process.Pid} {
		kill(t, pid)
	}
	cmd.Wait()
	if len(r.left()) == 0 {
		t.Fatal("nothing to clean up")
	}
	closeNode(t, startFake(t, fakerank.Config{}))
	r.awaitNothing(t)
}

func killServer(t *testing.T, cmd *exec.Cmd) {
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

// What would have freed shared memory was killed: the guard does it.
func TestSharedMemoryWithoutATracker(t *testing.T) {
	r := newRound(t, stress.Rand(t))
	r.run(t, serverSpec{
		Python: testpython.Need(t), Adopt: true,
		Code: r.code([]string{"memory", "lock", "no tracker"}, false),
	}, "server")
}
