package lsp

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/session"
)

// Run is what is known of one run, and of the cell that it is of. Features get copies.
type Run struct {
	view.Run             // Target is where it would go if its turn were now, until it has begun; [board.lastRun] adds hangs of the runs that it asked for
	Doc      uri.URI     // of the cell; "": the run is of no cell of a document
	Cell     docs.CellID // zero: likewise
	Partial  bool        // part of the cell ran, a selection

	workspace *workspace
	before    *Run          // the cell's last run before this one, until its turn comes
	number    uint64        // in the order of their starts
	text      docs.CellText // of the cell
	cellLine  int           // 1-based line on which the cell began
	line, end int           // 1-based lines that the code took, both inclusive

	asks       bool // it waits for the user's answer to a question; set by [board.lastRun]
	interrupts int  // how often the user has asked for its end
}

// Outcome is how it goes or went, in few words.
func (r *Run) Outcome() string {
	if r.asks {
		return "… waiting for your answer"
	}
	return r.Run.Outcome()
}

// hasNotBegun reports whether no process has begun its part.
func (r *Run) hasNotBegun() bool { return r.State != view.Ended && len(r.Parts) == 0 }

// Stale reports whether a cell is no longer what ran.
func (r *Run) Stale(c cells.Cell) bool { return !r.text.SameCode(docs.TextOf(c)) }

// keptRuns is how many ended runs are remembered besides the last one of each cell.
const keptRuns = 200

// board holds what is known of runs and pools: events are entered here, and all features read it. It knows no documents; a run refers to its cell by
// [docs.CellID].
type board struct {
	docs    *docs.Store
	changed func(change) // told of every change, after it can be seen

	order sync.Mutex // held while runs are started and entered, and while an event is

	mu    sync.Mutex // guards what follows
	count uint64
	runs  map[string]*Run
	ended []string         // those of runs that have ended, oldest first
	last  map[cellKey]*Run // the last run of each cell as a whole
	hung  map[string]*Run  // whose ranks wait for something, or whose code for its user
	pools map[*workspace]*event.PoolState
	posed map[*workspace]int // how many questions are open that runs wait for
}

type cellKey struct {
	doc  uri.URI
	cell docs.CellID
}

func newBoard(docs *docs.Store, changed func(change)) *board {
	b := &board{
		docs: docs, changed: changed, runs: map[string]*Run{}, last: map[cellKey]*Run{}, hung: map[string]*Run{},
		pools: map[*workspace]*event.PoolState{}, posed: map[*workspace]int{},
	}
	return b
}

// begin calls start, enters the runs that it has started, and returns their ids in order. No event of theirs is entered before they are.
func (b *board) begin(runs []*Run, start func() (ids []string, err error)) ([]string, error) {
	b.order.Lock()
	defer b.order.Unlock()
	ids, err := start()
	if err != nil {
		return nil, err
	}
	var c change
	b.mu.Lock()
	for i, r := range runs {
		r.ID = ids[i]
		b.enter(r)
		c.add(cellChange(r))
	}
	b.mu.Unlock()
	b.changed(c)
	return ids, nil
}

// enter puts a run on the board. mu is held.
func (b *board) enter(r *Run) {
	b.count++
	r.number = b.count
	b.runs[r.ID] = r
	if r.Cell != 0 && !r.Partial && r.Parent == "" {
		key := cellKey{r.Doc, r.Cell}
		r.before, b.last[key] = b.last[key], r
	}
}

// wasInVain reports whether the run ended before its turn came, because it was cancelled or skipped.
func (r *Run) wasInVain() bool {
	return r.State == view.Ended && r.Started.IsZero() && (r.Status == event.StatusSkipped || r.Status == event.StatusInterrupted)
}

// withdraw removes a run that was in vain. Its cell is shown again as it was before, unless it has run since. mu is held.
func (b *board) withdraw(r *Run) {
	delete(b.runs, r.ID)
	for _, later := range b.runs {
		if later.before == r {
			later.before = r.before
		}
	}
	switch key := (cellKey{r.Doc, r.Cell}); {
	case b.last[key] != r:
	case r.before == nil:
		delete(b.last, key)
	default:
		b.last[key] = r.before
	}
}

// meet enters what is known of a workspace before its events are.
func (b *board) meet(w *workspace, autodip string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pools[w] == nil {
		b.pools[w] = &event.PoolState{State: event.StateNone, Autodip: autodip}
	}
}

// event enters an event.
func (b *board) event(w *workspace, ev event.Event) {
	b.order.Lock()
	defer b.order.Unlock()
	c := b.record(w, ev, b.meetRun(w, ev))
	if how, of := view.LossOf(ev); how != 0 {
		c.add(b.lose(w, ev.Head().Run, how, of))
	}
	if !c.empty() {
		b.changed(c)
	}
}

// lose enters the loss of namespaces of a workspace in all runs but the one that tells it itself. What has run there is gone.
func (b *board) lose(w *workspace, by string, how view.Loss, of func(ranklist.Who) bool) (c change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	enter := func(r *Run) {
		if r.workspace == w && (by == "" || r.ID != by) && r.Lose(how, of) {
			c.add(cellChange(r))
			c.add(change{gone: map[string]bool{r.ID: true}})
		}
	}
	for _, r := range b.runs {
		enter(r)
	}
	for _, r := range b.last {
		enter(r)
	}
	return c
}

// over enters that the session of a workspace has ended, and so has everything that ran there.
func (b *board) over(w *workspace) {
	b.order.Lock()
	defer b.order.Unlock()
	b.changed(b.lose(w, "", view.Closed, func(ranklist.Who) bool { return true }))
}

// meetRun makes the run that an event begins to tell of, if this client has not started it: a cell has, another client, or this window before it was closed.
func (b *board) meetRun(w *workspace, ev event.Event) *Run {
	switch ev := ev.(type) {
	case *event.RunQueued:
		if !b.knows(w, ev.Run) {
			return b.adoptQueued(w, ev)
		}
	case *event.RunStarted:
		if !b.knows(w, ev.Run) {
			return b.adopt(w, ev)
		}
	}
	return nil
}

// knows reports whether a workspace's run is on the board. A workspace that was lost may have left it there as dead, though its session lives.
func (b *board) knows(w *workspace, run string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.runs[run]
	return r != nil && r.workspace == w
}

// adoptQueued makes a run of another client, or of this window's past. Its cell is found by its text.
func (b *board) adoptQueued(w *workspace, ev *event.RunQueued) *Run {
	r := &Run{Run: view.Run{ID: ev.Run, Title: ev.Title, Target: ev.Target}, workspace: w}
	if ev.Cell == nil {
		return r
	}
	r.Index = *ev.Cell
	ran, ok := b.docs.Parse(string(ev.Path), ev.Source).Cell(1)
	code, runs := session.CellOf(string(ev.Path), ran)
	if !ok || !runs {
		r.Partial = true
		b.placeByLine(r, string(ev.Path), ev.Line)
		return r
	}
	r.text = docs.TextOf(ran)
	r.Doc, r.Cell = b.docs.Locate(string(ev.Path), r.Index, r.text, b.isAsItRan)
	r.line, r.end, r.cellLine = ev.Line, ev.Line+countLines(code.Code)-1, ev.Line-(code.Line-ran.Line())
	return r
}

// isAsItRan reports whether a cell's last run was of its text as it is now.
func (b *board) isAsItRan(doc uri.URI, cell docs.CellID, now docs.CellText) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.last[cellKey{doc, cell}]
	return r != nil && r.text.SameCode(now)
}

// record enters an event and says what has changed. met is the run that it begins to tell of; nil: it does not.
func (b *board) record(w *workspace, ev event.Event, met *Run) change {
	b.mu.Lock()
	defer b.mu.Unlock()
	if state, ok := ev.(*event.PoolState); ok {
		b.pools[w] = state
		return change{pools: map[*workspace]bool{w: true}}
	}
	r := b.runs[ev.Head().Run]
	if met != nil {
		if r != nil { // it was thought dead
			b.ended = slices.DeleteFunc(b.ended, func(id string) bool { return id == r.ID })
		}
		r = met
		b.enter(r)
		if r.State == view.Queued && ev.Head().Kind == event.KindRunQueued {
			return cellChange(r)
		}
	}
	if r == nil {
		return change{}
	}
	if !r.Apply(ev, time.Now()) {
		return change{} // output: those who show it take the event itself
	}
	if r.wasInVain() {
		b.withdraw(r)
		return cellChange(r)
	}
	r.before = nil
	if state, ok := ev.(*event.RankState); ok && state.State == event.StateBusy { // a later state may tell of the process's end
		if parent := b.runs[r.Parent]; parent != nil {
			who, _ := ev.Head().Who()
			parent.Ask(who)
		}
	}
	if len(r.Hangs) > 0 || len(r.Inputs) > 0 {
		b.hung[r.ID] = r
	} else {
		delete(b.hung, r.ID)
	}
	c := cellChange(r)
	if r.State == view.Ended {
		b.forget(r.ID)
		if r.Gone() != "" { // it was lost before it could end
			c.add(change{gone: map[string]bool{r.ID: true}})
		}
	}
	return c
}

// adopt makes a run that this client has not started: a cell has, or another client. Runs that a cell has started are shown at that cell.
func (b *board) adopt(w *workspace, ev *event.RunStarted) *Run {
	r := &Run{Run: view.Run{ID: ev.Run, Parent: ev.Parent}, workspace: w}
	if parent, ok := b.kept(ev.Parent); ok {
		r.Doc, r.Cell, r.text, r.cellLine = parent.Doc, parent.Cell, parent.text, parent.cellLine
		r.line, r.end = parent.line, parent.end
		return r
	}
	if ev.Cell != nil {
		r.Index = *ev.Cell
		b.placeByLine(r, string(ev.Path), ev.Line)
	}
	return r
}

// placeByLine finds the cell of a run whose text is not known, by its place in the document as it is now.
func (b *board) placeByLine(r *Run, path string, line int) {
	d := b.docs.View().ByName(path)
	if d == nil {
		return
	}
	c, ok := d.File.Cell(r.Index)
	if !ok || line < c.Line() || line > c.EndLine() {
		return
	}
	r.Doc, r.Cell, r.text, r.cellLine = d.URI, d.ID(c), docs.TextOf(c), c.Line()
	r.line, r.end = line, c.EndLine()
}

// forget drops the oldest of the ended runs, now that one more has ended.
func (b *board) forget(id string) {
	b.ended = append(b.ended, id)
	for len(b.ended) > keptRuns {
		delete(b.runs, b.ended[0])
		b.ended = b.ended[1:]
	}
}

// forgetCells drops what is known of cells that will never be back.
func (b *board) forgetCells(g docs.Gone) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.Cells == nil {
		maps.DeleteFunc(b.last, func(key cellKey, _ *Run) bool { return key.doc == g.Doc })
		return
	}
	for _, id := range g.Cells {
		delete(b.last, cellKey{g.Doc, id})
	}
}

// rename takes what is known of a document to another uri.
func (b *board) rename(from, to uri.URI) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, r := range maps.Clone(b.last) {
		if key.doc == from {
			delete(b.last, key)
			b.last[cellKey{to, key.cell}] = r
			r.Doc = to
		}
	}
	for _, r := range b.runs {
		if r.Doc == from {
			r.Doc = to
		}
	}
}

// leave drops the runs of a workspace, since the session that its folder has now knows nothing of them, and returns them by their ids.
func (b *board) leave(w *workspace) (dropped map[string]Run) {
	b.order.Lock()
	defer b.order.Unlock()
	c := change{pools: map[*workspace]bool{w: true}}
	dropped = map[string]Run{}
	b.mu.Lock()
	delete(b.pools, w)
	for id, r := range b.runs {
		if r.workspace == w {
			dropped[id] = *r
			delete(b.runs, id)
			delete(b.hung, id)
			c.add(cellChange(r))
		}
	}
	for key, r := range b.last {
		if r.workspace == w {
			dropped[r.ID] = *r
			delete(b.last, key)
			c.add(cellChange(r))
		}
	}
	b.ended = slices.DeleteFunc(b.ended, func(id string) bool { return b.runs[id] == nil })
	b.mu.Unlock()
	b.changed(c)
	return dropped
}

// lost are the events that are still missing when the session of a workspace is gone: what went on in it has died.
func (b *board) lost(w *workspace, why string) (events []event.Event) {
	for _, r := range b.active(w) {
		events = append(events, &event.RunFinished{
			Header: event.Header{Kind: event.KindRunFinished, Run: r.ID}, Parent: r.Parent, Status: event.StatusDied, Reason: why,
		})
	}
	switch b.pool(w).State {
	case event.StateStarting, event.StateReady:
		events = append(events, &event.PoolState{Header: event.Header{Kind: event.KindPoolState}, State: event.StateDead, Reason: why})
	}
	return events
}

func (r *Run) clone() Run {
	c := *r
	c.Run = r.Run.Clone()
	return c
}

// run is a run by its id, also one that ended not long ago.
func (b *board) run(id string) (Run, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.runs[id]; r != nil {
		return r.clone(), true
	}
	return Run{}, false
}

// lastRun is the last run of a cell as a whole, in whatever state.
func (b *board) lastRun(doc uri.URI, cell docs.CellID) (Run, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.last[cellKey{doc, cell}]; r != nil {
		c := r.clone()
		c.asks = b.posed[r.workspace] > 0 && r.hasNotBegun()
		for _, other := range b.hung {
			if other != r && other.Doc == doc && other.Cell == cell {
				c.Hangs = append(c.Hangs, other.Hangs...)
				c.Inputs = append(c.Inputs, other.Inputs...)
			}
		}
		return c, true
	}
	return Run{}, false
}

// wait enters that n more questions, or fewer, are open that runs of a workspace wait for.
func (b *board) wait(w *workspace, n int) {
	var c change
	b.mu.Lock()
	if b.posed[w] += n; b.posed[w] == 0 {
		delete(b.posed, w)
	}
	for _, r := range b.last {
		if r.workspace == w && r.hasNotBegun() {
			c.add(cellChange(r))
		}
	}
	b.mu.Unlock()
	if !c.empty() {
		b.changed(c)
	}
}

// runOfCell is what lenses show of a cell's last run.
type runOfCell struct {
	state view.RunState
	hung  bool // its ranks wait for something
	asks  bool // its code waits for its user to type
}

// states tell of the last runs of a document's cells that have had one.
func (b *board) states(doc uri.URI) map[docs.CellID]runOfCell {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[docs.CellID]runOfCell{}
	for key, r := range b.last {
		if key.doc == doc {
			found[key.cell] = runOfCell{state: r.State}
		}
	}
	for _, r := range b.hung {
		if last, ran := found[r.Cell]; ran && r.Doc == doc {
			found[r.Cell] = runOfCell{last.state, last.hung || len(r.Hangs) > 0, last.asks || len(r.Inputs) > 0}
		}
	}
	return found
}

// interrupted counts one more request to end a run, and returns how many there have been.
func (b *board) interrupted(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.runs[id]
	if r == nil {
		return 1
	}
	r.interrupts++
	return r.interrupts
}

// active returns the runs of a workspace that have not ended, in the order of their starts; nil means all workspaces.
func (b *board) active(w *workspace) []Run {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []Run
	for _, r := range b.runs {
		if r.State != view.Ended && (w == nil || r.workspace == w) {
			found = append(found, r.clone())
		}
	}
	slices.SortFunc(found, func(r, s Run) int { return cmp.Compare(r.number, s.number) })
	return found
}

// pool returns the last known state of a workspace's pool, "none" if nothing is known.
func (b *board) pool(w *workspace) event.PoolState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pools[w]; p != nil {
		return *p
	}
	return event.PoolState{State: "none"}
}

// anchor ties a frame of a run's traceback to a cell. The frame's line is that of the file as it was when the frame's code ran: in the run's own cell, or
// in one that ran before (a function that the cell calls). ok is false if no known run had that line.
func (b *board) anchor(doc uri.URI, r Run, frame event.Frame) (a anchor, ok bool) {
	from, ok := b.ran(r, frame.Run)
	if !ok || from.Doc != doc || frame.Line < from.line || frame.Line > from.end {
		return anchor{}, false
	}
	return anchor{cellKey{doc, from.Cell}, from.text, frame.Line - from.cellLine}, true
}

// ran is r if that has the id, or else the run that has it.
func (b *board) ran(r Run, id string) (Run, bool) {
	if r.ID == id {
		return r, true
	}
	return b.kept(id)
}

// kept is a run by its id, also if it ended long ago and is the last one of its cell.
func (b *board) kept(id string) (Run, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.runs[id]; r != nil {
		return r.clone(), true
	}
	for _, r := range b.last {
		if r.ID == id {
			return r.clone(), true
		}
	}
	return Run{}, false
}

// clear forgets what has run in a document, except for what still runs.
func (b *board) clear(doc uri.URI) {
	c := &docChange{cells: map[docs.CellID]bool{}}
	b.mu.Lock()
	for key, r := range b.last {
		switch {
		case key.doc != doc:
		case r.State == view.Ended:
			delete(b.last, key)
			c.cells[key.cell] = true
		case r.before != nil && r.before.State == view.Ended:
			r.before = nil
		}
	}
	b.mu.Unlock()
	b.changed(change{docs: map[uri.URI]*docChange{doc: c}})
}

// countLines is the number of lines that code takes.
func countLines(code string) int {
	n := 1
	for i := range len(code) - 1 {
		if code[i] == '\n' {
			n++
		}
	}
	return n
}
