package lsp

import (
	"maps"
	"sync"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// feature is one thing that the server does for an editor: a file of its own, whose constructor stands in [features]. Every field may be
// left out.
type feature struct {
	// methods returns the requests and notifications that it handles; see [rpc.Request], [rpc.InOrder] and [rpc.Notification].
	methods map[string]rpc.Method
	// capabilities enters what it offers; what the client can do is known by then.
	capabilities func(*protocol.ServerCapabilities)
	// changed is told what has changed: text, cells' runs, settings, pools. Calls come one at a time, from a goroutine of the feed, never under a lock.
	// What changes during a call comes with the next one, all together. A call may take its time, but ends with the server's ctx.
	changed func(change)
	// event is told every event of every workspace, those of one workspace in order, after the board has recorded it. It must not wait.
	event func(*workspace, event.Event)
	// follow is told of every workspace before anything runs in it for this client. It must not wait.
	follow func(*workspace)
}

// features makes the features of a connection. To add one is to add its constructor.
var features = []func(*server) feature{
	newQuestions,
	newOutput,
	newProblems,
	newFailures,
	newHangs,
	newCellOutput,
	newCodeActions,
	newLenses,
	newHints,
	newSymbols,
	newFolding,
	newSelection,
	newHover,
	newCompletion,
	newProgress,
	newAttach,
	newPrewarm,
	newRestart,
	newCells,
	newSplit,
	newColumns,
	newTokens,
	newMarkers,
	newGone,
	newTicks,
}

// change is what has changed since the last time. For how it is now, features look at the documents and the board.
type change struct {
	docs     map[uri.URI]*docChange
	pools    map[*workspace]bool // whose pool or autodip has changed
	gone     map[string]bool     // runs of which something was lost since
	tick     bool                // a run in an open document has been going on for longer
	settings bool
	trusted  bool // from now on the folders are trusted
}

// docChange is what has changed of one document.
type docChange struct {
	opened, closed bool
	text           bool                 // any of its text, so any place in it
	cells          map[docs.CellID]bool // whose runs have changed
}

// textChange makes a change of a document's text.
func textChange(c docs.Change) change {
	return change{docs: map[uri.URI]*docChange{c.URI: {opened: c.Opened, closed: c.Closed, text: true}}}
}

// cellChange makes a change of a run.
func cellChange(r *Run) change {
	if r.Cell == 0 {
		return change{}
	}
	return change{docs: map[uri.URI]*docChange{r.Doc: {cells: map[docs.CellID]bool{r.Cell: true}}}}
}

func (c *change) empty() bool {
	return len(c.docs) == 0 && len(c.pools) == 0 && len(c.gone) == 0 && !c.tick && !c.settings && !c.trusted
}

// add adds another change to c.
func (c *change) add(more change) {
	for u, d := range more.docs {
		old := c.docs[u]
		if old == nil {
			if c.docs == nil {
				c.docs = map[uri.URI]*docChange{}
			}
			old = &docChange{cells: map[docs.CellID]bool{}}
			c.docs[u] = old
		}
		old.text = old.text || d.text
		if d.opened || d.closed {
			old.opened, old.closed = d.opened, d.closed // the later one
		}
		maps.Copy(old.cells, d.cells)
	}
	if len(more.pools) > 0 && c.pools == nil {
		c.pools = map[*workspace]bool{}
	}
	maps.Copy(c.pools, more.pools)
	if len(more.gone) > 0 && c.gone == nil {
		c.gone = map[string]bool{}
	}
	maps.Copy(c.gone, more.gone)
	c.tick = c.tick || more.tick
	c.settings, c.trusted = c.settings || more.settings, c.trusted || more.trusted
}

// feed gathers changes and hands them to the features.
type feed struct {
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	pending change
}

func newFeed() *feed { return &feed{wake: make(chan struct{}, 1)} }

// tell adds a change; it never waits.
func (f *feed) tell(c change) {
	f.mu.Lock()
	f.pending.add(c)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) take() change {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.pending
	f.pending = change{}
	return c
}
