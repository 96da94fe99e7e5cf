package dipexec

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/diagnose"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/dipexec/journal"
	"dipls/internal/testpython"
	"dipls/ranks"
)

var updateCases = flag.Bool("update", false, "record the cases of hangs into diagnose/testdata")

// hangPython is a pool of four ranks with torch that are looked at early, and the names that cells have there.
type hangPython struct {
	t       *testing.T
	e       *Executor
	rec     *recorder
	dir     string
	version string // of torch
	count   int    // of cells so far
}

// helpers is a module of the user's. Its functions wait for a file, by which a test lets ranks go on.
const helpers = `import os, queue, threading, time
here = os.path.dirname(os.path.abspath(__file__))

def event(name):
    while not os.path.exists(os.path.join(here, name)):
        time.sleep(0.005)

def later(name, do):
    threading.Thread(target=lambda: (event(name), do()), daemon=True).start()

def save():
    event("slow")

def batch(name):
    batches = queue.Queue()
    later(name, lambda: batches.put(1))
    loader = iter(batches.get, None)
    return next(loader)
`

func startHangPython(t *testing.T) *hangPython {
	python := testpython.Need(t)
	if exec.Command(python, "-c", "import torch.distributed").Run() != nil {
		t.Skip("no torch")
	}
	h := &hangPython{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(h.dir, "helpers.py"), []byte(helpers), 0o666); err != nil {
		t.Fatal(err)
	}
	o := Options{Journal: newJournal(t, journal.Options{}), DeathGrace: time.Hour, InterruptGrace: time.Second}
	h.e, h.rec = startNodeOf(t, ranks.PoolSpec{Ranks: 4, App: "torch"}, o, ranks.Options{Python: python, Dir: t.TempDir()})
	r := cell(t, h.e, "remote", fmt.Sprintf(`
import os, signal, sys, time, torch, torch.distributed as dist
sys.path.insert(0, %q)
from helpers import batch, event, later, save
torch.set_num_threads(1)
rank = kept = dist.get_rank()
def reduce(group=None, size=4): dist.all_reduce(torch.ones(size), group=group)
tensor_groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
data_groups = [dist.new_group([0, 2]), dist.new_group([1, 3])]
tensors, data = tensor_groups[rank // 2], data_groups[rank %% 2]
reduce(); reduce(tensors); reduce(data)  # gloo connects at the first use
if rank == 0: print(torch.__version__, end="")`, h.dir))
	if r.Status != event.StatusOK {
		t.Fatalf("%+v", r)
	}
	h.version, _, _ = strings.Cut(printed(t, r), ".")
	return h
}

// hang is a hang that must be found.
type hang struct {
	name   string
	target string       // "": all ranks
	code   string       // a line with #W, #M or #N is meant where the text says so
	text   string       // of what is found, without numbers that nobody knows before
	level  event.Level  // that it has in the end; "": warning
	free   func()       // gets the ranks out; nil: the event of its name does
	status event.Status // with which the run ends; "": ok
}

var hangNumber = regexp.MustCompile(` #\d+|: kill -CONT \d+ lets it go on| \(\d+ % of a core\)`)

// find runs the code until the expected finding is published, gets the ranks out, and checks that the end of the hang is published.
func (h *hangPython) find(want hang) {
	h.t.Helper()
	h.count++
	name := fmt.Sprintf("train%d.py", h.count)
	lines := strings.Split(want.code, "\n")
	text := strings.ReplaceAll(want.text, "train.py", name)
	for _, mark := range []string{"W", "M", "N", "O"} {
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasSuffix(line, "#"+mark) })
		text = strings.ReplaceAll(text, ":"+mark, fmt.Sprintf(":%d", at+1))
	}
	where := want.target
	if where == "" {
		where = "remote"
	}
	req := Request{Path: "/home/u/" + name, Line: 1, Code: want.code, Target: target(h.t, where), HangAfter: 300 * time.Millisecond}
	id := mustStart(h.t, h.e, req)
	level := want.level
	if level == "" {
		level = event.LevelWarning
	}
	var found *event.Hang
	deadline := time.After(testTimeout)
	for seen := 0; found == nil; {
		h.rec.mu.Lock()
		events, arrived := h.rec.events, h.rec.arrived
		h.rec.mu.Unlock()
		for _, ev := range events[seen:] {
			if ev, ok := ev.(*event.Hang); ok && ev.Run == id && ev.Level == level && hangNumber.ReplaceAllString(ev.Text, "") == text {
				found = ev
			}
		}
		if seen = len(events); found != nil {
			break
		}
		select {
		case <-arrived:
		case <-deadline:
			h.t.Errorf("%s: told was\n\t%s\nwant %s\n\t%s", want.name, strings.Join(h.told(id), "\n\t"), level, text)
			h.kill()
			h.t.FailNow()
		}
	}
	if *updateCases && want.name != "native" { // soon over
		h.record(want.name)
	}
	if want.free == nil {
		h.release(want.name)
	} else {
		want.free()
	}
	status := want.status
	if status == "" {
		status = event.StatusOK
	}
	if r := mustWait(h.t, h.e, id); r.Status != status {
		h.t.Errorf("%s: ended %s %s", want.name, r.Status, r.Reason)
	}
	h.rec.await(h.t, "end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == id })
	living := map[int]bool{}
	for _, ev := range h.rec.all() {
		switch ev := ev.(type) {
		case *event.Hang:
			if ev.Run == id {
				living[ev.Hang] = !ev.Gone
			}
		case *event.RunFinished:
			if ev.Run == id && slices.ContainsFunc(slices.Collect(valuesOf(living)), func(lives bool) bool { return lives }) {
				h.t.Errorf("%s: at the end of its run not all were over:\n\t%s", want.name, strings.Join(h.told(id), "\n\t"))
			}
		}
	}
}

func valuesOf(m map[int]bool) func(func(bool) bool) {
	return func(yield func(bool) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// told is what was said of hangs in a run.
func (h *hangPython) told(id string) []string {
	var of []event.Event
	for _, ev := range h.rec.all() {
		if ev.Head().Run == id {
			if _, is := ev.(*event.Stream); !is {
				of = append(of, ev)
			}
		}
	}
	return eventtest.Describe(of)
}

// release lets ranks go on that wait for an event.
func (h *hangPython) release(name string) {
	if err := os.WriteFile(filepath.Join(h.dir, name), nil, 0o666); err != nil {
		h.t.Fatal(err)
	}
}

// processes are those of the pool.
func (h *hangPython) processes() []*ranks.Process {
	procs, err := h.e.o.Pool.Ranks(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	var found []*ranks.Process
	for _, p := range procs {
		found = append(found, p.(*ranks.Process))
	}
	return found
}

// free frees ranks that wait for good.
func (h *hangPython) free() {
	if err := h.e.Free(""); err != nil {
		h.t.Error(err)
	}
}

// inStep checks that the ranks are in step again.
func (h *hangPython) inStep() {
	prints(h.t, h.e, "remote", "t = torch.ones(1); dist.all_reduce(t); assert t.item() == 4, t; assert kept == rank", "")
}

// kill ends ranks that cannot be freed.
func (h *hangPython) kill() {
	for _, p := range h.processes() {
		_ = syscall.Kill(p.PID(), syscall.SIGKILL)
	}
}

// record writes what the ranks tell into a golden file of package diagnose.
func (h *hangPython) record(name string) {
	h.e.mu.Lock()
	current := h.e.hang.current
	h.e.mu.Unlock()
	l := &lookout{r: current.r, procs: current.procs, parts: current.parts, after: current.after, ctx: h.t.Context(), places: map[int]*standingPlace{}}
	before := l.ask()
	time.Sleep(200 * time.Millisecond)
	c := l.compare(before, l.ask())
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		h.t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), h.dir, "/home/u")
	text = regexp.MustCompile(`"[^"]*/(?:site|dist)-packages/`).ReplaceAllString(text, `"/usr/lib/python3/dist-packages/`)
	text = regexp.MustCompile(`"/[^"]*/lib/python3\.`).ReplaceAllString(text, `"/usr/lib/python3.`)
	var again diagnose.Case
	if err := json.Unmarshal([]byte(text), &again); err != nil {
		h.t.Fatal(err)
	}
	file := fmt.Sprintf("../diagnose/testdata/torch%s-%s.json", h.version, strings.ReplaceAll(name, " ", "-"))
	if err := os.WriteFile(file, []byte(text+"\n"), 0o666); err != nil {
		h.t.Fatal(err)
	}
}

// Every kind of hang that ends when the missing rank comes.
func TestPythonHangs(t *testing.T) {
	h := startHangPython(t)
	h.find(hang{name: "finished", text: "all_reduce (default group, float32[4]): ranks 0-1,3 wait at train.py:W for rank 2, which has finished this cell", code: `
if rank == 2:
    later("finished", reduce)
else:
    dist.all_reduce(torch.ones(4)) #W`})
	h.find(hang{name: "raised", status: event.StatusError,
		text: "all_reduce (default group, float32[2,3]): ranks 0-1,3 wait at train.py:W for rank 2, which has raised ValueError at train.py:M", code: `
if rank == 2:
    later("raised", lambda: dist.all_reduce(torch.ones(2, 3)))
    raise ValueError("no data") #M
dist.all_reduce(torch.ones(2, 3)) #W`})
	h.find(hang{name: "elsewhere",
		text: "all_reduce (default group, float32[4]): ranks 0-1,3 wait at train.py:W for rank 2, which is in helpers.py:18, return next(loader)", code: `
if rank == 2:
    batch("elsewhere") #M
dist.all_reduce(torch.ones(4)) #W`})
	h.find(hang{name: "slow", level: event.LevelInfo,
		text: "rank 0 is still in save() at train.py:M; ranks 1-3 wait for it in barrier (default group) at train.py:W", code: `
if rank == 0:
    save() #M
dist.barrier() #W`})
	h.find(hang{name: "send", text: "send to rank 1 (default group, float32[4]): rank 0 waits at train.py:W for rank 1, which has finished this cell", code: `
if rank == 0:
    dist.send(torch.ones(4), 1) #W
elif rank == 1:
    later("send", lambda: dist.recv(torch.ones(4), 0))`})
	h.find(hang{name: "receive", text: "recv from rank 3 (default group, float32[4]): rank 1 waits at train.py:W for rank 3, which has finished this cell", code: `
if rank == 1:
    dist.recv(torch.ones(4), 3) #W
elif rank == 3:
    later("receive", lambda: dist.send(torch.ones(4), 1))`})
	h.find(hang{name: "subgroup", text: "all_reduce (group of ranks 2-3, float32[4]): rank 2 waits at train.py:W for rank 3, which has finished this cell", code: `
if rank == 2:
    dist.all_reduce(torch.ones(4), group=tensors) #W
elif rank == 3:
    later("subgroup", lambda: reduce(tensors))`})
	waits := "all_reduce (default group, float32[4])"
	if h.version == "1" {
		waits = "wait (default group)" // a Work does not say of what it is
	}
	h.find(hang{name: "wait", text: waits + ": ranks 0-1,3 wait at train.py:W for rank 2, which has finished this cell", code: `
if rank == 2:
    later("wait", reduce)
else:
    work = dist.all_reduce(torch.ones(4), async_op=True)
    work.wait() #W`})
	h.find(hang{name: "stopped", text: "all_reduce (default group, float32[4]): ranks 0,2-3 wait at train.py:W for rank 1, which is stopped", code: `
if rank == 1:
    os.kill(os.getpid(), signal.SIGSTOP) #M
dist.all_reduce(torch.ones(4)) #W`, free: func() { _ = syscall.Kill(h.processes()[1].PID(), syscall.SIGCONT) }})
	prints(t, h.e, "ranks:3", `later("untargeted", reduce)`, "")
	h.find(hang{name: "untargeted", target: "ranks:0-2",
		text: "all_reduce (default group, float32[4]): ranks 0-2 wait at train.py:W for rank 3, on which this cell does not run", code: `
dist.all_reduce(torch.ones(4)) #W`})
	h.find(hang{name: "several",
		text: "all_reduce (default group, float32[4]): ranks 0,3 wait at train.py:W for rank 1, which has finished this cell, " +
			"and for rank 2, which is still in event(\"several\") at train.py:M", code: `
if rank == 1:
    later("several", reduce)
else:
    if rank == 2:
        event("several") #M
    dist.all_reduce(torch.ones(4)) #W`})
	h.find(hang{name: "circle", text: "ranks 0-3 wait for each other: rank 0 waits in all_reduce (group of ranks 0-1, float32[4]) at train.py:W for rank 1; " +
		"rank 2 waits in all_reduce (group of ranks 0,2, float32[4]) at train.py:M for rank 0; " +
		"rank 1 waits in all_reduce (group of ranks 1,3, float32[4]) at train.py:M for rank 3; " +
		"rank 3 waits in all_reduce (group of ranks 2-3, float32[4]) at train.py:W for rank 2", code: `
if rank in (0, 3):
    later("circle", lambda: reduce(data))
    dist.all_reduce(torch.ones(4), group=tensors) #W
else:
    later("circle", lambda: reduce(tensors))
    dist.all_reduce(torch.ones(4), group=data) #M`})
	h.inStep()
}

// Native code that computes and keeps Python's lock, a backward pass, and hangs that no rank can end: they are in different collectives, have
// tensors of other sizes, or one is dead.
func TestPythonHangsWithoutEnd(t *testing.T) {
	h := startHangPython(t)
	backward := "all_reduce (default group, float32[20])"
	if h.version == "1" {
		backward = "backward (default group)"
	}
	h.find(hang{name: "backward", text: backward + ": ranks 0-1,3 wait at train.py:W for rank 2, which has finished this cell", code: `
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
def train(): model(torch.ones(2, 4)).sum().backward() #W
if rank == 2:
    later("backward", train)
else:
    train()`})
	h.find(hang{name: "native", level: event.LevelInfo,
		text: "all_reduce (default group, float32[4]): ranks 0-2 wait at train.py:W for rank 3, " +
			"which is in native code that holds Python's lock and computes", code: `
def compute(n):
    began = time.thread_time()
    sum(range(n))
    return time.thread_time() - began
if rank == 3:
    compute(int(4e6 * 5 / compute(4_000_000)))
dist.all_reduce(torch.ones(4)) #W`, free: func() {}})
	h.find(hang{name: "different",
		text: "all_reduce (default group, float32[4]): ranks 0-1,3 wait at train.py:W for rank 2, which is in broadcast at train.py:M", code: `
if rank == 2:
    dist.broadcast(torch.ones(4), 0) #M
dist.all_reduce(torch.ones(4)) #W`, free: h.free, status: event.StatusInterrupted})
	// gloo ends a process that reads more than it wants, as soon as it does. The ones between them are late.
	h.find(hang{name: "sizes",
		text: "all_reduce (default group, float32): ranks 0,2 wait at train.py:W for ranks 1,3, which have finished this cell; " +
			"they wait with [8] against [7] of rank 2: the last batch?", code: `
if rank % 2 == 0:
    dist.all_reduce(torch.ones(8 if rank == 0 else 7)) #W`, free: h.free, status: event.StatusInterrupted})
	h.inStep()
	// Those that gloo connects with the dead rank for this raise. Whoever hears nothing waits for it.
	h.find(hang{name: "dead", text: "all_reduce (default group, float32[4]): rank 0 waits at train.py:W for rank 2, which was killed by SIGKILL", code: `
if rank == 2:
    os.kill(os.getpid(), signal.SIGKILL)
dist.all_reduce(torch.ones(4)) #W`, free: h.kill, status: event.StatusDied})
}

// If the network is blocked, nobody is missing.
func TestPythonHangOnTheNetwork(t *testing.T) {
	const inside = "DIPLS_TEST_NETWORK"
	if os.Getenv(inside) == "" {
		testpython.Need(t)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if os.Getuid() != 0 || exec.Command("unshare", "-n", "sh", "-c", "ip link set lo up && "+blockNetwork).Run() != nil {
			t.Skip("needs root, and a network of its own: unshare, ip and tc")
		}
		cmd := exec.Command("unshare", "-n", self, "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-update=%v", *updateCases))
		cmd.Env = append(os.Environ(), inside+"=yes", "GLOO_SOCKET_IFNAME=lo")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%s\n%v", out, err)
		}
		return
	}
	shell := func(command string) {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", err, out)
		}
	}
	shell("ip link set lo up")
	h := startHangPython(t)
	shell(blockNetwork)
	h.find(hang{name: "network",
		text: "all_reduce (default group, float32[4]): ranks 0-3 wait at train.py:W and nobody is missing: the network, or a GPU?", code: `
dist.all_reduce(torch.ones(4)) #W`, free: func() { shell("tc qdisc del dev lo root") }})
}

// blockNetwork lets nothing through any more: no packet is as small as that.
const blockNetwork = "tc qdisc add dev lo root tbf rate 8bit burst 10 latency 1ms"
