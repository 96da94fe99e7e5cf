package lsp

import (
	"context"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// The request for cells, and the notification that makes a client ask again; see docs/language-server.md.
const (
	methodCells        = "dip/cells"
	methodCellsChanged = "dip/cellsChanged"
)

// newCells tells clients about the cells of a document and how they ran. It is for clients that do not show that by lenses and hints.
func newCells(s *server) feature {
	return feature{
		methods: map[string]rpc.Method{methodCells: rpc.Request(s.cells)},
		changed: s.tellCells,
	}
}

type cellsParams struct {
	TextDocument protocol.TextDocumentIdentifier `json:"textDocument"`
	Range        *protocol.Range                 `json:"range,omitempty" doc:"only the cells that touch it; without it, all"`
}

// cellsAnswer is the cells of one version of a document.
type cellsAnswer struct {
	Version int32      `json:"version"` // of the document
	Cells   []cellInfo `json:"cells"`
}

// cellInfo is a cell and how it ran last.
type cellInfo struct {
	ID      docs.CellID    `json:"id"`     // stays while its text is edited, moved and reopened
	Number  int            `json:"number"` // from 1
	Kind    string         `json:"kind"`
	Title   string         `json:"title"`
	Depth   int            `json:"depth"`  // percent signs of the marker beyond two
	Range   protocol.Range `json:"range"`  // to the end of its last line
	Header  protocol.Range `json:"header"` // the marker's line; empty where there is none
	Body    protocol.Range `json:"body"`   // the rest
	Target  string         `json:"target"` // where the cell says that it runs; "" if it does not say
	Goes    string         `json:"goes"`   // in words, where it would run now, as its first lens says; "" if there is nothing to run
	State   cellState      `json:"state"`
	Stale   bool           `json:"stale"`   // the text is not what ran
	Run     string         `json:"run"`     // "" if it has not run
	Summary string         `json:"summary"` // how that goes or went, as lenses have it
	Gone    string         `json:"gone"`    // what has become of what it has left: "not run since the restart"; "" if that is there
}

// cellState is how a cell's last run is going or went.
type cellState string

const (
	cellIdle        cellState = "" // it has not run
	cellQueued      cellState = "queued"
	cellRunning     cellState = "running"
	cellOK          cellState = "ok"
	cellFailed      cellState = "failed"
	cellInterrupted cellState = "interrupted"
)

// cells answers dip/cells.
func (s *server) cells(ctx context.Context, p *cellsParams) (*cellsAnswer, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	answer := &cellsAnswer{Version: d.Version, Cells: []cellInfo{}}
	first, end := 1, d.File.Size()
	if p.Range != nil {
		end = d.Offset(p.Range.End)
		if c, ok := d.File.CellAt(d.Offset(p.Range.Start)); ok {
			first = c.Index()
		}
	}
	unsaid := s.unsaidOf(d)
	for c := range d.File.CellsFrom(first) {
		if c.Range().Start > end {
			break
		}
		answer.Cells = append(answer.Cells, s.cellInfo(d, c, unsaid))
	}
	return answer, nil
}

// cellInfo describes a cell of a snapshot.
func (s *server) cellInfo(d *docs.Snapshot, c cells.Cell, unsaid unsaid) cellInfo {
	start, body, end := c.Range().Start, c.BodyRange().Start, c.Range().End
	if end < d.File.Size() {
		end-- // the line terminator: a caret behind it is in the next cell
	}
	info := cellInfo{
		ID: d.ID(c), Number: c.Index(), Kind: c.Type().String(), Title: clean.Line(c.Title()), Depth: c.Depth(),
		Range: d.Range(cells.Range{Start: start, End: end}), Body: d.Range(cells.Range{Start: min(body, end), End: end}),
		Header: d.Range(cells.Range{Start: start, End: start}),
	}
	if target := c.Directive().Target; target.Where != cells.None {
		info.Target = target.String()
	}
	if isWorthRunning(c) {
		info.Goes = placeOf(unsaid.targetOf(c))
	}
	if c.HasHeader() {
		info.Header = d.LineRange(c.Line())
	}
	if r, ran := s.board.lastRun(d.URI, info.ID); ran {
		info.State, info.Stale, info.Run, info.Summary, info.Gone = r.cellState(), r.Stale(c), r.ID, r.Outcome(), r.Gone()
	}
	return info
}

// cellState says how a run is going or went, in a word.
func (r *Run) cellState() cellState {
	switch {
	case r.State == view.Queued:
		return cellQueued
	case r.State == view.Running:
		return cellRunning
	case r.Status == event.StatusOK:
		return cellOK
	case r.Status == event.StatusInterrupted:
		return cellInterrupted
	}
	return cellFailed
}

type cellsChangedParams struct {
	URI uri.URI `json:"uri"`
}

// tellCells tells the client in which documents runs have changed something, or where cells go. What its own edits change it knows.
func (s *server) tellCells(c change) {
	if !s.wants.Cells {
		return
	}
	open := s.docs.View()
	for u, d := range open {
		changed := c.docs[u] != nil && len(c.docs[u].cells) > 0
		if changed || c.settings || len(c.pools) > 0 && c.pools[s.joined(s.folderOf(d.Path), "")] {
			s.client.NotifyLatest(string(u), methodCellsChanged, &cellsChangedParams{u})
		}
	}
}
