package lsp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/session"
)

// cellArgs name a cell, and say how it runs.
type cellArgs struct {
	URI      uri.URI            `json:"uri" doc:"the document"`
	Cell     *int               `json:"cell,omitempty" doc:"number of the cell, from 1"`
	Position *protocol.Position `json:"position,omitempty" doc:"a place in the cell, in place of the number"`
	ID       docs.CellID        `json:"id,omitempty" doc:"the cell's id, as lenses and code actions have it: it stays when text moves, and wins over the number"`
	howArgs
}

// lineArgs name a line.
type lineArgs struct {
	URI      uri.URI            `json:"uri" doc:"the document"`
	Position *protocol.Position `json:"position" doc:"a place in the line"`
	Text     string             `json:"text,omitempty" doc:"the magic as it was seen, from its percent sign on; nothing runs if the line has changed"`
}

// documentArgs name a document, and say how its cells run.
type documentArgs struct {
	URI uri.URI `json:"uri" doc:"the document"`
	howArgs
}

// selectionArgs name lines.
type selectionArgs struct {
	URI   uri.URI         `json:"uri" doc:"the document"`
	Range *protocol.Range `json:"range" doc:"the selection; if it is empty, its line"`
	howArgs
}

// howArgs say how cells run.
type howArgs struct {
	Target string `json:"target,omitempty" doc:"where it runs: remote, local, everywhere or ranks:LIST (ranks:0-3, ranks:host:gpu2); else where the cell says"`
	See    string `json:"see,omitempty" doc:"whose output is shown: all, or ranks such as 0,2-4 or host:gpu2; without it, as the cell or the settings say"`
}

// documentsArgs name documents, and say how their cells run.
type documentsArgs struct {
	URIs []uri.URI `json:"uris" doc:"the documents, of one workspace, in the order in which they run"`
	howArgs
}

// documentsReply answers a command that runs several documents.
type documentsReply struct {
	Runs [][]string `json:"runs"` // for each document those of its cells that have code
}

// runReply answers a command that runs something.
type runReply struct {
	Run   string `json:"run"`            // of the first cell
	Cells int    `json:"cells,omitzero"` // how many cells will run, where it can be more than one
}

// how is howArgs, decoded.
type how struct {
	target cells.Target
	see    ranklist.List
}

func (a howArgs) parse() (h how, err error) {
	if a.Target != "" {
		if h.target, err = cells.ParseTarget(a.Target); err != nil {
			return h, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "target: %v", err)
		}
	}
	if a.See != "" {
		if h.see, err = ranklist.ParseRanks(a.See); err != nil {
			return h, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "see: %v", err)
		}
	}
	return h, nil
}

// cell finds the cell that the arguments name.
func (a *cellArgs) cell(ctx context.Context) (*docs.Snapshot, cells.Cell, error) {
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, cells.Cell{}, err
	}
	var c cells.Cell
	var ok bool
	switch {
	case a.ID != 0:
		if c, ok = d.Find(a.ID); !ok {
			return nil, c, errors.New("the cell is not there any more")
		}
	case a.Cell != nil:
		if c, ok = d.File.Cell(*a.Cell); !ok {
			return nil, c, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "there is no cell %d: the document has %d", *a.Cell, d.File.Len())
		}
	case a.Position != nil:
		if c, ok = d.CellAt(*a.Position); !ok {
			return nil, c, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "there is no cell at line %d", int(a.Position.Line)+1)
		}
	default:
		return nil, c, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "which cell? Give cell or position")
	}
	return d, c, nil
}

func (s *server) runCell(ctx context.Context, a *cellArgs) (*runReply, error) {
	d, c, err := a.cell(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := session.CellOf(d.Name(), c); !ok {
		return nil, fmt.Errorf("cell %d has no code to run", c.Index())
	}
	return s.runCells(ctx, d, a.howArgs, func(other cells.Cell) bool { return other.Index() == c.Index() })
}

func (s *server) runAbove(ctx context.Context, a *cellArgs) (*runReply, error) {
	d, c, err := a.cell(ctx)
	if err != nil {
		return nil, err
	}
	return s.runCells(ctx, d, a.howArgs, func(other cells.Cell) bool { return other.Index() < c.Index() })
}

func (s *server) runBelow(ctx context.Context, a *cellArgs) (*runReply, error) {
	d, c, err := a.cell(ctx)
	if err != nil {
		return nil, err
	}
	return s.runCells(ctx, d, a.howArgs, func(other cells.Cell) bool { return other.Index() >= c.Index() })
}

func (s *server) runAll(ctx context.Context, a *documentArgs) (*runReply, error) {
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, err
	}
	return s.runCells(ctx, d, a.howArgs, func(cells.Cell) bool { return true })
}

// runDocuments runs all cells of several documents, such as those that are the cells of a notebook.
func (s *server) runDocuments(ctx context.Context, a *documentsArgs) (*documentsReply, error) {
	h, err := a.parse()
	if err != nil {
		return nil, err
	}
	var plan []planned
	var counts []int
	for _, u := range a.URIs {
		d, err := snapshotOf(ctx, u)
		if err != nil {
			return nil, err
		}
		some, err := planOf(d, func(cells.Cell) bool { return true })
		if err != nil {
			return nil, err
		}
		plan, counts = append(plan, some...), append(counts, len(some))
	}
	reply := &documentsReply{Runs: make([][]string, len(counts))}
	if len(plan) == 0 {
		return reply, nil
	}
	first := plan[0].doc
	for _, p := range plan {
		if s.folderOf(p.doc.Path) != s.folderOf(first.Path) {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "uris: %s and %s are in different workspaces", first.URI, p.doc.URI)
		}
	}
	w, err := s.workspaceOf(ctx, first)
	if err != nil {
		return nil, err
	}
	runs, err := s.start(ctx, w, h, plan)
	if err != nil {
		return nil, err
	}
	for i, n := range counts {
		reply.Runs[i], runs = append([]string{}, runs[:n]...), runs[n:]
	}
	return reply, nil
}

// runCells runs the chosen code cells of a document.
func (s *server) runCells(ctx context.Context, d *docs.Snapshot, a howArgs, chosen func(cells.Cell) bool) (*runReply, error) {
	h, err := a.parse()
	if err != nil {
		return nil, err
	}
	plan, err := planOf(d, chosen)
	if err != nil {
		return nil, err
	}
	return s.carryOut(ctx, d, h, plan)
}

// planOf plans to run the chosen code cells of a document.
func planOf(d *docs.Snapshot, chosen func(cells.Cell) bool) (plan []planned, err error) {
	for c := range d.File.Cells() {
		if !chosen(c) {
			continue
		}
		request, ok := session.CellOf(d.Name(), c)
		if !ok {
			continue
		}
		if err := runnable(d, c); err != nil {
			return nil, err
		}
		plan = append(plan, planned{Cell: request, doc: d, of: c})
	}
	return plan, nil
}

// runnable refuses a cell whose directive is wrong: a wrong guess where it should run could cost hours.
func runnable(d *docs.Snapshot, c cells.Cell) error {
	p, wrong := c.Fault()
	if !wrong {
		return nil
	}
	where := fmt.Sprintf("line %d", d.Position(p.Range.Start).Line+1)
	if p.Range.Start >= c.Range().Start {
		where += fmt.Sprintf(" of cell %d", c.Index())
	}
	return fmt.Errorf("nothing was run: %s: %s", where, withHint(p))
}

// planned is a run that has been decided on.
type planned struct {
	session.Cell
	doc     *docs.Snapshot // nil: it is of no cell
	of      cells.Cell     // in that document
	partial bool           // part of the cell runs
}

// errNoCode is why a command runs nothing.
var errNoCode = errors.New("there is no code to run")

// carryOut starts the planned runs. They run one after the other, as long as all goes well.
func (s *server) carryOut(ctx context.Context, d *docs.Snapshot, h how, plan []planned) (*runReply, error) {
	if len(plan) == 0 {
		return nil, errNoCode
	}
	w, err := s.workspaceOf(ctx, d)
	if err != nil {
		return nil, err
	}
	return s.startReply(ctx, w, h, plan)
}

// startReply starts a sequence of runs, of which there is at least one, and answers which they are.
func (s *server) startReply(ctx context.Context, w *workspace, h how, plan []planned) (*runReply, error) {
	runs, err := s.start(ctx, w, h, plan)
	if err != nil {
		return nil, err
	}
	if len(plan) == 1 {
		return &runReply{Run: runs[0]}, nil
	}
	return &runReply{Run: runs[0], Cells: len(plan)}, nil
}

// start starts a sequence of runs and returns their ids.
func (s *server) start(ctx context.Context, w *workspace, h how, plan []planned) ([]string, error) {
	by, err := s.caller(ctx, w)
	if err != nil {
		return nil, err
	}
	autodip := s.board.pool(w).Autodip
	var sequence session.Sequence
	var runs []*Run
	for _, p := range plan {
		r := &Run{Partial: p.partial, workspace: w}
		if d := p.doc; d != nil {
			s.aim(d, h, &p.Cell)
			r.Doc, r.Cell, r.text, r.cellLine = d.URI, d.ID(p.of), docs.TextOf(p.of), p.of.Line()
			r.line, r.end = p.Line, p.Line+countLines(p.Code)-1
		}
		r.Target = session.TargetOf(p.Cell, autodip).String()
		sequence.Cells = append(sequence.Cells, p.Cell)
		runs = append(runs, r)
	}
	return s.board.begin(runs, func() ([]string, error) { return w.Start(ctx, by, sequence) })
}

// aim sets where a cell runs, if the command says so, and whose output is shown, as the command or the settings say.
func (s *server) aim(d *docs.Snapshot, h how, c *session.Cell) {
	settings := s.config.ofDocument(d)
	otherwise(c, settings.Target)
	c.Target, c.See, c.JournalLimit, c.HangAfter = h.target, h.see, settings.JournalLimit, settings.HangAfter
	if c.See.IsZero() && c.Directive.See.IsZero() {
		c.See = settings.see()
	}
}

func (s *server) runSelection(ctx context.Context, a *selectionArgs) (*runReply, error) {
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, err
	}
	if a.Range == nil {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "which lines? Give range")
	}
	h, err := a.parse()
	if err != nil {
		return nil, err
	}
	var plan []planned
	for c := range d.File.Cells() {
		if p, ok := selected(d, c, *a.Range); ok {
			if err := runnable(d, c); err != nil {
				return nil, err
			}
			plan = append(plan, p)
		}
	}
	return s.carryOut(ctx, d, h, plan)
}

// selected returns the part of a cell that a selection means: the lines that it touches. In a single line it is only what is selected, if that is anything.
func selected(d *docs.Snapshot, c cells.Cell, r protocol.Range) (planned, bool) {
	request, ok := session.CellOf(d.Name(), c)
	if !ok {
		return planned{}, false
	}
	start, end := d.Offset(r.Start), d.Offset(r.End)
	first, last := d.Position(start), d.Position(end)
	lines := strings.SplitAfter(request.Code, "\n")
	from := max(int(first.Line)+1, request.Line)
	to := min(int(last.Line)+1, request.Line+len(lines)-1)
	if last.Line > first.Line && last.Character == 0 {
		to = min(to, int(last.Line)) // the caret stands before the next line: that is not selected
	}
	if from > to {
		return planned{}, false
	}
	code := strings.Join(lines[from-request.Line:to-request.Line+1], "")
	if first.Line == last.Line && start < end && from == to {
		line := d.LineRange(from)
		if text := d.Text(start, end); start > d.Offset(line.Start) || end < d.Offset(line.End) {
			code = strings.TrimSpace(text)
		}
	}
	if strings.TrimSpace(code) == "" {
		return planned{}, false
	}
	request.Code, request.Line, request.Source = code, from, ""
	return planned{request, d, c, true}, true
}

// runMagicLine runs a line magic by itself: in the local namespace, which is where magics are.
func (s *server) runMagicLine(ctx context.Context, a *lineArgs) (*runReply, error) {
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, err
	}
	if a.Position == nil {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "which line? Give position")
	}
	line := int(a.Position.Line) + 1
	c, m, ok := d.LineMagic(line)
	if !ok {
		return nil, fmt.Errorf("there is no magic in line %d, such as %%dipush x", line)
	}
	code := d.Text(m.Range.Start, m.Range.End)
	if a.Text != "" && a.Text != code {
		return nil, fmt.Errorf("nothing was run: line %d says %s now", line, code)
	}
	request := session.Cell{
		Path: d.Name(), Cell: c.Index(), Title: c.Title(), Line: int(d.Position(m.Range.Start).Line) + 1, NoAutodip: true,
		Code: strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(code),
	}
	return s.carryOut(ctx, d, how{target: cells.Target{Where: cells.Local}}, []planned{{request, d, c, true}})
}
