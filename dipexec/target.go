package dipexec

import (
	"fmt"
	"slices"
	"strconv"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/ranks/host"
)

// Resolve says where a run goes: the first target that is given, of the command's own, the cell's directive, autodip's and
// what counts otherwise; without any, the local namespace.
func Resolve(command, directive, autodip, otherwise cells.Target) cells.Target {
	for _, t := range []cells.Target{command, directive, autodip, otherwise} {
		if t.Where != cells.None {
			return t
		}
	}
	return cells.Target{Where: cells.Local}
}

// resolveSee says whose output a view shows: the command's own choice, the cell's, or the lowest rank that the run goes to.
func resolveSee(command, directive ranklist.List, t cells.Target) string {
	switch {
	case !command.IsZero():
		return command.String()
	case !directive.IsZero():
		return directive.String()
	case t.Ranks.IsZero():
		return "0"
	case t.Ranks.NeedsPool():
		return ranklist.All.String() // all to which it goes
	default:
		return strconv.Itoa(slices.Min(slices.Collect(t.Ranks.Written())))
	}
}

// seen are the ranks whose output a view shows, where only the pool tells that; zero where the event of the run's start has told it.
func seen(see string, pool []Process) (ranklist.List, error) {
	list, err := ranklist.ParseRanks(see)
	if err != nil || !list.NeedsPool() {
		return ranklist.List{}, err
	}
	if list, err = list.In(hostNames(pool)); err != nil {
		return list, fmt.Errorf("--see: %w", err)
	}
	return list, nil
}

// pick selects the processes that a target means from all ranks of a pool.
func pick(t cells.Target, pool []Process) ([]Process, error) {
	if t.Ranks.IsZero() {
		return pool, nil
	}
	var err error
	if t.Ranks, err = t.Ranks.In(hostNames(pool)); err != nil {
		return nil, err
	}
	if t.Ranks.Max() >= len(pool) {
		var missing []int
		for r := range t.Ranks.Written() {
			if r >= len(pool) {
				missing = append(missing, r)
			}
		}
		slices.Sort(missing)
		missing = slices.Compact(missing)
		has := ranklist.Name(rankNumbers(pool))
		if len(pool) == 1 {
			has = "only " + has
		}
		be := "is"
		if len(missing) > 1 {
			be = "are"
		}
		return nil, fmt.Errorf("there %s no %s: the pool has %s", be, ranklist.Name(missing), has)
	}
	ranks := t.Ranks.Of(len(pool))
	procs := make([]Process, len(ranks))
	for i, r := range ranks {
		procs[i] = pool[r]
	}
	return procs, nil
}

// hostNames are the names of the hosts of ranks.
func hostNames[P interface{ Host() host.Host }](pool []P) []string {
	names := make([]string, len(pool))
	for i, p := range pool {
		names[i] = p.Host().Name()
	}
	return names
}
