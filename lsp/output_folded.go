package lsp

import (
	"slices"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/session"
)

// methodFolded is the notification that carries what a person reads of runs; see docs/language-server.md.
const methodFolded = "dip/folded"

// liveEvery is the least time between two messages with unfinished lines only.
const liveEvery = 100 * time.Millisecond

// foldedParams are what a person reads of runs, as on a terminal.
type foldedParams struct {
	Items []foldedItem `json:"items,omitempty" doc:"the final items, in order"`
	Live  []string     `json:"live,omitempty" doc:"the lines that are not final: progress bars, prompts. They replace those sent before"`
}

// foldedItem is something to show.
type foldedItem struct {
	Kind foldedKind `json:"kind"`
	Run  string     `json:"run,omitempty"`
	Text string     `json:"text" doc:"one or more lines, with ranks in front, such as [0-3], and colours"`
}

type foldedKind string

// The kinds of items.
const (
	foldedHeading foldedKind = "heading" // which run begins
	foldedOutcome foldedKind = "outcome" // how it ended
	foldedLine    foldedKind = "line"
	foldedResult  foldedKind = "result"
	foldedDisplay foldedKind = "display"
	foldedFailure foldedKind = "failure"
	foldedNotice  foldedKind = "notice"
)

// foldedKinds are the kinds of a folder's items.
var foldedKinds = map[view.ItemKind]foldedKind{
	view.ItemLine: foldedLine, view.ItemResult: foldedResult, view.ItemDisplay: foldedDisplay,
	view.ItemFailure: foldedFailure, view.ItemNotice: foldedNotice,
}

// folding sends the folded output of a workspace to a client that takes events and also wants this.
type folding struct {
	*output
	w      *workspace
	folder *view.Folder
	items  []foldedItem
	live   []string  // as the client has them
	told   time.Time // when it got them
}

// tellFolded sends a workspace's events, and before them what a person reads of them, until the connection ends: a client that leaves after
// run_finished has read all of the run.
func (o *output) tellFolded(w *workspace, sub session.Subscription) {
	f := o.newFolding(w)
	due := time.Time{} // of unfinished lines
	for {
		events, err := o.nextUntil(f.folder, due, w, sub)
		if err != nil {
			return
		}
		if !o.s.contained("folded output", func() { due = f.take(events, time.Now()) }) {
			f, due = o.newFolding(w), time.Time{}
		}
		o.send(events)
	}
}

func (o *output) newFolding(w *workspace) *folding {
	return &folding{output: o, w: w, folder: view.NewFolder(view.FoldOptions{})}
}

// take takes events, and sends what the client does not have yet. due is as in tell.
func (f *folding) take(events []event.Event, now time.Time) (due time.Time) {
	for _, ev := range events {
		f.enter(ev)
	}
	f.add(f.folder.Flush(now))
	return f.tell(now)
}

// enter takes an event.
func (f *folding) enter(ev event.Event) {
	if ev, ok := ev.(*event.RunStarted); ok && ev.Parent == "" {
		f.items = append(f.items, foldedItem{foldedHeading, ev.Run, view.Heading(ev)})
	}
	f.add(f.folder.Add(ev, time.Now()))
	if ev, ok := ev.(*event.RunFinished); ok && ev.Parent == "" {
		if r, ok := f.s.board.run(ev.Run); ok {
			f.items = append(f.items, foldedItem{foldedOutcome, ev.Run, r.Hint()})
		}
	}
}

func (f *folding) add(items []view.Item) {
	for _, item := range items {
		f.items = append(f.items, foldedItem{foldedKinds[item.Kind], item.Run, item.String()})
	}
}

// tell sends what the client does not have yet. due is when it must be called again for unfinished lines; zero if it need not.
func (f *folding) tell(now time.Time) (due time.Time) {
	var live []string
	for _, line := range f.folder.Live() {
		live = append(live, line.Prefix+line.Text)
	}
	fresh := !slices.Equal(live, f.live)
	if len(f.items) == 0 && fresh && now.Sub(f.told) < liveEvery {
		return f.told.Add(liveEvery)
	}
	if len(f.items) > 0 || fresh {
		f.s.client.Notify(methodFolded, &foldedParams{Items: f.items, Live: live})
		f.items, f.live, f.told = nil, live, now
	}
	return time.Time{}
}
