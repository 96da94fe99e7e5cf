package lsp_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/internal/lsptest"
	"dipls/internal/testpython"
)

// await waits for a condition that no message reports.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// tellPIDs is Python that writes the pids of its process, the node, the node's guard and the server into a file of the working directory.
const tellPIDs = `
import os
def parent(pid): return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
node = os.getppid()
guard = parent(node)
with open(f"pids-{os.getpid()}.new", "w") as f: f.write(f"{os.getpid()} {node} {guard} {parent(guard)}")
os.rename(f.name, f"pids-{os.getpid()}")
`

// toldPIDs waits for n processes to tell. Those of the server are one.
func toldPIDs(t *testing.T, dir string, n int) (pids map[int]bool, server int) {
	t.Helper()
	await(t, "pids", func() bool {
		files, _ := filepath.Glob(dir + "/pids-*[0-9]")
		pids = map[int]bool{}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return false
			}
			for _, field := range strings.Fields(string(data)) {
				server, _ = strconv.Atoi(field)
				pids[server] = true
			}
		}
		return len(files) >= n
	})
	return pids, server
}

// wantGone waits until none of the processes is left but this one, and nothing in the runtime directory.
func wantGone(t *testing.T, pids map[int]bool) {
	t.Helper()
	for pid := range pids {
		if pid != os.Getpid() {
			await(t, fmt.Sprintf("the end of %d", pid), func() bool { return !running(pid) })
		}
	}
	await(t, "an empty runtime directory", func() bool {
		left, _ := filepath.Glob(os.Getenv("XDG_RUNTIME_DIR") + "/dipls/*/*")
		return len(left) == 0
	})
}

// running reports whether a process is there and is more than an entry that waits for its parent.
func running(pid int) bool {
	state := processState(fmt.Sprintf("/proc/%d/stat", pid))
	return state != "" && state != "Z" && state != "X"
}

// processState is the state in a stat file of a process or a thread, as T of one that is stopped; "" if it is not there.
func processState(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')'):]), " ")
	return after[:1]
}

// Eight ranks that print a lot finish although the client never reads. The server does not grow by what they print, and nothing is left when the client
// goes away.
func TestEightRanksPrintToNobody(t *testing.T) {
	needPython(t)
	for name, init := range map[string]any{"events": events, "text": nil} {
		t.Run(name, func(t *testing.T) { printToNobody(t, program(t), init, 4000) })
	}
}

// printToNobody has each rank print lines of 10 kB.
func printToNobody(t *testing.T, server lsptest.Server, init any, lines int) {
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: init, Settings: lsptest.Object{"ranks": 8, "app": "none"}})
	e.Open("a.py", "# %%\n%makedip\n# %%dip --see all\n"+tellPIDs+unindent(fmt.Sprintf(`
		for i in range(%d): print(i, os.environ["RANK"], "x" * 10000)
		open("done-" + os.environ["RANK"], "w").close()
		import time
		while True: time.sleep(0.05)
	`, lines)))
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the pool", func(m lsptest.Message) bool {
		return lsptest.Contains("text", "pool of 8 ranks")(m) || lsptest.Contains("message", "pool of 8 ranks")(m)
	})
	e.StopReading()
	e.Send("workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2}))
	await(t, "the end of the printing", func() bool {
		done, _ := filepath.Glob(e.Folder + "/done-*")
		return len(done) == 8
	})
	pids, pid := toldPIDs(t, e.Folder, 8)
	if kib := peakMemory(t, pid); kib > 160<<10 {
		t.Errorf("the server took %d MiB; the ranks printed %d", kib>>10, 8*lines/100)
	}
	wantNoShutdown(t, e.Leave())
	wantGone(t, pids)
}

// peakMemory is the most memory that a process has had, in KiB.
func peakMemory(t *testing.T, pid int) (kib int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, found := strings.Cut(string(data), "VmHWM:")
	if _, scanned := fmt.Sscan(after, &kib); err != nil || !found || scanned != nil {
		t.Fatal(err, scanned)
	}
	return kib
}

// editor is an editor in Python: it starts a server, runs the only cell of a document on two ranks, and does nothing more.
const editor = `
import json, subprocess, sys, time
server = subprocess.Popen([sys.argv[1], "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def send(**message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    server.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    server.stdin.flush()
folder, text = sys.argv[2:]
uri = f"file://{folder}/a.py"
import os
send(id=1, method="initialize", params={
    "processId": os.getpid(), "capabilities": {}, "rootUri": f"file://{folder}", "initializationOptions": {"ranks": 2, "app": "none", "session": {"keep": "0"}},
})
send(method="initialized", params={})
send(method="textDocument/didOpen", params={"textDocument": {"uri": uri, "languageId": "python", "version": 1, "text": text}})
send(id=2, method="workspace/executeCommand", params={"command": "dip.runCell", "arguments": [{"uri": uri, "cell": 1}]})
while True: time.sleep(1)
`

// An editor that is killed takes everything along, if that is not kept.
func TestEditorIsKilled(t *testing.T) {
	needPython(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	cmd := exec.Command(testpython.Path(), "-c", editor, path, folder, "# %%dip\n"+tellPIDs+"import time\nwhile True: time.sleep(0.05)\n")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids, _ := toldPIDs(t, folder, 2)
	if len(pids) != 5 {
		t.Errorf("%d processes", len(pids))
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	wantGone(t, pids)
}

// After shutdown nothing can be asked for, and exit ends all that runs, also in the middle of the start of Python or of a pool.
func TestEndWhileStarting(t *testing.T) {
	needPython(t)
	server := program(t)
	for name, text := range map[string]string{
		"prewarm": "# %%dip\nx = 1\n", "local namespace": "# %%\nx = 1\n", "pool": "# %%dip\nx = 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: server, Init: events})
			e.Open("a.py", text)
			if name != "prewarm" {
				run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
				e.Await("the start", lsptest.Has("event", "run_started"), lsptest.Has("run", run))
			}
			if name == "pool" {
				e.Await("the start", lsptest.Has("event", "pool_state"), lsptest.Has("state", "starting"))
			}
			sent := e.Send("shutdown", nil)
			refused := e.Send("workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}))
			if err := e.Wait(sent, nil); err != nil {
				t.Error(err)
			}
			var answer *lsptest.Error
			if err := e.Wait(refused, nil); !errors.As(err, &answer) || answer.Code != -32600 {
				t.Errorf("after shutdown: %v", err)
			}
			e.Notify("exit", nil)
			if err := e.AwaitEnd(); err != nil {
				t.Error(err)
			}
			wantGone(t, nil)
		})
	}
}

// Two folders have a local namespace and a pool each; documents of one folder share theirs.
func TestFolders(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	other := t.TempDir()
	e.Notify("workspace/didChangeWorkspaceFolders", lsptest.Object{"event": lsptest.Object{
		"added": []any{lsptest.Object{"uri": "file://" + other, "name": "other"}}, "removed": []any{},
	}})
	away, err := filepath.Rel(e.Folder, other)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.py", "b.py", away + "/c.py"} {
		e.Open(name, "# %%\npid\n# %%dip --see all\npid\n")
	}
	pids := map[string]map[string]bool{}
	for _, name := range []string{"a.py", "b.py", away + "/c.py"} {
		pids[name] = map[string]bool{}
		for cell := 1; cell <= 2; cell++ {
			run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI(name), "cell": cell})
			finished(e, run, "ok")
			printed := map[any]string{}
			for _, m := range e.Messages(lsptest.Has("event", "stream"), lsptest.Has("run", run)) {
				printed[m.Get("rank")] += fmt.Sprint(m.Get("text"))
			}
			for _, pid := range printed {
				pids[name][strings.TrimSpace(pid)] = true
			}
		}
		if len(pids[name]) != 3 {
			t.Errorf("%s ran in %v", name, pids[name])
		}
	}
	for pid := range pids["a.py"] {
		if !pids["b.py"][pid] {
			t.Errorf("a.py and b.py do not share %s", pid)
		}
		if pids[away+"/c.py"][pid] {
			t.Errorf("a.py and c.py share %s", pid)
		}
	}
}

// A folder that is added later has settings of its own.
func TestSettingsOfAddedFolder(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		other := t.TempDir()
		e := lsptest.Start(t, lsptest.Options{
			Server: server, Init: events, Settings: lsptest.Object{},
			Answers: lsptest.Answers{"workspace/configuration": func(m lsptest.Message) any {
				var answers []any
				items, _ := m.Get("items").([]any)
				for _, item := range items {
					settings := lsptest.Object{}
					if scope := item.(map[string]any)["scopeUri"]; scope != nil && strings.HasSuffix(scope.(string), other) {
						settings["python"] = "/no/python/of/the/other"
					}
					answers = append(answers, settings)
				}
				return answers
			}},
		})
		e.Notify("workspace/didChangeWorkspaceFolders", lsptest.Object{"event": lsptest.Object{
			"added": []any{lsptest.Object{"uri": "file://" + other, "name": "other"}}, "removed": []any{},
		}})
		away, err := filepath.Rel(e.Folder, other)
		if err != nil {
			t.Fatal(err)
		}
		e.Open(away+"/c.py", "x = 1\n")
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI(away + "/c.py"), "cell": 1})
		ended := e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run))
		if reason := fmt.Sprint(ended.Get("reason")); !strings.Contains(reason, "/no/python/of/the/other") {
			t.Error(reason)
		}
	})
}
