package dipexec

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/dipexec/journal"
	"dipls/internal/stress"
	"dipls/internal/testpython"
	"dipls/ranks"
)

// torchPool is an executor on ranks that have joined a process group of torch's.
type torchPool struct {
	t   *testing.T
	e   *Executor
	rec *recorder
	two bool // torch 2.0 or newer, which mends groups in place
}

// startTorch starts it. dir is that of the files that cells name.
func startTorch(t *testing.T, size int, o Options) *torchPool {
	t.Helper()
	python := testpython.Need(t)
	out, err := exec.Command(python, "-c", "import torch.distributed; print(torch.__version__)").Output()
	if err != nil {
		t.Skip("no torch")
	}
	o.Journal = newJournal(t, journal.Options{})
	e, rec := startNodeOf(t, ranks.PoolSpec{Ranks: size, App: "torch"}, o, ranks.Options{Python: python, Dir: t.TempDir()})
	p := &torchPool{t: t, e: e, rec: rec, two: !strings.HasPrefix(string(out), "1.")}
	p.run("import os, sys, time, torch, torch.distributed as dist; rank = dist.get_rank(); kept = [rank]")
	return p
}

// run runs a cell on all ranks, which has to end well.
func (p *torchPool) run(code string) {
	p.t.Helper()
	if r := p.wait(mustStart(p.t, p.e, Request{Code: code, Target: target(p.t, "remote")})); r.Status != event.StatusOK {
		p.fail(r)
	}
}

// fail fails the test with what is known of a run.
func (p *torchPool) fail(r event.Report) {
	p.t.Helper()
	for _, part := range r.Parts {
		if part.Failure != nil {
			p.t.Logf("%v: %s", part.Who, strings.Join(part.Failure.Traceback, "\n"))
		}
	}
	p.t.Fatalf("ended %s: %s\n%s", r.Status, r.Reason, strings.Join(linesOf(p.t, p.rec, r.Run), "\n"))
}

// begin starts a cell on all ranks and waits until all have printed "begun".
func (p *torchPool) begin(req Request, code string) string {
	p.t.Helper()
	req.Code, req.Target = "print('begun', flush=True)\n"+code, target(p.t, "remote")
	id := mustStart(p.t, p.e, req)
	p.begun(id, 0, 1, 2)
	return id
}

// begun waits until ranks have printed "begun" in a run.
func (p *torchPool) begun(id string, ranks ...int) {
	p.t.Helper()
	for _, rank := range ranks {
		p.rec.await(p.t, "beginning", func(ev event.Event) bool {
			s, ok := ev.(*event.Stream)
			return ok && s.Run == id && s.Rank != nil && *s.Rank == rank && strings.Contains(s.Text, "begun")
		})
	}
}

// interrupted interrupts a run; after that its ranks must be back and agree.
func (p *torchPool) interrupted(id string) time.Duration {
	p.t.Helper()
	at := time.Now()
	if err := p.e.Cancel(id); err != nil {
		p.t.Fatal(err)
	}
	r := p.wait(id)
	took := time.Since(at)
	if r.Status != event.StatusInterrupted {
		p.fail(r)
	}
	return took
}

// wait waits for a run's end, which has to come.
func (p *torchPool) wait(id string) event.Report {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.t.Context(), testTimeout)
	defer stop()
	r, err := p.e.Wait(ctx, id)
	if err == nil {
		return r
	}
	for _, proc := range p.e.given[poolNamespace] {
		if told, err := proc.Groups(p.t.Context()); err == nil {
			p.t.Logf("%d: %+v", rankOf(proc), told)
		}
	}
	p.t.Fatalf("the run does not end:\n%s", strings.Join(eventtest.Describe(p.rec.all()), "\n"))
	return r
}

// agrees checks that the next collective is right, and that a variable made before is still there.
const agrees = "t = torch.ones(1); dist.all_reduce(t); assert t.item() == dist.get_world_size(), t; assert kept == [rank]\n"

// Whatever ranks wait for, an interrupt brings them back with their variables and connections, and the next collective is right.
func TestPythonFree(t *testing.T) {
	p := startTorch(t, 3, Options{})
	p.run(`
import socket, sqlite3
port = [0]
if rank == 0:
    listener = socket.create_server(("127.0.0.1", 0)); port = [listener.getsockname()[1]]
dist.broadcast_object_list(port)
if rank == 0:
    own, _ = listener.accept()
if rank == 1:
    own = socket.create_connection(("127.0.0.1", port[0]))
db = sqlite3.connect(r"` + filepath.Join(t.TempDir(), "a b ü") + `-%d" % rank); db.execute("create table t (x)"); db.execute("insert into t values (1)")
`)
	const unharmed = agrees + `
if rank == 0: own.sendall(b"x")
if rank == 1: assert own.recv(1) == b"x"
assert db.execute("select x from t").fetchone() == (1,)
`
	for name, code := range map[string]string{
		"in a loop": "while True: dist.all_reduce(torch.ones(1000))",
		"finished":  "if rank != 1: dist.all_reduce(torch.ones(1))",
		"raised":    "if rank == 1: raise ValueError('no data')\ndist.all_reduce(torch.ones(1))",
		"elsewhere": "if rank == 1:\n    while True: time.sleep(0.1)\ndist.all_reduce(torch.ones(1))",
		"other":     "dist.broadcast(torch.ones(1), 0) if rank == 1 else dist.barrier()",
		"recv":      "if rank == 2: dist.recv(torch.ones(1), 0)",
		"send":      "if rank == 2: dist.send(torch.ones(1), 0)",
		"several":   "if rank == 1:\n    while True: time.sleep(0.1)\nif rank == 0: dist.all_reduce(torch.ones(1))",
		"backward":  "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))\nif rank != 1: model(torch.ones(2, 4)).sum().backward()",
		"circle": `
pairs = [dist.new_group(pair) for pair in ([0, 1], [1, 2], [0, 2])]
for pair in (pairs[rank], pairs[(rank + 2) % 3]) if rank < 2 else (pairs[1], pairs[2]): dist.barrier(group=pair)
dist.all_reduce(torch.ones(1), group=pairs[rank])`,
		"in C": `
def compute(n):
    began = time.thread_time()
    sum(range(n))
    return time.thread_time() - began
if rank == 1: compute(int(4e6 * 3 / compute(4_000_000)))
dist.all_reduce(torch.ones(1))
time.sleep(100)`,
		"subgroup": "pair = dist.new_group([0, 1])\nif rank == 0: dist.all_reduce(torch.ones(1), group=pair)\nwhile True: time.sleep(0.1)",
		"thread": "import threading\nif rank == 0: threading.Thread(target=lambda: dist.all_reduce(torch.ones(1)), daemon=True).start()\n" +
			"while True: time.sleep(0.1)",
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			took := p.interrupted(p.begin(Request{Path: "/d/t.py", Line: 5}, code))
			t.Logf("free after %v", took.Round(time.Millisecond))
			p.run(unharmed)
		})
	}
	t.Run("subset", func(t *testing.T) {
		p.t = t
		id := mustStart(t, p.e, Request{Target: target(t, "ranks:0-1"), Code: "print('begun', flush=True); dist.all_reduce(torch.ones(1))"})
		p.begun(id, 0, 1)
		p.interrupted(id)
		p.run(unharmed)
	})
	t.Run("everywhere", func(t *testing.T) {
		p.t = t
		id := mustStart(t, p.e, Request{Target: target(t, "everywhere"), Code: "print('begun', flush=True)\n" +
			"if globals().get('rank'): dist.all_reduce(torch.ones(1))"})
		p.begun(id, 0, 1, 2)
		p.interrupted(id)
		p.run(unharmed)
	})
	t.Run("nested", func(t *testing.T) { // while another run waits for its turn
		p.t = t
		id := mustStart(t, p.e, Request{Target: target(t, "local"), Code: "%px print('begun nested', flush=True); rank and dist.all_reduce(torch.ones(1))"})
		p.rec.await(t, "beginning", func(ev event.Event) bool {
			s, ok := ev.(*event.Stream)
			return ok && strings.Contains(s.Text, "begun nested")
		})
		next := mustStart(t, p.e, Request{Target: target(t, "remote"), Code: unharmed})
		p.interrupted(id)
		if r := p.wait(next); r.Status != event.StatusOK {
			p.fail(r)
		}
	})
	t.Run("at once", func(t *testing.T) { // all may come yet
		p.t = t
		id := p.begin(Request{}, "if rank == 1:\n    time.sleep(100)\ndist.all_reduce(torch.ones(1))")
		if err := p.e.Free(id); err != nil {
			t.Fatal(err)
		}
		if r := p.wait(id); r.Status != event.StatusInterrupted {
			p.fail(r)
		}
		p.run(unharmed)
	})
	t.Run("stopped", func(t *testing.T) { // the others come back, and the run ends when it goes on
		p.t = t
		pid, err := strconv.Atoi(strings.TrimSpace(printed(t, cell(t, p.e, "ranks:1", "print(os.getpid())"))))
		if err != nil {
			t.Fatal(err)
		}
		id := p.begin(Request{}, "while rank == 1: time.sleep(0.1)\ndist.all_reduce(torch.ones(1))")
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := p.e.Cancel(id); err != nil {
			t.Fatal(err)
		}
		for _, rank := range []int{0, 2} {
			p.rec.await(t, "return", func(ev event.Event) bool {
				rs, ok := ev.(*event.RankState)
				return ok && rs.Run == id && rs.Rank != nil && *rs.Rank == rank && rs.State == event.StateReady
			})
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if r := p.wait(id); r.Status != event.StatusInterrupted {
			p.fail(r)
		}
		p.run(unharmed)
	})
	t.Run("failed", func(t *testing.T) { // and no interrupt
		p.t = t
		r := cell(t, p.e, "remote", "if rank == 1: raise ValueError('no data')\ndist.all_reduce(torch.ones(1), async_op=True)")
		if r.Status != event.StatusError {
			p.fail(r)
		}
		p.run(unharmed)
	})
	t.Run("timed out", func(t *testing.T) {
		p.t = t
		r := mustWait(t, p.e, mustStart(t, p.e, Request{Target: target(t, "remote"), Timeout: time.Second, Code: "if rank != 1: dist.all_reduce(torch.ones(1))"}))
		if r.Status != event.StatusInterrupted || r.Elapsed > 5*time.Second {
			p.fail(r)
		}
		p.run(unharmed)
	})
}

// training is a cell that makes models and their steps.
const training = `
from torch.nn.parallel import DistributedDataParallel as DDP
torch.manual_seed(0)
def net(): return torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
def step(model, opt):
    opt.zero_grad()
    loss = model(torch.randn(8, 16)).pow(2).mean()
    loss.backward()
    opt.step()
def equal(model):
    for p in model.parameters():
        p = p.full_tensor() if hasattr(p, "full_tensor") else p.detach()
        all = [torch.empty_like(p) for _ in range(dist.get_world_size())]
        dist.all_gather(all, p)
        if not all_equal(all): return False
    return True
def all_equal(tensors): return all(torch.equal(tensors[0], t) for t in tensors)
sgd_model = DDP(net()); sgd = torch.optim.SGD(sgd_model.parameters(), 0.01, momentum=0.9)
adam_model = DDP(net()); adam = torch.optim.Adam(adam_model.parameters(), 0.001)
torch.manual_seed(rank)
for _ in range(2): step(sgd_model, sgd); step(adam_model, adam)
`

// trainingOfTwo is what newer torch has besides.
const trainingOfTwo = `
try:
    from torch.distributed.fsdp import fully_shard
    sharded = net(); fully_shard(sharded); sharded_opt = torch.optim.Adam(sharded.parameters(), 0.001)
    step(sharded, sharded_opt)
except (ImportError, RuntimeError) as err:
    sharded = sharded_opt = None; print("no FSDP2:", err)
try:
    compiled = torch.compile(DDP(net())); compiled_opt = torch.optim.SGD(compiled.parameters(), 0.01)
    step(compiled, compiled_opt)
except Exception as err:
    compiled = compiled_opt = None; print("no torch.compile:", err)
`

// Interrupts at random moments of training leave ranks that agree, with all of their variables, and models that train on.
func TestStressInterruptsOfTraining(t *testing.T) {
	p := startTorch(t, 3, Options{})
	p.run(training)
	loops := []string{
		"while True: step(sgd_model, sgd)", "while True: step(adam_model, adam)", "while True: dist.all_reduce(torch.ones(100))",
	}
	goesOn := "for m, o in ((sgd_model, sgd), (adam_model, adam)):\n    for _ in range(3): step(m, o)\n    assert equal(m)\n"
	if p.two {
		p.run(trainingOfTwo)
		loops = append(loops,
			"while sharded is not None: step(sharded, sharded_opt)\nwhile True: time.sleep(0.01)",
			"while compiled is not None: step(compiled, compiled_opt)\nwhile True: time.sleep(0.01)")
		goesOn += "for m, o in ((sharded, sharded_opt), (compiled, compiled_opt)):\n    if m is not None:\n        for _ in range(3): step(m, o)\n" +
			"        assert equal(m)\n"
	} else {
		goesOn = "sgd_model, adam_model = DDP(sgd_model.module), DDP(adam_model.module)\n" + goesOn
	}
	random := stress.Rand(t)
	for round := range stress.Rounds(10, 100) {
		loop := loops[round%len(loops)]
		id := p.begin(Request{}, loop)
		time.Sleep(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
		took := p.interrupted(id)
		r := p.wait(mustStart(t, p.e, Request{Code: agrees + goesOn, Target: target(t, "remote")}))
		t.Logf("%3d %-40.40s free after %4d ms: %s", round, loop, took.Milliseconds(), r.Status)
		if r.Status != event.StatusOK {
			t.Log(strings.Join(linesOf(t, p.rec, id), "\n"))
			p.fail(r)
		}
	}
}
