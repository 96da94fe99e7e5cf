package session

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
)

// poolSpec is a pool to be: what its ranks need to know, and where they run.
type poolSpec struct {
	ranks.PoolSpec            // with the ranks and GPUs of all hosts
	on             allocation // zero: this machine
	seats          []seat     // on each of its hosts, in the order of the ranks; nil on this machine
	idle           []string   // its hosts that have no rank
	sync           bool       // the hosts get the project's Python files before each run
}

// allocation is what hosts are asked for by. Pools with the same one run on the same hosts.
type allocation struct {
	hosts string // as --hosts has it
	terms fleet.Terms
}

// here reports whether it is this machine.
func (a allocation) here() bool { return a.hosts == "" }

// allocation is where a choice's pool runs.
func (c Choice) allocation() allocation {
	if c.Hosts == "" {
		return allocation{}
	}
	return allocation{c.Hosts, c.HostTerms}
}

// seat is the part of a pool that runs on one host.
type seat struct {
	host  string
	ranks int
	gpus  []host.GPU
}

// sit makes a spec that has these seats, as far as they have ranks.
func (spec poolSpec) sit(seats []seat) poolSpec {
	spec.seats, spec.Ranks, spec.GPUs, spec.idle = []seat{}, 0, nil, nil
	for _, s := range seats {
		if s.ranks == 0 {
			spec.idle = append(spec.idle, s.host)
			continue
		}
		spec.seats = append(spec.seats, s)
		spec.Ranks += s.ranks
		spec.GPUs = append(spec.GPUs, s.gpus...)
	}
	return spec
}

// base is what a choice says of a pool besides where its ranks run.
func (c Choice) base() ranks.PoolSpec {
	return ranks.PoolSpec{
		Ranks: c.Ranks, App: c.App, Verbose: c.Verbose, Timeout: c.Timeout, KeepGPUMemory: c.KeepGPUMemory, Seed: c.Seed,
		GroupTimeout: c.GroupTimeout, Check: c.Check,
	}
}

// sizeOnHosts is how many ranks a choice has on hosts, as far as it says so itself; 0: the hosts have to be asked.
func (c Choice) sizeOnHosts() (int, error) {
	if err := c.check(); err != nil || c.Ranks > 0 {
		return c.Ranks, err
	}
	own, err := fleet.Check(c.Hosts)
	if err != nil {
		return 0, choiceErrorf("%v", err)
	}
	size := 0
	for _, n := range own {
		if n = cmp.Or(n, c.RanksPerHost); n == 0 {
			return 0, nil
		}
		size += n
	}
	return size, nil
}

// spread places the ranks of a choice on hosts. It asks each for the GPUs that the environment there shows.
func (c Choice) spread(ctx context.Context, members []fleet.Member, cpuRanks int) (poolSpec, error) {
	spec := poolSpec{PoolSpec: c.base(), on: c.allocation(), sync: c.Sync}
	var list ranklist.List
	if c.GPUs != "" {
		var err error
		if list, err = ranklist.Parse(c.GPUs); err != nil {
			return spec, choiceErrorf("-g: %v", err)
		}
	}
	seats, err := seatsOn(ctx, members, list)
	if err != nil {
		return spec, err
	}
	wants := make([]int, len(members)) // ranks of a host; 0: that is open
	for i, m := range members {
		if wants[i] = m.Ranks; wants[i] == 0 {
			wants[i] = c.RanksPerHost
		}
	}
	if err := place(seats, wants, c.Ranks, cpuRanks); err != nil {
		return spec, err
	}
	for i, s := range seats {
		if len(s.gpus) > s.ranks {
			if !list.IsZero() && !list.All() && s.ranks > 0 {
				return spec, choiceErrorf("-g %s names %s of each host, and %s has room for %s", list, count(len(s.gpus), "GPU"), s.host, count(s.ranks, "rank"))
			}
			seats[i].gpus = s.gpus[:s.ranks]
		}
	}
	return spec.sit(seats), agree(seats)
}

// agree refuses hosts whose ranks would not choose the same backend: nccl where each has a GPU of its own, else gloo.
func agree(seats []seat) error {
	var nccl, gloo []string
	for _, s := range seats {
		switch {
		case s.ranks == 0:
		case len(s.gpus) < s.ranks:
			gloo = append(gloo, s.host)
		default:
			nccl = append(nccl, s.host)
		}
	}
	if len(nccl) == 0 || len(gloo) == 0 {
		return nil
	}
	return choiceErrorf("ranks of one pool need a GPU each, or none of them does: there are enough on %s, and too few on %s. "+
		"Say how many ranks each host is to have (%s:N), or leave hosts out", strings.Join(nccl, ", "), strings.Join(gloo, ", "), gloo[0])
}

// seatsOn are empty seats with the GPUs of each host.
func seatsOn(ctx context.Context, members []fleet.Member, list ranklist.List) ([]seat, error) {
	seats := make([]seat, len(members))
	g, ctx := errgroup.WithContext(ctx)
	for i, m := range members {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			visible, err := host.ListGPUs(ctx, m.Host)
			if err == nil {
				visible, err = pick(visible, list)
			}
			seats[i] = seat{host: m.Name(), gpus: visible}
			return ofHost(m.Name(), err)
		})
	}
	return seats, g.Wait()
}

// place gives each seat its ranks. Hosts that say how many they take are filled first, in order. What is left of total (0: as many as there is room for)
// goes to the others in turns, first as far as there are GPUs.
func place(seats []seat, wants []int, total, cpuRanks int) error {
	left := total
	for i, n := range wants {
		if total > 0 {
			n = min(n, left)
		}
		seats[i].ranks = n
		left -= n
	}
	open := func(i int) bool { return wants[i] == 0 }
	if total == 0 {
		for i := range seats {
			if !open(i) {
				continue
			}
			if seats[i].ranks = len(seats[i].gpus); seats[i].ranks == 0 {
				seats[i].ranks = cpuRanks
			}
		}
		return nil
	}
	if left > 0 && !slices.Contains(wants, 0) {
		return choiceErrorf("-n %d: the hosts have room for %s", total, count(total-left, "rank"))
	}
	for _, shared := range []bool{false, true} {
		for given := true; given && left > 0; {
			given = false
			for i := range seats {
				if left > 0 && open(i) && (shared || seats[i].ranks < len(seats[i].gpus)) {
					seats[i].ranks++
					left--
					given = true
				}
			}
		}
	}
	return nil
}

// without is a spec that leaves out hosts.
func (spec poolSpec) without(hosts []string) poolSpec {
	return spec.sit(slices.DeleteFunc(slices.Clone(spec.seats), func(s seat) bool { return slices.Contains(hosts, s.host) }))
}

// sameSeats reports whether two pools have as many ranks on the same GPUs of the same hosts, in the same order.
func sameSeats(a, b poolSpec) bool {
	return a.on == b.on && slices.EqualFunc(a.seats, b.seats, func(s, t seat) bool {
		return s.host == t.host && s.ranks == t.ranks && sameGPUs(s.gpus, t.gpus)
	})
}
