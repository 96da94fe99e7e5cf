package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// firstCell is what a user's first cell is taken to be.
	firstCell = "import torch"

	// firstStep is the first training step of a fresh rank, with what torch imports only then.
	firstStep = `import torch
_model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
_optimizer = torch.optim.SGD(_model.parameters(), lr=0.1)
_model(torch.ones(2, 4)).sum().backward()
_optimizer.step()`
)

// measurePool measures one pool of ranks on which torch is imported and the process group joined.
func (p *plan) measurePool(ctx context.Context, s *server) error {
	if err := s.startPool(ctx, p.ranks, ""); err != nil {
		return err
	}
	if _, err := s.remote(ctx, firstCell); err != nil {
		return err
	}
	for _, one := range []struct {
		figure  string
		measure func(context.Context, *server) error
	}{
		{"memory", p.measureMemory},
		{"pass", p.measurePass},
		{"lines", p.measureLines},
		{"flood", p.measureFlood},
		{"push and pull", p.measureTransfers},
		{"restart", p.measureRestart},
	} {
		err := one.measure(ctx, s)
		if ctx.Err() != nil {
			return err
		}
		if err := emitFailure(one.figure, err); err != nil {
			return err
		}
	}
	return nil
}

// measureMemory measures what idle ranks cost. The node counts as one of them, since they share memory with it.
func (p *plan) measureMemory(_ context.Context, s *server) error {
	processes := append(s.pids(), s.node.PID())
	idle, err := sumPSS(processes)
	if err != nil {
		return err
	}
	if err := emit("memory", idle/1e6); err != nil {
		return err
	}
	all, err := sumPSS(append(processes, self))
	if err != nil {
		return err
	}
	return emit("memory_all", all/1e6)
}

func (p *plan) measurePass(ctx context.Context, s *server) error {
	samples, err := s.repeat(ctx, p.passes, "pass")
	if err != nil {
		return err
	}
	return emit("pass", samples...)
}

// measureRestart replaces the ranks, once up to the first cell and once up to the first training step.
func (p *plan) measureRestart(ctx context.Context, s *server) error {
	for _, one := range []struct{ figure, code string }{
		{"restart", "import torch\nassert torch.distributed.is_initialized()"},
		{"restart_ddp", firstStep},
	} {
		begin := time.Now()
		if err := s.endPool(ctx); err != nil {
			return err
		}
		if err := s.startPool(ctx, p.ranks, ""); err != nil {
			return err
		}
		if _, err := s.remote(ctx, one.code); err != nil {
			return err
		}
		if err := emit(one.figure, time.Since(begin).Seconds()); err != nil {
			return err
		}
	}
	return nil
}

// measureSweep measures pass for several numbers of ranks, without an app: just the way there and back.
func (p *plan) measureSweep(ctx context.Context, s *server) error {
	for _, size := range p.sizes {
		if err := s.startPool(ctx, size, "none"); err != nil {
			return err
		}
		samples, err := s.repeat(ctx, p.passes, "pass")
		if err != nil {
			return err
		}
		if err := emit(fmt.Sprintf("pass_%d", size), samples...); err != nil {
			return err
		}
		if err := s.endPool(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measureKernel measures one rank, as one Jupyter kernel would be.
func (p *plan) measureKernel(ctx context.Context, s *server) error {
	if err := s.startPool(ctx, 1, "none"); err != nil {
		return err
	}
	samples, err := s.repeat(ctx, p.passes, "pass")
	if err != nil {
		return err
	}
	if err := emit("kernel_pass", samples...); err != nil {
		return err
	}
	return p.printLines(ctx, s, "kernel_lines", 1)
}
