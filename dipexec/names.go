package dipexec

import (
	"context"
	"sync"

	"dipls/internal/contain"
	"dipls/internal/ranklist"
)

// Bound reports, per process that has run something, which of names are defined there. It asks all at the same time, also while they are busy. It
// starts none, and leaves out those that do not answer before ctx ends.
func (e *Executor) Bound(ctx context.Context, names []string) map[ranklist.Who][]string {
	e.mu.Lock()
	procs := make([]*process, 0, len(e.procs))
	for _, p := range e.procs {
		procs = append(procs, p)
	}
	e.mu.Unlock()
	var (
		work  sync.WaitGroup
		mu    sync.Mutex
		bound = map[ranklist.Who][]string{}
	)
	for _, p := range procs {
		work.Go(func() {
			var found []string
			var err error
			if fault := contain.Do(func() { found, err = p.p.Names(ctx, names) }); fault != nil || err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			bound[p.who] = found
		})
	}
	work.Wait()
	return bound
}
