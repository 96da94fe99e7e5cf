package lsp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dipls/internal/lsptest"
	"dipls/session"
)

// site is where programs run whose sessions outlive them: a folder, and a runtime directory of its own. At the end of the test its sessions are
// stopped, and nothing is left of them.
type site struct {
	t      *testing.T
	binary string
	Folder string
	mark   string // in the environment of all that is started here
	env    []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	needPython(t)
	if testing.Short() {
		t.Skip("-short")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := os.MkdirTemp("", "d") // short, since paths of sockets must be
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, binary: path, Folder: folder, mark: "DIPLS_TEST_SITE=" + runtime}
	s.env = append(os.Environ(), s.mark, "XDG_RUNTIME_DIR="+runtime, "DIPLS_RUNTIME_DIR="+runtime+"/dipls")
	t.Cleanup(func() {
		for _, living := range s.sessions() {
			if out, err := s.dipls("stop", living.Name).CombinedOutput(); err != nil {
				t.Errorf("dipls stop: %v\n%s", err, out)
			}
		}
		s.awaitNothing()
		os.RemoveAll(runtime)
	})
	return s
}

// dipls is a command of the program in the folder.
func (s *site) dipls(args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Env, cmd.Dir = s.env, s.Folder
	return cmd
}

// editor starts an editor with a server, which kill ends by SIGKILL.
func (s *site) editor(settings lsptest.Object) (e *lsptest.Editor, kill func()) {
	s.t.Helper()
	killed, cancel := context.WithCancel(context.Background()) // the test's own ends before the editor has said goodbye
	s.t.Cleanup(cancel)
	server := func(ctx context.Context, stream io.ReadWriteCloser) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		context.AfterFunc(killed, stop)
		return lsptest.Program(s.env, s.binary, "lsp")(ctx, stream)
	}
	e = lsptest.Start(s.t, lsptest.Options{Server: server, Folder: s.Folder, Init: events, Kept: true, Settings: settings})
	return e, func() {
		cancel()
		_ = e.AwaitEnd() // killed
	}
}

// outliving are the settings of an editor whose sessions outlive it.
func outliving() lsptest.Object {
	return lsptest.Object{"ranks": 2, "app": "none", "session": lsptest.Object{"keep": "forever"}}
}

// sessions are those of the folder.
func (s *site) sessions() (found []session.Listed) {
	s.t.Helper()
	out, err := s.dipls("sessions", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		s.t.Fatalf("dipls sessions --json: %v\n%s", err, out)
	}
	return slices.DeleteFunc(found, func(one session.Listed) bool { return one.Dir != s.Folder }) // there may be others of this user
}

// processes are those that live and were started here.
func (s *site) processes() (pids []int) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		environ, _ := os.ReadFile(path)
		if slices.Contains(strings.Split(string(environ), "\x00"), s.mark) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitNothing waits until nothing is left of what was started here, but for some processes: no process, and no directory with sockets.
func (s *site) awaitNothing(but ...int) {
	s.t.Helper()
	runtime := strings.TrimPrefix(s.mark, "DIPLS_TEST_SITE=")
	s.await("nothing to be left", func() any {
		directories, _ := filepath.Glob(runtime + "/dipls/*/*")
		pids := slices.DeleteFunc(s.processes(), func(pid int) bool { return slices.Contains(but, pid) })
		if len(pids)+len(directories) > 0 {
			return fmt.Sprint("processes ", pids, " and ", directories)
		}
		return nil
	})
}

// await waits until missing says that nothing is missing.
func (s *site) await(what string, missing func() any) {
	s.t.Helper()
	var last any
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if last = missing(); last == nil {
			return
		}
	}
	s.t.Fatalf("gave up waiting for %s; there is still %v", what, last)
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Folder, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// counting is a cell whose ranks print numbered lines until somebody makes the file "enough", and then write down how many those were.
const counting = `# %% Count target="remote" see="all"
import os, time
n = 0
while not os.path.exists("enough"):
    n += 1
    print("line", n, flush=True)
    time.sleep(0.001)
with open("counted-" + os.environ["RANK"], "w") as f:
    f.write(str(n))
`

// The server of an editor is killed while ranks print. Whoever comes then gets every line once, and so has the journal.
func TestKilledServerLosesNoLine(t *testing.T) {
	s := newSite(t)
	first, kill := s.editor(outliving())
	first.Open("count.py", counting)
	run := first.Run("dip.runCell", lsptest.Object{"uri": first.URI("count.py"), "cell": 1})
	for rank := range 2 {
		first.Await("lines", lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Has("rank", rank))
	}
	kill()

	second, _ := s.editor(outliving())
	second.Open("count.py", counting)
	started := second.Await("the run", lsptest.Has("event", "run_started"), lsptest.Has("run", run))
	for rank := range 2 {
		second.Await("lines", lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Has("rank", rank))
	}
	s.write("enough", "")
	finished(second, run, "ok")
	for rank := range 2 {
		counted, err := os.ReadFile(filepath.Join(s.Folder, fmt.Sprint("counted-", rank)))
		n, bad := strconv.Atoi(string(counted))
		if err := errors.Join(err, bad); err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for i := range n {
			fmt.Fprintln(&want, "line", i+1)
		}
		var got strings.Builder
		for _, m := range second.Messages(lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Has("rank", rank)) {
			got.WriteString(m.Get("text").(string))
		}
		if got.String() != want.String() {
			t.Errorf("rank %d has printed %d lines; the second client has %s", rank, n, compared(got.String(), want.String()))
		}
		journal := filepath.Join(started.Get("journal").(string), fmt.Sprintf("rank-%d.out", rank))
		if kept, err := os.ReadFile(journal); err != nil || string(kept) != want.String() {
			t.Errorf("rank %d has printed %d lines; the journal has %s (%v)", rank, n, compared(string(kept), want.String()), err)
		}
	}
}

// compared says where a text differs from the one that is wanted.
func compared(got, want string) string {
	lines, wanted := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i, line := range lines {
		if i >= len(wanted) || line != wanted[i] {
			return fmt.Sprintf("%d lines, of which line %d is %q", len(lines)-1, i+1, line)
		}
	}
	return fmt.Sprintf("only the first %d lines", len(lines)-1)
}

// Two editors that start the session of a folder at the same moment get one.
func TestStartedByTwo(t *testing.T) {
	s := newSite(t)
	var editors [2]*lsptest.Editor
	for i := range editors {
		editors[i], _ = s.editor(outliving())
	}
	for _, e := range editors {
		e.Open("a.py", "# %%\nx = globals().get('x', 0) + 1\nprint(f'x is {x}')\n")
	}
	for i, e := range editors {
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
		for _, each := range editors {
			each.Await("what the cell prints", lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Contains("text", fmt.Sprint("x is ", i+1)))
			finished(each, run, "ok")
		}
	}
	found := s.sessions()
	if len(found) != 1 || len(found[0].Clients) != 2 {
		t.Errorf("sessions: %+v", found)
	}
}

// The process of a session is killed while a cell runs: every client is told, nothing is left, and the next cell has a new session.
func TestKilledSession(t *testing.T) {
	s := newSite(t)
	var editors [2]*lsptest.Editor
	for i := range editors {
		editors[i], _ = s.editor(outliving())
	}
	servers := s.processes()
	for _, e := range editors {
		e.Open("hold.py", `# %% target="everywhere"`+"\n"+strings.TrimPrefix(hold, "# %%\n")+"# %%\nprint('again')\n")
	}
	run := editors[0].Run("dip.runCell", lsptest.Object{"uri": editors[0].URI("hold.py"), "cell": 1})
	for _, e := range editors {
		e.Await("the cell", lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Contains("text", "begun"))
	}
	attached := s.dipls("attach")
	seen, err := attached.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	attached.Stderr = attached.Stdout
	if err := attached.Start(); err != nil {
		t.Fatal(err)
	}
	s.await("three clients", func() any {
		if found := s.sessions(); len(found) != 1 || len(found[0].Clients) != 3 {
			return found
		}
		return nil
	})

	if err := syscall.Kill(s.sessions()[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, e := range editors {
		e.Await("the end of the run", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", "died"))
		e.Await("word of it", lsptest.Method("dip/session"), lsptest.Has("state", "gone"))
	}
	text, _ := io.ReadAll(seen)
	_ = attached.Wait()
	if code := attached.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(text), "the session's process has ended") {
		t.Errorf("dipls attach ends with %d, and has shown:\n%s", code, text)
	}

	if found := s.sessions(); len(found) > 0 {
		t.Errorf("there is still %+v", found)
	}
	s.awaitNothing(servers...)

	for i, e := range editors {
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("hold.py"), "cell": 2})
		e.Await("its output", lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Contains("text", "again"))
		finished(e, run, "ok")
		if found := s.sessions(); len(found) != 1 {
			t.Errorf("sessions after a cell of editor %d: %+v", i, found)
		}
	}
}

// While the process of a session stands still, each command comes back and says what can be done; the session that goes on is used as before.
func TestFrozenSession(t *testing.T) {
	s := newSite(t)
	e, _ := s.editor(outliving())
	e.Open("a.py", "# %%\nprint('here')\n")
	cell := lsptest.Object{"uri": e.URI("a.py"), "cell": 1}
	finished(e, e.Run("dip.runCell", cell), "ok")
	pid := s.sessions()[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.await("the process to stand still", func() any { // the signal comes to its threads one after the other
		states, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, path := range states {
			if state, err := os.ReadFile(path); err == nil && !strings.Contains(string(state), ") T ") {
				return string(state)
			}
		}
		return nil
	})
	thaw := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	t.Cleanup(thaw)
	with := func(more lsptest.Object) lsptest.Object {
		args := lsptest.Object{"uri": e.URI("a.py")}
		maps.Copy(args, more)
		return args
	}
	sent := map[string]lsptest.Sent{}
	for command, args := range map[string]lsptest.Object{
		"dip.runCell": cell, "dip.status": {}, "dip.variables": with(nil), "dip.interrupt": {}, "dip.restartPool": {}, "dip.freeMemory": with(nil),
		"dip.renameSession": with(lsptest.Object{"name": "other"}), "dip.stopSession": with(nil), "dip.gpus": with(nil),
	} {
		sent[command] = e.Send("workspace/executeCommand", lsptest.Object{"command": command, "arguments": []any{args}})
	}
	for command, one := range sent {
		if err := e.Wait(one, nil); err == nil || !containsAll(err.Error(), "does not answer", "`dipls stop ") {
			t.Errorf("%s: %v", command, err)
		}
	}
	thaw()
	for range 3 { // it does now what it was asked: an interrupt and a restart, each of which may end a run
		run := e.Run("dip.runCell", cell)
		if e.Await("its end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run)).Get("status") == "ok" {
			return
		}
	}
	t.Error("it runs nothing")
}

// With keep at 0 everything ends with the editor, also when its server is killed, and there was never a session's process.
func TestKeepNothing(t *testing.T) {
	for name, end := range map[string]func(e *lsptest.Editor, kill func()){
		"in order": func(e *lsptest.Editor, _ func()) {
			if err := e.Shutdown(); err != nil {
				t.Error(err)
			}
		},
		"killed": func(_ *lsptest.Editor, kill func()) { kill() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			e, kill := s.editor(lsptest.Object{"session": lsptest.Object{"keep": "0"}})
			e.Open("hold.py", hold)
			e.Run("dip.runCell", lsptest.Object{"uri": e.URI("hold.py"), "cell": 1})
			e.Await("the cell", lsptest.Has("event", "stream"), lsptest.Contains("text", "begun"))
			if found := s.sessions(); len(found) > 0 {
				t.Errorf("sessions: %+v", found)
			}
			end(e, kill)
			s.awaitNothing()
		})
	}
}
