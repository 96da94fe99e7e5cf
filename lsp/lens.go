package lsp

import (
	"context"
	"encoding/json"

	"slices"
	"strconv"
	"sync"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// lenses are the code lenses: what can be run, how it went, and what is wrong.
//
// After each keystroke a client asks for all lenses of a document, and for the titles of those that are in view. So a list has only where a lens is and
// what it is about, and is made from the list before (see [lensList]). The rest is worked out when a lens is resolved.
type lenses struct {
	s     *server
	shown *shownOutcomes

	mu     sync.Mutex             // guards what follows, about open documents
	chosen map[uri.URI]lensChoice // what the client got the lenses last by
	last   map[uri.URI]*lastLenses
}

func newLenses(s *server) feature {
	l := &lenses{s: s, shown: newShownOutcomes(s), chosen: map[uri.URI]lensChoice{}, last: map[uri.URI]*lastLenses{}}
	return feature{
		methods: map[string]rpc.Method{
			protocol.MethodTextDocumentCodeLens: rpc.Request(l.list),
			protocol.MethodCodeLensResolve:      rpc.Request(l.resolve),
		},
		capabilities: func(c *protocol.ServerCapabilities) {
			c.CodeLensProvider = &protocol.CodeLensOptions{ResolveProvider: ptr(true)}
		},
		changed: l.changed,
	}
}

// lensKind is what a lens is for.
type lensKind int

const (
	lensCell lensKind = iota // runs the cell where it goes by itself
	lensRemote
	lensEverywhere
	lensLocal
	lensAbove
	lensBelow
	lensOutcome   // of the cell's last run
	lensInterrupt // interrupts the cell's run
	lensProblem   // a problem that keeps the cell from running
	lensFree      // frees the ranks of the cell's run, while they wait
	lensStacks    // likewise
	lensAnswer    // asks for what the cell's code wants to be typed
	lensLine      // a line magic
)

// lensKinds are the kinds that can be chosen, by their names in the setting dip.codeLens.
var lensKinds = map[string]lensKind{
	"runCell": lensCell, "runRemote": lensRemote, "runEverywhere": lensEverywhere, "runLocal": lensLocal, "runAbove": lensAbove, "runBelow": lensBelow,
}

// lensChoice is what decides which lenses cells have, besides their text and their runs.
type lensChoice struct {
	kinds  []lensKind // in their order
	unsaid unsaid     // where a cell goes by itself needs no second lens
}

func (c lensChoice) equal(other lensChoice) bool {
	return c.unsaid == other.unsaid && slices.Equal(c.kinds, other.kinds)
}

// lens is a lens that has not been resolved.
type lens struct {
	line  int // from 0
	cell  docs.CellID
	kind  lensKind
	magic int // of a lensLine: which of the cell's magics
}

// list answers textDocument/codeLens.
func (l *lenses) list(ctx context.Context, p *protocol.CodeLensParams) (any, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	choice := l.choiceOf(d)
	states := l.s.board.states(d.URI)
	if !l.resolvable() {
		return l.listResolved(d, choice, states), nil
	}
	return appender(func(b []byte) []byte {
		l.lastOf(d).make(d, choice, states, func(json []byte) { b = append(slices.Grow(b, len(json)+len(json)/16), json...) }) // the next one may be longer
		return b
	}), nil
}

// appender is an answer that is written by a function; see [rpc.Appender].
type appender func([]byte) []byte

// AppendJSON implements [rpc.Appender].
func (f appender) AppendJSON(b []byte) []byte { return f(b) }

// lastOf returns the lenses that a document had last. They are remembered while it is open.
func (l *lenses) lastOf(d *docs.Snapshot) *lastLenses {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.last[d.URI]
	if last == nil {
		last = &lastLenses{}
		if l.s.docs.View()[d.URI] != nil { // otherwise it has been closed since, and forgotten
			l.last[d.URI] = last
		}
	}
	return last
}

// choiceOf returns what decides about lenses now, and remembers it for choicesDiffer.
func (l *lenses) choiceOf(d *docs.Snapshot) lensChoice {
	l.mu.Lock()
	defer l.mu.Unlock()
	choice := l.choiceNow(d) // under the lock: what changes later is seen by choicesDiffer
	if l.s.docs.View()[d.URI] != nil {
		l.chosen[d.URI] = choice
	}
	return choice
}

// choiceNow is what decides about lenses. A notebook has buttons of its own.
func (l *lenses) choiceNow(d *docs.Snapshot) lensChoice {
	choice := lensChoice{unsaid: l.s.unsaidOf(d)}
	if docs.InNotebook(d.URI) {
		return choice
	}
	for _, name := range l.s.config.ofDocument(d).CodeLens {
		choice.kinds = append(choice.kinds, lensKinds[name])
	}
	return choice
}

// resolvable reports whether the client resolves lenses. Before LSP 3.18 clients could not say that they do not.
func (l *lenses) resolvable() bool {
	text := l.s.client.Can.TextDocument
	if text == nil || text.CodeLens == nil || text.CodeLens.ResolveSupport.Properties == nil {
		return true
	}
	return slices.Contains(text.CodeLens.ResolveSupport.Properties, "command")
}

// listResolved is the list for clients that do not resolve lenses.
func (l *lenses) listResolved(d *docs.Snapshot, choice lensChoice, states map[docs.CellID]runOfCell) []protocol.CodeLens {
	list := []protocol.CodeLens{}
	above := false
	for c := range d.File.Cells() {
		runs := isWorthRunning(c)
		if c.Type() == cells.CodeCell {
			ofCell(d, c, runs, above, choice, states, func(n lens) {
				if command, ok := l.command(d, c, n); ok {
					list = append(list, protocol.CodeLens{Range: n.at(), Command: command})
				}
			})
		}
		above = above || runs
	}
	return list
}

func (n lens) at() protocol.Range {
	place := protocol.Position{Line: uint32(n.line)}
	return protocol.Range{Start: place, End: place}
}

// appendJSON appends a protocol.CodeLens without a command.
func (n lens) appendJSON(b []byte) []byte {
	b = append(b, `{"range":{"start":{"line":`...)
	b = strconv.AppendInt(b, int64(n.line), 10)
	b = append(b, `,"character":0},"end":{"line":`...)
	b = strconv.AppendInt(b, int64(n.line), 10)
	b = append(b, `,"character":0}},"data":[`...)
	b = strconv.AppendUint(b, uint64(n.cell), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(n.kind), 10)
	if n.kind == lensLine {
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(n.magic), 10)
	}
	return append(b, `]}`...)
}

// ofCell yields the lenses of a code cell. runs says whether it has anything to run, above whether a cell above it has.
func ofCell(d *docs.Snapshot, c cells.Cell, runs, above bool, choice lensChoice, states map[docs.CellID]runOfCell, yield func(lens)) {
	if len(choice.kinds) == 0 {
		return
	}
	at := lens{line: c.Line() - 1, cell: d.ID(c)}
	add := func(k lensKind) {
		at.kind = k
		yield(at)
	}
	run, ran := states[at.cell]
	if _, faulty := c.Fault(); faulty {
		add(lensProblem)
	} else if runs && (ran || !d.IsModule()) {
		by := choice.unsaid.targetOf(c).String()
		for _, k := range choice.kinds {
			doubled := slices.Contains(choice.kinds, lensCell) && k.target(c) == by
			if (k != lensAbove || above) && !doubled {
				add(k)
			}
		}
	}
	if ran {
		add(lensOutcome)
	}
	if ran && run.state != view.Ended {
		add(lensInterrupt)
	}
	if run.asks {
		add(lensAnswer)
	}
	if run.hung {
		add(lensFree)
		add(lensStacks)
	}
	for i, m := range c.LineMagics() {
		if runsAlone(m) {
			at.line, at.magic = int(d.Position(m.Range.Start).Line), i
			add(lensLine)
		}
	}
}

// target is where a lens makes a cell run, in place of what the cell says; "": it does not.
func (k lensKind) target(c cells.Cell) string {
	switch t := c.Directive().Target; k {
	case lensRemote:
		return remoteTarget(t)
	case lensEverywhere:
		return everywhereTarget(t)
	case lensLocal:
		return cells.Local.String()
	default:
		return ""
	}
}

// resolve answers codeLens/resolve. If a lens makes no sense any more, the client has to ask for all lenses again. It does so when the text changes, and
// when it is told to refresh.
func (l *lenses) resolve(ctx context.Context, p *protocol.CodeLens) (*protocol.CodeLens, error) {
	n, err := parseLens(p.Data)
	if err != nil {
		return nil, err
	}
	d, c, ok := viewOf(ctx).ByCell(n.cell)
	if ok {
		p.Command, ok = l.command(d, c, n)
	}
	if !ok {
		return nil, jsonrpc2.NewError(codeContentModified, "the cell is not as it was")
	}
	return p, nil
}

// codeContentModified is LSP's ContentModified.
const codeContentModified = jsonrpc2.Code(protocol.LSPErrorCodesContentModified)

func parseLens(data protocol.LSPAny) (n lens, err error) {
	var fields []uint64
	if err := json.Unmarshal(data, &fields); err != nil || len(fields) < 2 || len(fields) > 3 {
		return n, jsonrpc2.NewError(jsonrpc2.InvalidParams, "data: want it as it came with the lens")
	}
	n.cell, n.kind = docs.CellID(fields[0]), lensKind(min(fields[1], uint64(lensLine)+1))
	if len(fields) == 3 {
		n.magic = int(min(fields[2], 1<<30))
	}
	return n, nil
}

// command is what a lens says and does; ok is false if there is no such lens at the cell as it is now.
func (l *lenses) command(d *docs.Snapshot, c cells.Cell, n lens) (cmd protocol.Command, ok bool) {
	args := cellArgs{URI: d.URI, Cell: ptr(c.Index()), ID: n.cell}
	args.Target = n.kind.target(c)
	switch n.kind {
	case lensCell:
		return lensCommand("Run cell · "+placeOf(l.s.unsaidOf(d).targetOf(c)), "runCell", args), true
	case lensRemote:
		return lensCommand("Run on "+ranksOf(c.Directive().Target), "runCell", args), true
	case lensEverywhere:
		return lensCommand("Everywhere", "runCell", args), true
	case lensLocal:
		return lensCommand("Locally", "runCell", args), true
	case lensAbove:
		return lensCommand("Run above", "runAbove", args), true
	case lensBelow:
		return lensCommand("Run below", "runBelow", args), true
	case lensProblem:
		p, faulty := c.Fault()
		return lensCommand("⚠ "+clean.Brief(withHint(p)), "", nil), faulty
	case lensLine:
		return l.lineCommand(d, c, n.magic)
	}
	r, ran := l.s.board.lastRun(d.URI, n.cell)
	switch {
	case ran && n.kind == lensOutcome && r.asks:
		return lensCommand(r.outcomeAt(c, ""), "showQuestion", whereArgs{URI: d.URI}), true
	case ran && n.kind == lensOutcome && r.Journal == "":
		return lensCommand(r.outcomeAt(c, l.s.going(&r)), "", nil), true
	case ran && n.kind == lensOutcome:
		return lensCommand(r.outcomeAt(c, l.s.going(&r)), "showOutput", showOutputArgs{Run: r.ID}), true
	case ran && n.kind == lensInterrupt && r.State != view.Ended:
		return lensCommand("Interrupt", "interrupt", interruptArgs{Run: r.ID}), true
	case ran && n.kind == lensAnswer && len(r.Inputs) > 0:
		if !l.s.wants.Input {
			return lensCommand("answer elsewhere", "", nil), true // by whoever is attached, too, and can
		}
		return lensCommand("Answer", "answerInput", answerInputArgs{Run: r.Inputs[0].Run}), true
	case ran && n.kind == lensFree && len(r.Hangs) > 0:
		return lensCommand(freeTitle, "free", freeArgs{Run: r.Hangs[0].Run}), true
	case ran && n.kind == lensStacks && len(r.Hangs) > 0:
		return lensCommand(stacksTitle, "showStacks", showStacksArgs{Run: r.Hangs[0].Run, whereArgs: whereArgs{URI: d.URI}}), true
	}
	return cmd, false
}

// lineCommand runs a line magic of a cell.
func (l *lenses) lineCommand(d *docs.Snapshot, c cells.Cell, number int) (cmd protocol.Command, ok bool) {
	for i, m := range c.LineMagics() {
		if i == number && runsAlone(m) {
			return lensCommand("Run this line", "runLine", lineArgs{
				URI: d.URI, Position: ptr(d.Position(m.Range.Start)), Text: d.Text(m.Range.Start, m.Range.End),
			}), true
		}
	}
	return cmd, false
}

// lensCommand is a title and a command of ours; without a name it is text that does nothing.
func lensCommand(title, name string, args any) protocol.Command {
	cmd := protocol.Command{Title: clean.Line(title)}
	if name == "" {
		return cmd
	}
	raw, err := json.Marshal(args)
	if err != nil {
		panic("lsp: arguments of " + name + ": " + err.Error()) // a mistake in the program
	}
	cmd.Command = commandPrefix + name
	cmd.Arguments = []protocol.LSPAny{raw}
	return cmd
}

// changed makes the client ask again if it would see something else.
func (l *lenses) changed(c change) {
	differ := l.shown.differ(c) || c.tick
	if l.choicesDiffer(c) {
		differ = true
	}
	workspace := l.s.client.Can.Workspace
	if differ && workspace != nil && workspace.CodeLens != nil && workspace.CodeLens.RefreshSupport != nil && *workspace.CodeLens.RefreshSupport {
		l.s.client.Refresh(protocol.MethodWorkspaceCodeLensRefresh)
	}
}

// choicesDiffer reports whether the choice of lenses has changed for an open document since the client last asked.
func (l *lenses) choicesDiffer(c change) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := l.s.docs.View()
	for u := range c.docs {
		if open[u] == nil {
			delete(l.chosen, u)
			delete(l.last, u)
		}
	}
	if !c.settings && len(c.pools) == 0 {
		return false
	}
	for u, before := range l.chosen {
		if d := open[u]; d != nil && !before.equal(l.choiceNow(d)) {
			return true
		}
	}
	return false
}
