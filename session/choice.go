package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
)

// defaultCPURanks is the default size of a pool on a machine without GPUs: the smallest number that shows whether code works
// on more than one rank.
const defaultCPURanks = 2

// Choice is the pool that a user asks for, in the terms of the command line, of %makedip and of an editor's settings. The zero
// value means the default: a rank for each GPU, or CPU ranks.
type Choice struct {
	GPUs          string        `json:"gpus,omitempty"`           // "all" or a list such as "3,1", numbered as torch does; "": not said
	Ranks         int           `json:"ranks,omitempty"`          // 0: not said
	App           string        `json:"app,omitempty"`            // "": torch if it is installed
	Verbose       bool          `json:"verbose,omitempty"`        // the app says what it does
	Timeout       time.Duration `json:"timeout,omitempty"`        // for the pool to start; 0: two minutes
	KeepGPUMemory bool          `json:"keep_gpu_memory,omitzero"` // as in [ranks.PoolSpec]
	Seed          ranks.Seed    `json:"seed,omitzero"`            // of the ranks and of the local namespace
	GroupTimeout  time.Duration `json:"group_timeout,omitempty"`  // of collectives; 0: 24 h
	Check         bool          `json:"check,omitempty"`          // collectives are compared before they run

	Hosts        string      `json:"hosts,omitempty"`          // where ranks run, as --hosts has it; "": on this machine
	RanksPerHost int         `json:"ranks_per_host,omitempty"` // 0: not said
	HostTerms    fleet.Terms `json:"host_terms,omitzero"`      // for hosts other than this machine
	Sync         bool        `json:"sync,omitempty"`           // these get the project's Python files before each run
}

// ChoiceError says that a choice is impossible: it contradicts itself, or this machine does not have what it names.
type ChoiceError struct{ text string }

func (e *ChoiceError) Error() string { return e.text }

func choiceErrorf(format string, args ...any) error {
	return &ChoiceError{fmt.Sprintf(format, args...)}
}

// check refuses what can be seen to be impossible without asking any machine.
func (c Choice) check() error {
	switch {
	case c.Ranks < 0:
		return choiceErrorf("-n %d: a pool has at least one rank", c.Ranks)
	case c.RanksPerHost < 0:
		return choiceErrorf("--ranks-per-host %d: a host has at least one rank", c.RanksPerHost)
	case c.RanksPerHost > 0 && c.Hosts == "":
		return choiceErrorf("--ranks-per-host %d: no hosts are named; -n counts the ranks of this machine", c.RanksPerHost)
	}
	if err := c.HostTerms.Check(); err != nil {
		return choiceErrorf("%v", err)
	}
	return nil
}

// spec translates a choice into a pool for this machine. It looks for the GPUs that CUDA_VISIBLE_DEVICES shows; cpuRanks is how many
// ranks there are on the CPU by default. An error that is no *[ChoiceError] means that the GPUs could not be looked for.
func (c Choice) spec(ctx context.Context, h host.Host, cpuRanks int, gpuMask *string) (ranks.PoolSpec, error) {
	spec := c.base()
	if err := c.check(); err != nil {
		return spec, err
	}
	var list ranklist.List
	if c.GPUs != "" {
		var err error
		if list, err = ranklist.Parse(c.GPUs); err != nil {
			return spec, choiceErrorf("-g: %v", err)
		}
	}
	visible, err := h.GPUs(ctx, gpuMask)
	if err != nil {
		return spec, err
	}
	if spec.GPUs, err = pick(visible, list); err != nil {
		return spec, err
	}
	switch {
	case spec.Ranks == 0:
		spec.Ranks = len(spec.GPUs)
	case len(spec.GPUs) <= spec.Ranks:
	case list.IsZero():
		spec.GPUs = spec.GPUs[:spec.Ranks]
	default:
		return spec, choiceErrorf("-n %d and -g %s contradict each other: -g names %s", c.Ranks, c.GPUs, count(len(spec.GPUs), "GPU"))
	}
	if spec.Ranks == 0 {
		spec.Ranks = cpuRanks
	}
	return spec, nil
}

// pick gives the GPUs of a list; all of them if it is "all" or empty.
func pick(visible []host.GPU, list ranklist.List) ([]host.GPU, error) {
	if list.IsZero() || list.All() {
		return visible, nil
	}
	if len(visible) == 0 {
		return nil, choiceErrorf("-g %s: no GPU is visible; -n N makes N ranks on the CPU", list)
	}
	picked, err := host.SelectGPUs(visible, slices.Collect(list.Written()))
	if err != nil {
		return nil, choiceErrorf("-g: %v", err)
	}
	return picked, nil
}

// sameRanks reports whether two pools have as many ranks on the same GPUs, in the same order.
func sameRanks(a, b poolSpec) bool {
	return a.Ranks == b.Ranks && sameGPUs(a.GPUs, b.GPUs) && sameSeats(a, b)
}

func sameGPUs(a, b []host.GPU) bool {
	return slices.EqualFunc(a, b, func(g, h host.GPU) bool { return g.ID == h.ID })
}

// sameKind reports whether a pool of one kind can serve as the other, apart from what can be changed while it lives.
func sameKind(a, b poolSpec) bool {
	return sameRanks(a, b) && a.Seed == b.Seed && a.Check == b.Check && a.GroupTimeout == b.GroupTimeout
}

// count is "1 rank" or "3 ranks".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
