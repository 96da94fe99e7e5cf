package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/session"
)

const (
	trialRanks  = 2                // of the pool that is tried out
	trialAfter  = time.Second      // when its runs are first checked for ranks that wait for others
	trialCell   = time.Minute      // the longest that a cell may take that should end
	trialTold   = 30 * time.Second // within which a hang is told
	trialFreed  = 30 * time.Second // within which ranks are back
	trialFrees  = 3                // in a row
	trialMemory = 256 << 20        // bytes of a GPU that a cell takes and gives back
)

// The cells of the trial. Those that should succeed check their own results.
const (
	trialSetup = `import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
on = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
kept = [dist.get_rank()]
def total():
    ones = torch.ones(1000, device=on)
    dist.all_reduce(ones)
    return ones.sum().item()
def wrap():
    torch.manual_seed(0)
    module = DistributedDataParallel(torch.nn.Linear(8, 1).to(on))
    return module, torch.optim.SGD(module.parameters(), 0.1)
def step():
    optimizer.zero_grad()
    model(torch.randn(4, 8, device=on) + dist.get_rank()).sum().backward()
    optimizer.step()
    mine = torch.cat([p.detach().flatten() for p in model.parameters()])
    all = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(all, mine)
    return all`
	trialCUDA   = `assert torch.ones(1, device="cuda").item() == 1`
	trialReduce = `got, want = total(), 1000 * dist.get_world_size()
assert got == want, f"all_reduce of ones gave {got / 1000}, not {want / 1000}"`
	trialTrain = `model, optimizer = wrap()
parameters = step()
assert all(map(parameters[0].equal, parameters)), "the ranks' parameters differ"`
	trialHang = `if dist.get_rank() < dist.get_world_size() - 1:
    total()`
	trialKept = `assert kept == [dist.get_rank()], f"kept is {kept}"`
	trialGoOn = `if int(torch.__version__.split(".")[0]) < 2:
    model, optimizer = wrap()
parameters = step()
assert all(map(parameters[0].equal, parameters)), "the ranks' parameters differ"`
	trialTake = `reserved = torch.cuda.memory_reserved()
taken = torch.empty(%d, dtype=torch.uint8, device="cuda")`
	trialGive  = `del taken`
	trialGiven = `more = torch.cuda.memory_reserved() - reserved
assert more < %d, f"torch still holds {more >> 20} MiB more than before they were taken"`
)

// trial is a pool that is tried out, as the next cell would make one.
type trial struct {
	d       *doctor
	session session.API
	by      session.Caller
	found   session.Subscription
	size    int
	backend string      // "": none
	pids    []int       // by rank; none: they are on other hosts
	gpus    bool        // ranks have GPUs
	torch   string      // its version
	hung    *event.Hang // of a cell that still runs
	broken  string      // why the rest is not tried; "": it is
}

// tryPool makes a pool and tries what a person meets in a day: collectives, a hang and its end, GPU memory that is given back.
func (d *doctor) tryPool(ctx context.Context, python string, pool session.Choice) {
	s, by, err := d.doctorSession(python, pool, session.Options{})
	if err != nil {
		d.fail("log", err, "")
		return
	}
	t := &trial{d: d, torch: d.report.packages["torch"], session: s, by: by}
	if t.found, err = s.Subscribe(ctx, session.SubscribeRequest{Kinds: []event.Kind{event.KindHang}}); err != nil {
		d.fail("pool", err, "")
		return
	}
	t.step(ctx, "pool", t.start, "dipls run FILE --log-level debug says more; where NCCL takes part, so does NCCL_DEBUG=INFO")
	switch {
	case t.broken != "":
	case t.backend == "":
		d.warn("collectives", "skipped: there is no process group", "install torch into this interpreter's environment if you want DDP")
	default:
		t.step(ctx, "all_reduce", t.reduce, "see whether the same fails under torchrun; NCCL_DEBUG=INFO or TORCH_DISTRIBUTED_DEBUG=DETAIL say more")
		t.step(ctx, "hang", t.hang, "report it, with dipls doctor --report FILE")
		t.step(ctx, "freeing", t.free, "%makedip -r restarts ranks that cannot be freed; report it, with dipls doctor --report FILE")
		t.step(ctx, "training", t.goOn, "wrap modules again after an interrupt; report it, with dipls doctor --report FILE")
		t.step(ctx, "memory", t.memory, "see what nvidia-smi lists; report it, with dipls doctor --report FILE")
	}
	t.broken = ""
	t.step(ctx, "end", t.end, "report it, with dipls doctor --report FILE")
}

// step does a part of the trial, and reports how it went and how long it took. After a failure the remaining steps are left out.
func (t *trial) step(ctx context.Context, what string, f func(context.Context) (string, error), remedy string) {
	if t.broken != "" {
		t.d.warn(what, "skipped: "+t.broken, "")
		return
	}
	began := time.Now()
	found, err := f(ctx)
	t.d.took = time.Since(began)
	switch skip := new(notApplicable); {
	case errors.As(err, &skip):
		t.d.took = 0
		t.d.ok(what, skip.Error())
	case err != nil:
		t.broken = fmt.Sprintf("%q has failed", what)
		t.d.fail(what, err, remedy)
	default:
		t.d.ok(what, found)
	}
	t.d.took = 0
}

// notApplicable says why something cannot be tried out here.
type notApplicable struct{ why string }

func (e *notApplicable) Error() string { return "not applicable: " + e.why }

// start makes the pool.
func (t *trial) start(ctx context.Context) (string, error) {
	if err := t.run(ctx, "pass"); err != nil {
		return "", err
	}
	info, err := t.session.Info(ctx, false)
	if err != nil {
		return "", err
	}
	t.size, t.backend = info.Size, info.Backend
	gpus := map[string]bool{} // by device: ranks may share one
	for _, r := range info.Ranks {
		if len(info.Hosts) == 0 {
			t.pids = append(t.pids, r.PID)
		}
		if r.Device != "cpu" {
			gpus[r.Host+r.Device] = true
		}
	}
	t.gpus = len(gpus) > 0
	found := fmt.Sprintf("%s on the CPU", plural(t.size, "rank"))
	if t.gpus {
		found = fmt.Sprintf("%s on %s", plural(t.size, "rank"), plural(len(gpus), "GPU"))
	}
	if len(info.Hosts) > 0 {
		found += " of " + plural(len(info.Hosts), "host")
	}
	if t.backend != "" {
		found += " over " + t.backend
	}
	found += ", started by " + info.Method
	if t.gpus && t.backend != "nccl" {
		found += "\nNCCL is not tried: it needs a GPU for each rank"
	}
	if t.backend == "" {
		return found, nil
	}
	if err := t.run(ctx, trialSetup); err != nil {
		return "", err
	}
	if t.gpus {
		if err := t.run(ctx, trialCUDA); err != nil {
			return "", fmt.Errorf("CUDA in a rank started by %s: %w", info.Method, err)
		}
		found += ", CUDA works in each"
	}
	return found, nil
}

// reduce runs collectives.
func (t *trial) reduce(ctx context.Context) (string, error) {
	if err := t.run(ctx, trialReduce); err != nil {
		return "", err
	}
	return fmt.Sprintf("of ones gives %d", t.size), nil
}

// hang keeps a rank away from a collective, and waits until that is reported.
func (t *trial) hang(ctx context.Context) (string, error) {
	if err := t.run(ctx, trialTrain); err != nil {
		return "", fmt.Errorf("a step of DDP before it: %w", err)
	}
	began := time.Now()
	var err error
	if t.hung, err = t.awaitHang(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("told after %s (--hang-after %s): %s", view.FormatDuration(time.Since(began)), trialAfter, t.hung.Text), nil
}

// awaitHang starts a cell in which the last rank stays away from a collective, and waits for the report that the others wait for it.
func (t *trial) awaitHang(ctx context.Context) (*event.Hang, error) {
	id, err := t.begin(trialHang, 0)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, trialTold)
	defer stop()
	missing := []int{t.size - 1}
	for {
		events, err := t.found.Next(ctx)
		if err != nil {
			_ = t.giveUp(ctx, id)
			return nil, fmt.Errorf("rank %d stayed away from a collective, and nobody has told of it within %v", missing[0], trialTold)
		}
		for _, ev := range events {
			e, ok := ev.(*event.Hang)
			if !ok || e.Run != id || e.Gone || e.Level == event.LevelInfo {
				continue
			}
			if !slices.Equal(event.RanksAt(e.Missing), missing) {
				_ = t.giveUp(ctx, id)
				return nil, fmt.Errorf("rank %d stayed away from a collective, and another is blamed: %s", missing[0], e.Text)
			}
			return e, nil
		}
	}
}

// free interrupts ranks that wait for another one, several times, and checks that they go on with their variables.
func (t *trial) free(ctx context.Context) (string, error) {
	var took []string
	for i := range trialFrees {
		if i > 0 {
			var err error
			if t.hung, err = t.awaitHang(ctx); err != nil {
				return "", err
			}
		}
		began := time.Now()
		if err := t.giveUp(ctx, t.hung.Run); err != nil {
			return "", err
		}
		took = append(took, view.FormatDuration(time.Since(began)))
		for _, cell := range []string{trialReduce, trialKept} {
			if err := t.run(ctx, cell); err != nil {
				return "", fmt.Errorf("after interrupt %d: %w", i+1, err)
			}
		}
	}
	return fmt.Sprintf("interrupted ranks that waited, back after %s; all_reduce is right then, and variables are kept", strings.Join(took, ", ")), nil
}

// goOn trains with the model that was made before the interrupts.
func (t *trial) goOn(ctx context.Context) (string, error) {
	if err := t.run(ctx, trialGoOn); err != nil {
		return "", err
	}
	if major, _, _ := strings.Cut(t.torch, "."); major == "1" {
		return "goes on with equal parameters; the DDP module was wrapped again, which torch " + t.torch + " needs", nil
	}
	return "the DDP module from before the interrupts trains on, with equal parameters", nil
}

// memory allocates GPU memory, and checks that it is given back after the cell.
func (t *trial) memory(ctx context.Context) (string, error) {
	if !t.gpus {
		return "", &notApplicable{"there is no GPU"}
	}
	before, err := session.GPUMemory(ctx)
	if err != nil {
		return "", err
	}
	for _, cell := range []string{fmt.Sprintf(trialTake, trialMemory), trialGive, fmt.Sprintf(trialGiven, trialMemory/2)} {
		if err := t.run(ctx, cell); err != nil {
			return "", err
		}
	}
	after, err := session.GPUMemory(ctx)
	if err != nil {
		return "", err
	}
	found := fmt.Sprintf("%d MiB were back after the cell that deleted them, says torch", trialMemory>>20)
	if len(t.pids) == 0 {
		return found, nil
	}
	for rank, pid := range t.pids {
		was, known := before[pid]
		if !known {
			return found + "; nvidia-smi does not know these processes", nil
		}
		if now := after[pid]; now > was+trialMemory/2 {
			return "", fmt.Errorf("rank %d takes %d MiB more than before it took any, says nvidia-smi", rank, (now-was)>>20)
		}
	}
	return found + " and nvidia-smi", nil
}

// end ends the pool, and checks that nothing is left of it.
func (t *trial) end(ctx context.Context) (string, error) {
	err := t.session.Close(ctx, session.CloseRequest{})
	t.found.Close()
	if err != nil {
		return "", err
	}
	for rank, pid := range t.pids {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z ") {
			return "", fmt.Errorf("process %d of rank %d is left", pid, rank)
		}
	}
	held, err := session.GPUMemory(ctx)
	if err != nil {
		return "", err
	}
	for rank, pid := range t.pids {
		if bytes := held[pid]; bytes > 0 {
			return "", fmt.Errorf("%d MiB of rank %d are still taken, says nvidia-smi", bytes>>20, rank)
		}
	}
	return "nothing is left", nil
}

// begin starts a cell on all ranks.
func (t *trial) begin(code string, timeout time.Duration) (id string, err error) {
	cell := session.Cell{Code: code, Target: cells.Target{Where: cells.Remote}, Timeout: timeout, HangAfter: trialAfter}
	runs, err := t.session.Start(context.Background(), t.by, session.Sequence{Cells: []session.Cell{cell}})
	if err != nil {
		return "", err
	}
	return runs[0], nil
}

// run runs a cell on all ranks. The error says how it failed.
func (t *trial) run(ctx context.Context, code string) error {
	id, err := t.begin(code, trialCell)
	if err != nil {
		return err
	}
	report, err := t.session.Wait(ctx, id)
	if err != nil {
		return err
	}
	for _, part := range report.Parts {
		if f := part.Failure; f != nil {
			return fmt.Errorf("%s on %v: %s", f.EName, part.Who, f.EValue)
		}
	}
	if report.Status != event.StatusOK {
		return fmt.Errorf("%s %s", report.Status, report.Reason)
	}
	return nil
}

// giveUp interrupts a run, and waits until its ranks are back.
func (t *trial) giveUp(ctx context.Context, id string) error {
	if _, err := t.session.Cancel(ctx, id); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), trialFreed)
	defer stop()
	report, err := t.session.Wait(ctx, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the ranks were not back within %v of the interrupt", trialFreed)
	case err != nil:
		return err
	case report.Status != event.StatusInterrupted:
		return fmt.Errorf("the interrupted cell ended as %q %s", report.Status, report.Reason)
	}
	return nil
}
