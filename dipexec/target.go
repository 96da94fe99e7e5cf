package dipexec

import (
	"fmt"
	"slices"
)

// Scope is the part of a target that names the namespaces.
type Scope uint8

// The scopes.
const (
	Unset      Scope = iota // nobody has said
	Local                   // the local namespace
	Remote                  // the ranks
	Everywhere              // the local namespace first, and then the ranks
)

// Target is where a cell runs. The zero value says nothing: the next in line decides (see [Resolve]).
type Target struct {
	Scope Scope
	Ranks []int // the ranks meant, ascending; nil: all
}

// See is whose output a view shows. The zero value is rank 0. An error is shown whichever rank it comes from, and so is
// the local namespace.
type See struct {
	All   bool
	Ranks []int // ascending; nil and not All: rank 0
}

// Resolve says where a run goes: the first target that is set, of the command's own, the cell's directive and autodip's;
// without any, the local namespace.
func Resolve(command, directive, autodip Target) Target {
	for _, t := range []Target{command, directive, autodip} {
		if t.Scope != Unset {
			return t
		}
	}
	return Target{Scope: Local}
}

// String gives "local", "remote", "everywhere" or "ranks:0-3", and "" for the zero value. "everywhere" on a subset is
// "everywhere:0-3".
func (t Target) String() string {
	var s string
	switch t.Scope {
	case Unset:
		return ""
	case Local:
		return "local"
	case Everywhere:
		s = "everywhere"
	default:
		s = "remote"
	}
	if t.Ranks == nil {
		return s
	}
	if t.Scope == Remote {
		s = "ranks"
	}
	return s + ":" + formatRanks(t.Ranks)
}

// String gives "all" or a rank list.
func (s See) String() string {
	switch {
	case s.All:
		return "all"
	case s.Ranks == nil:
		return "0"
	default:
		return formatRanks(s.Ranks)
	}
}

// Shows reports whether the output of a rank is shown.
func (s See) Shows(rank int) bool {
	switch {
	case s.All:
		return true
	case s.Ranks == nil:
		return rank == 0
	default:
		return slices.Contains(s.Ranks, rank)
	}
}

// pick selects the processes that a target means from all ranks of a pool.
func (t Target) pick(pool []Process) ([]Process, error) {
	if t.Ranks == nil {
		return pool, nil
	}
	var procs []Process
	var missing []int
	for _, n := range t.Ranks {
		if n < 0 || n >= len(pool) {
			missing = append(missing, n)
			continue
		}
		procs = append(procs, pool[n])
	}
	switch {
	case len(missing) == 1:
		return nil, fmt.Errorf("there is no rank %d: the pool has %s", missing[0], countRanks(len(pool)))
	case len(missing) > 1:
		return nil, fmt.Errorf("there are no ranks %s: the pool has %s", formatRanks(missing), countRanks(len(pool)))
	}
	return procs, nil
}

func countRanks(n int) string {
	if n == 1 {
		return "only rank 0"
	}
	return fmt.Sprintf("ranks 0-%d", n-1)
}
