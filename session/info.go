package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"dipls/internal/contain"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// stateNone is the state when there is no pool.
const stateNone = "none"

// parallelReads is how many processes' memory is read at a time on a host: the kernel walks a process's pages for it.
const parallelReads = 8

// Info describes the pool and the local namespace as they are, and starts nothing. When ctx ends, the memory on GPUs is left out.
func (s *processes) Info(ctx context.Context) wire.PoolInfo { return s.describe(ctx, true) }

// Glance is Info without memory, which takes no time.
func (s *processes) Glance() wire.PoolInfo { return s.describe(context.Background(), false) }

// PoolSince is when the present pool was begun; nil: there is none.
func (s *processes) PoolSince() *time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.began.IsZero() {
		return nil
	}
	return &s.current.began
}

func (s *processes) describe(ctx context.Context, memory bool) wire.PoolInfo {
	s.mu.Lock()
	p, local := s.current, s.local
	var spec poolSpec
	if p != nil {
		spec = p.spec
	}
	away, waits := s.away, ""
	if away != nil {
		waits = away.waits
	}
	s.mu.Unlock()
	info := wire.PoolInfo{State: stateNone, Ranks: []wire.RankInfo{}}
	switch {
	case p == nil:
	case !p.known():
		info.State, info.Size, info.Verbose = ranks.Starting.String(), spec.Ranks, spec.Verbose
		if away != nil && !away.fleet.known() {
			info.Text = waits
		}
	case p.err != nil:
		info.Reason = p.err.Error()
	default:
		describePool(&info, p.value, spec)
		if spec.seats != nil && away != nil && away.fleet.known() && away.fleet.value != nil {
			info.Hosts = describeHosts(away.fleet.value, spec)
		}
		if memory {
			addMemory(ctx, &info, p.value)
		}
	}
	if local != nil && local.known() && local.err == nil && !local.value.State().Final() {
		info.Local = &wire.LocalInfo{Host: local.value.Host().Name(), PID: local.value.PID(), State: local.value.State().String()}
		if memory {
			info.Local.HostBytes = hostBytes(ctx, local.value)
		}
	}
	return info
}

// describePool describes a pool that has started.
func describePool(info *wire.PoolInfo, p *ranks.Pool, spec poolSpec) {
	info.State, info.Size, info.Verbose = p.State().String(), p.Size(), spec.Verbose
	info.Backend, info.App, info.Method = p.Backend(), p.App(), p.Method().String()
	if err := p.Err(); err != nil {
		info.Reason = err.Error()
	}
	info.Ranks = make([]wire.RankInfo, p.Size())
	for rank, process := range p.Ranks() {
		info.Ranks[rank] = wire.RankInfo{
			Rank: rank, Host: process.Host().Name(), PID: process.PID(), Device: process.Device(), State: process.State().String(),
		}
	}
}

// describeHosts describes the hosts of a pool.
func describeHosts(of fleet.Fleet, spec poolSpec) []wire.HostInfo {
	members := of.Members()
	var infos []wire.HostInfo
	for _, s := range spec.seats {
		i := slices.IndexFunc(members, func(m fleet.Member) bool { return m.Name() == s.host })
		if i < 0 {
			continue // it was left out since
		}
		m := members[i]
		info := wire.HostInfo{Host: s.host, State: m.State.String(), Clock: m.WallClock().Seconds()}
		if m.Reason != nil {
			info.Reason = m.Reason.Error()
		}
		infos = append(infos, info)
	}
	return infos
}

// hostUse is what a host says of its GPUs; without an answer it knows nothing.
type hostUse struct {
	slots  chan struct{}  // for reads of its processes
	memory map[int]int64  // bytes, by pid
	load   map[string]int // percent, by the GPU's id
}

// addMemory adds the memory that ranks take, and how busy their GPUs are.
func addMemory(ctx context.Context, info *wire.PoolInfo, p *ranks.Pool) {
	var work sync.WaitGroup
	processes := p.Ranks()
	onHost := make(map[host.Host]*hostUse)
	for _, process := range processes {
		h := process.Host()
		if onHost[h] != nil {
			continue
		}
		use := &hostUse{slots: make(chan struct{}, parallelReads)}
		onHost[h] = use
		if _, ok := process.GPU(); ok {
			work.Go(func() { contain.Do(func() { use.memory, _ = h.GPUMemory(ctx) }) })
			work.Go(func() { contain.Do(func() { use.load, _ = h.GPULoad(ctx) }) })
		}
	}
	for rank, process := range processes {
		slots := onHost[process.Host()].slots
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			contain.Do(func() { info.Ranks[rank].HostBytes = hostBytes(ctx, process) })
		})
	}
	work.Wait()
	for rank, process := range processes {
		if process.State().Final() {
			continue
		}
		use := onHost[process.Host()]
		if used, ok := use.memory[process.PID()]; ok {
			info.Ranks[rank].GPUBytes = &used
		}
		if gpu, ok := process.GPU(); ok {
			if load, ok := use.load[gpu.ID]; ok {
				info.Ranks[rank].GPULoad = &load
			}
		}
	}
}

// hostBytes is a process's host memory; nil if unknown.
func hostBytes(ctx context.Context, p *ranks.Process) *int64 {
	n, ok := p.HostMemory(ctx)
	if !ok {
		return nil
	}
	return &n
}
