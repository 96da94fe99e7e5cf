package dipexec

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/stress"
	"dipls/internal/testpython"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// healthyPrelude is a module of the user's that does what real programs do. A rank that comes to a meeting with others notes that first, so that
// the test knows who was late.
const healthyPrelude = `import os, subprocess, sys, threading, time
import numpy as np
import torch, torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
rank, world = dist.get_rank(), dist.get_world_size()
here = os.path.dirname(os.path.abspath(__file__))
notes = os.open(os.path.join(here, f"rank{rank}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
side = dist.new_group(list(range(world)))
pairs = [(a, b) for a in range(world) for b in range(a + 1, world)]
turns = [dist.new_group(list(pair)) for pair in pairs]

def at(*key):
    os.write(notes, f"{time.time_ns()} {'-'.join(map(str, key))}\n".encode())

def meet(*key, group=None, size=4):
    t = torch.ones(size)
    at(*key)
    dist.all_reduce(t, group=group)
    assert t[0].item() == dist.get_world_size(group), (rank, key, t[0].item())

def until(seconds, do):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        do()

def rest(seconds):
    time.sleep(seconds)

def save(seconds):
    state = {str(i): torch.zeros(1 << 16) for i in range(4)}
    until(seconds, lambda: torch.save(state, os.path.join(here, "checkpoint")))

def crunch(seconds):
    a = np.random.default_rng(0).random((200, 200))
    until(seconds, lambda: np.linalg.svd(a))

def hold(seconds):
    began = time.thread_time()
    sum(range(1 << 20))
    sum(range(int((1 << 20) * seconds / (time.thread_time() - began))))

def ask(seconds):
    r, w = os.pipe()
    threading.Thread(target=lambda: (time.sleep(seconds), os.write(w, b"c\n"))).start()
    with open(r) as lines:
        assert lines.readline() == "c\n"
    os.close(w)

def child(seconds):
    subprocess.run(["sleep", str(seconds)], check=True)

class Slow(Dataset):
    def __init__(self, n, seconds): self.n, self.seconds = n, seconds
    def __len__(self): return self.n
    def __getitem__(self, i):
        time.sleep(self.seconds / self.n)
        return torch.full((4,), float(i))

def same(model):
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    gathered = [torch.empty_like(flat) for _ in range(world)]
    dist.all_gather(gathered, flat)
    assert all(torch.equal(t, flat) for t in gathered), rank
`

// healthy are programs in which ranks are uneven and nothing is wrong. LATE is what the late rank calls, WHO is that rank, S for how many
// seconds it is late, and N how often ranks meet; ROUND is a new number each time.
var healthy = map[string]string{
	"cell": `
for i in range(N):
    if rank == (WHO + i) % world:
        time.sleep(S / N)
    meet("step", i)`,
	"module": `
for i in range(N):
    if rank == WHO: LATE(S / N)
    meet("step", i)`,
	"checkpoint": `
for i in range(N):
    meet("step", i)
if rank == 0:
    save(S)
at("barrier")
dist.barrier()
meet("after")`,
	"monitored barrier": `
if rank == WHO: LATE(S)
at("barrier")
dist.monitored_barrier()
meet("after")`,
	"loader": `
loader = DataLoader(Slow(4, S if rank == WHO else 0), batch_size=1, num_workers=1, multiprocessing_context="fork")
for i, batch in enumerate(loader):
    assert batch[0, 0].item() == i
    meet("step", i)`,
	"train": `
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i in range(N):
    if rank == (WHO + i) % world: LATE(S / N)
    at("forward", i)
    with model.no_sync():
        model(torch.ones(2, 4) * rank).sum().backward()
    at("step", i)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
at("same")
same(model)`,
	"uneven inputs": `
from torch.distributed.algorithms.join import Join
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
with Join([model]):
    for i in range(N if rank == WHO else 1):
        if rank == WHO: LATE(S / N)
        at("step", i)
        model(torch.ones(2, 4)).sum().backward()
    for i in range(1, 0 if rank == WHO else N):
        at("step", i)
meet("after")`,
	"pipeline": `
for i in range(N):
    t = torch.zeros(3)
    if rank > 0:
        at("batch", i, rank - 1)
        dist.recv(t, rank - 1)
    if rank == WHO: LATE(S / N)
    t += 1
    if rank < world - 1:
        at("batch", i, rank)
        dist.send(t, rank + 1)
    assert t[0].item() == rank + 1
meet("after")`,
	"objects": `
if rank == WHO: LATE(S)
at("broadcast")
found = [{"lr": 0.1} if rank == 0 else None]
dist.broadcast_object_list(found, 0)
assert found == [{"lr": 0.1}]
if rank == (WHO + 1) % world: LATE(S)
at("gather")
gathered = [None] * world
dist.all_gather_object(gathered, {"rank": rank})
assert [one["rank"] for one in gathered] == list(range(world))`,
	"turns": `
for i, (pair, group) in enumerate(zip(pairs, turns)):
    if rank in pair:
        if rank == pair[(WHO + i) % 2]: LATE(S / N)
        meet("turn", i, group=group)
at("barrier")
dist.barrier()`,
	"roots": `
if rank == WHO: LATE(S)
t = torch.full((2,), float(rank))
at("broadcast")
dist.broadcast(t, 1)
assert t[0].item() == 1
if rank == (WHO + 1) % world: LATE(S)
at("reduce")
dist.reduce(t, 0)
assert rank or t[0].item() == world
at("gather")
gathered = [torch.zeros(2) for _ in range(world)] if rank == 0 else None
dist.gather(torch.full((2,), float(rank)), gathered)
assert gathered is None or [t[0].item() for t in gathered] == list(range(world))
meet("after")`,
	"handles": `
for i in range(N):
    if rank == (WHO + i) % world: LATE(S / N)
    at("issue", i)
    tensors = [torch.ones(4) for _ in range(3)]
    works = [dist.all_reduce(t, async_op=True) for t in tensors]
    for work in works: work.wait()
    assert all(t[0].item() == world for t in tensors)`,
	"thread": `
def aside():
    if rank == WHO: LATE(S)
    t = torch.ones(1)
    dist.all_reduce(t, group=side)
    sums.append(t.item())
sums = []
thread = threading.Thread(target=aside)
thread.start()
thread.join()
assert sums == [world]
meet("after")`,
	"large": `
for i in range(N):
    if rank == WHO: LATE(S / N)
    meet("step", i, size=1 << 23)`,
	"store": `
store = dist.distributed_c10d._get_default_store()
if rank == WHO:
    LATE(S)
    store.set(f"ready {ROUND}", "yes")
assert store.get(f"ready {ROUND}") == b"yes"
meet("after")`,
	"alone": `
meet("before")
if rank == WHO: LATE(S)`,
	"compile": `
if hasattr(torch, "compile"):
    def f(x): return (x * ROUND + 1).sin().sum()
    for i in range(2):
        y = torch.compile(f, backend="aot_eager")(torch.ones(i + 3)) if rank == WHO else f(torch.ones(i + 3))
        meet("step", i)
else:
    meet("step")`,
	"beside": `
if "rank" not in globals():
    import time
    time.sleep(S)
else:
    if rank == WHO: LATE(S)
    meet("step")`,
}

// late are the ways to be late.
var late = []string{"rest", "save", "crunch", "hold", "ask", "child"}

// askedProcess notes when a rank is asked where it is.
type askedProcess struct {
	Process
	mu    sync.Mutex
	asked []time.Time
}

func (p *askedProcess) Groups(ctx context.Context) (*wire.GroupsReply, error) {
	p.mu.Lock()
	p.asked = append(p.asked, time.Now())
	p.mu.Unlock()
	return p.Process.Groups(ctx)
}

// before is when the rank was asked last before a time.
func (p *askedProcess) before(t time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, asked := range slices.Backward(p.asked) {
		if asked.Before(t) {
			return asked
		}
	}
	return time.Time{}
}

// askedPool has its ranks note when they are asked.
type askedPool struct {
	Pool
	mu    sync.Mutex
	procs []Process
}

func (p *askedPool) Ranks(ctx context.Context) ([]Process, error) {
	procs, err := p.Pool.Ranks(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.procs == nil {
		for _, proc := range procs {
			p.procs = append(p.procs, &askedProcess{Process: proc})
		}
	}
	return p.procs, nil
}

// afterNote is how long it may take a rank from its note to the collective: other threads may run between.
const afterNote = 200 * time.Millisecond

// arrival is that a rank has come to a meeting.
type arrival struct {
	at  time.Time
	key string
}

// healthyPython is a pool on which nothing is wrong.
type healthyPython struct {
	t     *testing.T
	e     *Executor
	procs []Process
	dir   string
	size  int

	ended chan string // ids of runs

	mu    sync.Mutex
	told  []toldHang // of the run
	infos int
	warns []string // of those that are late for long
}

type toldHang struct {
	*event.Hang
	at time.Time
}

func startHealthyPython(t *testing.T, size int) *healthyPython {
	h := &healthyPython{t: t, dir: t.TempDir(), size: size, ended: make(chan string, 1)}
	if err := os.WriteFile(filepath.Join(h.dir, "healthy.py"), []byte(healthyPrelude), 0o666); err != nil {
		t.Fatal(err)
	}
	h.e, _ = startNodeOf(t, ranks.PoolSpec{Ranks: size, App: "torch"}, Options{DeathGrace: time.Hour, InterruptGrace: time.Second},
		ranks.Options{Python: testpython.Need(t), Dir: t.TempDir()})
	pool := &askedPool{Pool: h.e.o.Pool}
	h.e.o.Pool = pool
	events, ended := h.e.Subscribe(), h.ended
	go func() {
		for {
			found, err := events.Next(context.Background())
			if err != nil {
				return
			}
			h.mu.Lock()
			for _, ev := range found {
				switch ev := ev.(type) {
				case *event.Hang:
					h.told = append(h.told, toldHang{ev, time.Now()})
				case *event.RunFinished:
					ended <- ev.Run
				}
			}
			h.mu.Unlock()
		}
	}()
	r := cell(t, h.e, "remote", fmt.Sprintf("import sys; sys.path.insert(0, %q)\nfrom healthy import *\nmeet('start')", h.dir))
	if r.Status != event.StatusOK {
		t.Fatalf("%+v", r)
	}
	h.procs = pool.procs
	<-h.ended
	return h
}

// run runs a program, and looks at what is said of it.
func (h *healthyPython) run(n int, name string, rng *rand.Rand, longest float64) {
	seconds := longest * (0.2 + 0.8*rng.Float64())
	who, how, times := rng.IntN(h.size), late[rng.IntN(len(late))], 1+rng.IntN(4)
	code := fmt.Sprintf("WHO, LATE, S, N, ROUND = %d, globals().get(%q), %.3f, %d, %d", who, how, seconds, times, n) + healthy[name]
	where := "remote"
	if name == "beside" {
		where = "everywhere"
	}
	began := time.Now()
	id := mustStart(h.t, h.e, Request{Path: "/home/u/train.py", Line: 1, Code: code, Target: target(h.t, where), HangAfter: 250 * time.Millisecond})
	r := mustWait(h.t, h.e, id)
	<-h.ended
	about := fmt.Sprintf("run %d of %d ranks: %s, rank %d is late by %s, %.1f s, %d times", n, h.size, name, who, how, seconds, times)
	if r.Status != event.StatusOK {
		h.t.Errorf("%s: ended %s %s", about, r.Status, r.Reason)
		for _, p := range r.Parts {
			if p.Failure != nil {
				h.t.Log(strings.Join(p.Failure.Traceback, "\n"))
			}
		}
	}
	arrivals := h.arrivals(began)
	living := map[int]bool{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, told := range h.told {
		living[told.Hang.Hang] = !told.Gone
		if told.Gone {
			continue
		}
		if wrong := h.wrong(told, arrivals); wrong != "" {
			h.t.Errorf("%s:\n\t%s %s: %s\n\t%s\n%s", about, told.Level, told.Variant, told.Text, wrong, code)
		}
		if told.Level == event.LevelInfo {
			h.infos++
		} else {
			h.warns = append(h.warns, about+": "+told.Text)
		}
	}
	h.told = nil
	for number, lives := range living {
		if lives {
			h.t.Errorf("%s: finding %d was not over at the end", about, number)
		}
	}
}

// arrivals are those of each rank since some time.
func (h *healthyPython) arrivals(since time.Time) [][]arrival {
	found := make([][]arrival, h.size)
	for rank := range found {
		b, err := os.ReadFile(filepath.Join(h.dir, fmt.Sprintf("rank%d", rank)))
		if err != nil {
			h.t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			at, key, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
			ns, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				h.t.Fatal(err)
			}
			if when := time.Unix(0, ns); when.After(since) {
				found[rank] = append(found[rank], arrival{when, key})
			}
		}
	}
	return found
}

// wrong says what is wrong with a finding about healthy ranks.
func (h *healthyPython) wrong(told toldHang, arrivals [][]arrival) string {
	switch told.Variant {
	case "slow", "elsewhere", "native", "silent", "different", "several", "finished", "unpaired":
	default:
		if told.Level != event.LevelInfo {
			return "nothing of that kind is there"
		}
	}
	for _, waiting := range ranksIn(told.Waiting) {
		asked := h.procs[waiting].(*askedProcess).before(told.at)
		come := slices.DeleteFunc(slices.Clone(arrivals[waiting]), func(a arrival) bool { return a.at.After(asked) })
		if len(come) == 0 {
			continue
		}
		key := come[len(come)-1].key
		missing, there := ranksIn(told.Missing), []string{}
		for _, rank := range missing {
			asked := h.procs[rank].(*askedProcess).before(told.at)
			if i := slices.IndexFunc(arrivals[rank], func(a arrival) bool { return a.key == key && asked.Sub(a.at) > afterNote }); i >= 0 {
				there = append(there, fmt.Sprintf("rank %d has come to %q %v before it was asked", rank, key, asked.Sub(arrivals[rank][i].at)))
			}
		}
		unsure := strings.Contains(told.Text, ", or for ") || strings.Contains(told.Text, "some of ")
		if len(there) > 0 && (!unsure || len(there) == len(missing)) {
			return strings.Join(there, "; ")
		}
	}
	return ""
}

// Ranks that are uneven, as in healthy runs, are reported as slow, and only those that are late are named.
func TestStressHealthyRuns(t *testing.T) {
	python := testpython.Need(t)
	if exec.Command(python, "-c", "import torch.distributed").Run() != nil {
		t.Skip("no torch")
	}
	rounds := stress.Rounds(10, 200)
	longest := float64(stress.Rounds(8, 40)) / 10 // seconds that a rank is late
	rng := stress.Rand(t)
	var names []string
	const each = 20 // rounds of a pool
	for done := 0; done < rounds; done += each {
		h := startHealthyPython(t, 2+rng.IntN(2))
		for n := done; n < min(rounds, done+each); n++ {
			if len(names) == 0 {
				names = slices.Sorted(maps.Keys(healthy))
				rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			}
			h.run(n, names[0], rng, longest)
			names = names[1:]
		}
		t.Logf("%d runs on %d ranks: %d times told who is slow, and %d warnings of a rank that was late:\n%s",
			min(rounds, done+each)-done, h.size, h.infos, len(h.warns), strings.Join(h.warns, "\n"))
	}
}
