package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
)

const (
	// lateRank is code in which rank 0 never comes to a collective in which the others wait.
	lateRank = "import torch, torch.distributed as dist\nif dist.get_rank(): dist.all_reduce(torch.ones(1))"

	// usualHangAfter is the default of --hang-after.
	usualHangAfter = 10 * time.Second

	hangLooks = 50 // over which what a look costs is measured
)

// measureHangs measures how much later than asked for a hang is reported, and what part of a core the looks at a hanging run take at their
// default rate.
func (p *plan) measureHangs(ctx context.Context, s *server) error {
	if err := s.startPool(ctx, p.ranks, ""); err != nil {
		return err
	}
	if _, err := s.remote(ctx, "import torch.distributed as dist, torch\ndist.all_reduce(torch.ones(1))"); err != nil {
		return err
	}
	var told, costs []float64
	for range p.repeats {
		const after = usualHangAfter / 2 // beyond which it takes as long
		seconds, _, err := s.hang(ctx, after, 0)
		if err != nil {
			return err
		}
		told = append(told, (seconds - after).Seconds())
		_, cost, err := s.hang(ctx, usualHangAfter/100, hangLooks) // or else what ranks take that wait would count for more
		if err != nil {
			return err
		}
		costs = append(costs, 100*cost.Seconds()/usualHangAfter.Seconds())
	}
	freed, err := p.freed(ctx, s)
	return errors.Join(emit("told", told...), emit("looks", costs...), err, emit("freed", freed...))
}

// interruptedLoops is code that a person interrupts: ranks that hang, and healthy loops.
var interruptedLoops = []string{
	lateRank,
	"while True: dist.all_reduce(torch.ones(1000))",
	"model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(100, 100))\nwhile True: model(torch.ones(8, 100)).sum().backward()",
}

// freed is how many seconds pass between the interrupt and ranks that are free and agree.
func (p *plan) freed(ctx context.Context, s *server) (samples []float64, err error) {
	for i := range 10 * p.repeats * len(interruptedLoops) {
		id, err := s.executor.Start(dipexec.Request{Code: interruptedLoops[i%len(interruptedLoops)], Target: cells.Target{Where: cells.Remote}, HangAfter: -1})
		if err != nil {
			return nil, err
		}
		time.Sleep(200*time.Millisecond + time.Duration(rand.Int64N(int64(100*time.Millisecond)))) // in the loop, anywhere
		begin := time.Now()
		if err := s.executor.Cancel(id); err != nil {
			return nil, err
		}
		if _, err := s.executor.Wait(ctx, id); err != nil {
			return nil, err
		}
		samples = append(samples, time.Since(begin).Seconds())
		if _, err := s.remote(ctx, "t = torch.ones(1); dist.all_reduce(t); assert t.item() == dist.get_world_size()"); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// hang makes the ranks hang, and frees them. It returns how long it took until the hang was reported, and the CPU time of one look after
// that, of this process and of the ranks, averaged over so many looks.
func (s *server) hang(ctx context.Context, after time.Duration, looks int) (told, cost time.Duration, err error) {
	sub := s.executor.Subscribe()
	defer sub.Close()
	begin := time.Now()
	id, err := s.executor.Start(dipexec.Request{Code: lateRank, Target: cells.Target{Where: cells.Remote}, HangAfter: after})
	if err != nil {
		return 0, 0, err
	}
	for told == 0 {
		events, err := sub.Next(ctx)
		if err != nil {
			return 0, 0, err
		}
		for _, ev := range events {
			switch ev.(type) {
			case *event.Hang:
				told = time.Since(begin)
			case *event.RunFinished:
				return 0, 0, errors.New("the ranks do not hang")
			}
		}
	}
	processes := append(s.pids(), self)
	before, err := sumCPU(processes)
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(time.Duration(looks) * after):
	case <-ctx.Done():
	}
	cpu, err := sumCPU(processes)
	if err != nil {
		return 0, 0, err
	}
	if err := s.executor.Free(id); err != nil {
		return 0, 0, err
	}
	_, err = s.executor.Wait(ctx, id)
	return told, (cpu - before) / time.Duration(max(looks, 1)), err
}

// sumCPU is the processor time that processes have taken.
func sumCPU(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return 0, err
		}
		for _, task := range tasks {
			data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name())) // it has ended
			if fields := bytes.Fields(data); len(fields) > 0 {
				ns, err := strconv.ParseInt(string(fields[0]), 10, 64)
				if err != nil {
					return 0, err
				}
				sum += time.Duration(ns)
			}
		}
	}
	return sum, nil
}
