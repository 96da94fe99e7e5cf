package lsp

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/lsp/docs"
)

// planned is a run that has been decided on.
type planned struct {
	request dipexec.Request
	cell    cells.Cell // zero: the run is of none
	partial bool
}

// plan is runs that begin one after the other, each when the one before it has ended well. One that is not to be waited for (%%px --noblock) is not.
// Cells whose turn has not come have a run on the board that is queued, under an id of its own: the first one's, a plus and their place.
type plan struct {
	s    *server
	w    *workspace
	d    *docs.Snapshot
	runs []planned

	mu      sync.Mutex // guards what follows
	begun   []string   // ids of the runs that have begun
	waiting []*Run     // on the board, by place; nil where there is none, or none any more
	end     int        // place of the first one that will not run
}

// newPlan is a plan whose first run has begun.
func (s *server) newPlan(w *workspace, d *docs.Snapshot, first string, runs []planned) *plan {
	p := &plan{s: s, w: w, d: d, runs: runs, begun: []string{first}, waiting: make([]*Run, len(runs)), end: len(runs)}
	for i, next := range runs[1:] {
		p.waiting[i+1] = &Run{
			Run: view.Run{ID: fmt.Sprintf("%s+%d", first, i+1), Target: w.executor.TargetNow(next.request).String()},
			Doc: d.URI, Cell: d.ID(next.cell), Partial: next.partial,
			workspace: w, text: docs.TextOf(next.cell), cellLine: next.cell.Line(), plan: p, place: i + 1,
		}
	}
	s.board.queue(p.waiting[1:])
	return p
}

// carryOut begins the runs after the first one.
func (p *plan) carryOut() {
	for i := 1; i < len(p.runs); i++ {
		report, ended, err := p.w.executor.Proceed(p.s.ctx, p.begun[i-1])
		if err != nil || ended && report.Status != event.StatusOK {
			p.cut(i)
			return
		}
		if !p.begin(i) {
			return
		}
	}
}

// begin begins the run at a place, unless the plan has been cut before.
func (p *plan) begin(i int) bool {
	p.mu.Lock()
	if i >= p.end {
		p.mu.Unlock()
		return false
	}
	next, waited := p.runs[i], p.waiting[i]
	id, err := p.s.begin(p.w, p.d, next)
	if err == nil {
		p.begun = append(p.begun, id)
		p.waiting[i] = nil
	}
	p.mu.Unlock()
	if err != nil {
		p.s.log.Warn("the cells below do not run", zap.Int("from", next.cell.Index()), zap.Error(err))
		p.cut(i)
		return false
	}
	p.s.board.dequeue([]*Run{waited})
	return true
}

// cut has the runs from a place on not begin. It reports whether there was one that would have.
func (p *plan) cut(from int) bool {
	p.mu.Lock()
	from = max(from, len(p.begun))
	if from >= p.end {
		p.mu.Unlock()
		return false
	}
	gone := p.waiting[from:p.end]
	p.end = from
	p.mu.Unlock()
	p.s.board.dequeue(gone)
	return true
}

// cancel cancels the run at a place, with which those after it do not begin. It reports whether there was something to cancel.
func (p *plan) cancel(i int) bool {
	p.mu.Lock()
	id := ""
	if i < len(p.begun) {
		id = p.begun[i]
	}
	p.mu.Unlock()
	if id != "" { // meanwhile
		return p.w.executor.Cancel(id) == nil
	}
	return p.cut(i)
}

// cancel cancels a run, whether it has begun or only waits in a plan. It reports whether there was something to cancel.
func (r *Run) cancel() bool {
	if r.plan != nil {
		return r.plan.cancel(r.place)
	}
	return r.workspace.executor.Cancel(r.ID) == nil
}
