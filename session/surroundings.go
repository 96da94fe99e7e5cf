package session

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Ranks inherit what the local namespace has changed of its surroundings, as if they were its children. A new pool gets it at its
// start. A pool that began before, such as a prewarmed one, gets it with its first request. But some variables count only for ranks that
// join after the change: then the pool is made again if nobody has used it; otherwise the user is told.

// chooser says which ranks a pool gets, with the GPUs that are visible now.
type chooser func(context.Context) (poolSpec, error)

// surroundings are what the local namespace has changed; nil: nothing, or it does not live.
func (s *processes) surroundings() *wire.Surroundings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.local == nil || !s.local.known() || s.local.err != nil {
		return nil
	}
	return s.local.value.Surroundings()
}

// settle prepares a pool for its first use; renewed is true if another one replaces it instead.
func (s *processes) settle(ctx context.Context, p *pool) (renewed bool, err error) {
	now := s.surroundings()
	s.mu.Lock()
	used, done := p.used, p.used && p.seen == now
	s.mu.Unlock()
	if done {
		return false, nil
	}
	names := s.late(ctx, p, now)
	switch {
	case len(names) > 0 && used:
		s.tellLate(p, names)
	case len(names) > 0:
		return s.renew(ctx, p, names)
	case !used:
		s.bringUpToDate(p, now)
	}
	s.mu.Lock()
	p.used, p.seen = true, now
	s.mu.Unlock()
	return false, nil
}

// bringUpToDate makes the ranks of an unused pool take over what has changed since it began.
func (s *processes) bringUpToDate(p *pool, now *wire.Surroundings) {
	s.mu.Lock()
	given := p.spec.Surroundings
	s.mu.Unlock()
	if now != given {
		p.value.Carry(now)
	}
}

// late are the variables that have changed since a pool began, and that count only for ranks that join after the change.
func (s *processes) late(ctx context.Context, p *pool, now *wire.Surroundings) []string {
	s.mu.Lock()
	spec, choose := p.spec, p.choose
	s.mu.Unlock()
	var names []string
	for _, name := range changedNames(spec.Surroundings, now) {
		if !ranks.CountsAtJoining(name) {
			continue
		}
		if name == host.GPUMaskName {
			if spec.seats != nil {
				continue // it numbers the GPUs of this machine
			}
			if again, err := choose(ctx); err == nil && sameRanks(again, spec) {
				continue // such as on a machine without GPUs
			}
		}
		names = append(names, name)
	}
	return names
}

// changedNames are the variables that surroundings differ in, in order.
func changedNames(a, b *wire.Surroundings) []string {
	if a == b {
		return nil
	}
	of := func(s *wire.Surroundings) map[string][]byte {
		env := map[string][]byte{}
		if s != nil {
			for name, value := range s.Env {
				env[name] = value
			}
		}
		return env
	}
	before, after := of(a), of(b)
	names := slices.Collect(maps.Keys(after))
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { return bytes.Equal(before[name], after[name]) })
}

// tellLate tells the user of variables that came too late for a pool in use, once for the same ones.
func (s *processes) tellLate(p *pool, names []string) {
	text := fmt.Sprintf("%s changed after the ranks had joined, and counts for those of the next pool: %%makedip -r", strings.Join(names, ", "))
	if len(names) > 1 {
		text = strings.Replace(text, "counts", "count", 1)
	}
	s.mu.Lock()
	known := p.toldLate == text
	p.toldLate = text
	s.mu.Unlock()
	if !known {
		s.o.Notice(text)
	}
}

// renew replaces a pool that nobody has used.
func (s *processes) renew(ctx context.Context, p *pool, names []string) (bool, error) {
	s.mu.Lock()
	spec, choose := p.spec, p.choose
	s.mu.Unlock()
	again, err := choose(ctx)
	if err != nil {
		return false, err
	}
	spec.Ranks, spec.GPUs, spec.seats = again.Ranks, again.GPUs, again.seats
	if err := s.beginMaking(ctx); err != nil {
		return false, err
	}
	defer s.endMaking()
	s.mu.Lock()
	if s.current == p {
		s.succeed(p, settled(spec, choose))
	}
	s.mu.Unlock()
	s.o.Notice("the pool is made anew, since " + strings.Join(names, ", ") + " changed after it had begun")
	return true, nil
}
