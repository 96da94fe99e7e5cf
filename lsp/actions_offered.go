package lsp

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/session"
)

// offered returns the actions at a place, of the kinds that a client wants: first on what stands there, then on the cell, then on everything.
func (ca *codeActions) offered(ctx context.Context, doc *docs.Snapshot, r protocol.Range, only []protocol.CodeActionKind) []action {
	all := narrowActions(doc, r)
	if wants(only, actionVariables) {
		all = append(all, ca.variableActions(ctx, doc, r)...)
	}
	if c, ok := doc.CellAt(r.Start); ok {
		all = append(all, ca.cellActions(doc, c)...)
	}
	all = append(all, ca.workspaceActions(doc)...)
	return slices.DeleteFunc(all, func(a action) bool { return !wants(only, a.kind) })
}

// narrowActions run less than a cell: what is selected, and the line magic at its start, if that has a lens.
func narrowActions(doc *docs.Snapshot, r protocol.Range) []action {
	var actions []action
	if r.Start != r.End && selects(doc, r) {
		actions = append(actions, action{title: "Run selection", kind: actionRun, command: "runSelection", args: selectionArgs{URI: doc.URI, Range: &r}})
	}
	if _, m, ok := doc.LineMagic(int(r.Start.Line) + 1); ok && runsAlone(m) {
		actions = append(actions, action{title: "Run this line", kind: actionRun, command: "runLine", args: lineArgs{
			URI: doc.URI, Position: ptr(doc.Position(m.Range.Start)), Text: doc.Text(m.Range.Start, m.Range.End),
		}})
	}
	return actions
}

// selects reports whether there is something to run in a range, and nothing that keeps it from running.
func selects(d *docs.Snapshot, r protocol.Range) bool {
	found := false
	c, ok := d.CellAt(r.Start)
	for ; ok && c.Line() <= int(r.End.Line)+1; c, ok = d.File.Cell(c.Index() + 1) {
		if _, selected := selected(d, c, r); selected {
			if runnable(d, c) != nil {
				return false
			}
			found = true
		}
	}
	return found
}

// cellActions run a cell or those around it, and tell of its last run.
func (ca *codeActions) cellActions(doc *docs.Snapshot, c cells.Cell) []action {
	var actions []action
	index := c.Index()
	run := func(title, command, target string) {
		actions = append(actions, action{
			title: title, kind: actionRun, command: command,
			args: cellArgs{URI: doc.URI, Cell: &index, ID: doc.ID(c), howArgs: howArgs{Target: target}},
		})
	}
	_, code := session.CellOf(doc.Name(), c)
	if code = code && runnable(doc, c) == nil; code {
		run("Run cell", "runCell", "")
		run("Run cell on "+ranksOf(c.Directive().Target), "runCell", remoteTarget(c.Directive().Target))
		run("Run cell everywhere", "runCell", everywhereTarget(c.Directive().Target))
		run("Run cell locally", "runCell", "local")
	}
	if index > 1 {
		run("Run cells above", "runAbove", "")
	}
	if index < doc.File.Len() {
		title := "Run cells below"
		if code {
			title = "Run cell and those below"
		}
		run(title, "runBelow", "")
	}
	if doc.File.Len() > 1 {
		actions = append(actions, action{title: "Run all cells", kind: actionRun, command: "runAll", args: documentArgs{URI: doc.URI}})
	}
	r, ran := ca.s.board.lastRun(doc.URI, doc.ID(c))
	if ran && r.Journal != "" {
		actions = append(actions, action{title: "Show the cell's output", kind: actionOutput, command: "showOutput", args: showOutputArgs{Run: r.ID}})
	}
	if ran && r.State != view.Ended {
		actions = append(actions, action{
			title: "Interrupt cell", kind: actionInterrupt, command: "interrupt", args: interruptArgs{Run: r.ID, whereArgs: whereArgs{URI: doc.URI}},
		})
	}
	if ran && len(r.Hangs) > 0 {
		run := r.Hangs[0].Run
		actions = append(actions,
			action{title: freeTitle, kind: actionInterrupt, command: "free", args: freeArgs{Run: run}},
			action{title: stacksTitle, kind: actionOutput, command: "showStacks", args: showStacksArgs{Run: run, whereArgs: whereArgs{URI: doc.URI}}},
		)
	}
	return actions
}

// variableActions push or pull the variable at a place. They ask the running processes what they bind; a busy process answers that, too.
func (ca *codeActions) variableActions(ctx context.Context, doc *docs.Snapshot, r protocol.Range) []action {
	name := variableAt(doc, r)
	w := ca.opened(doc)
	if name == "" || w == nil || ca.s.board.pool(w).State != "ready" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, namesPatience)
	defer cancel()
	bound := boundIn(ctx, w, []string{name})
	here := whereArgs{URI: doc.URI}
	var actions []action
	if len(bound[ranklist.Local]) > 0 {
		actions = append(actions, action{
			title: fmt.Sprintf("Push '%s' to all ranks", name), kind: actionVariables, command: "push", args: pushArgs{Names: []string{name}, whereArgs: here},
		})
	}
	if rank, ok := lowestRank(bound, name); ok {
		actions = append(actions, action{
			title: fmt.Sprintf("Pull '%s' from %s", name, ca.s.nameRank(w, rank)), kind: actionVariables, command: "pull",
			args: pullArgs{Names: []string{name}, Rank: &rank, whereArgs: here},
		})
	}
	return actions
}

// variableAt returns the name of the variable that a range lies in; "" if there is none, or it stands in a line magic, which moves it itself.
func variableAt(d *docs.Snapshot, r protocol.Range) string {
	c, ok := d.CellAt(r.Start)
	if _, _, magic := d.LineMagic(int(r.Start.Line) + 1); magic || !ok || c.Type() != cells.CodeCell {
		return ""
	}
	line, at, word := d.NameAt(c, d.Offset(r.Start))
	if word.Len() == 0 || d.Offset(r.End) > word.End || strings.HasSuffix(strings.TrimRight(line[:at-word.Len()], " \t"), ".") {
		return ""
	}
	return d.Text(word.Start, word.End)
}

// workspaceActions start, end and change what all cells share: Python, the pool, autodip.
func (ca *codeActions) workspaceActions(doc *docs.Snapshot) []action {
	here := whereArgs{URI: doc.URI}
	var actions []action
	add := func(title string, kind protocol.CodeActionKind, command string, args any) {
		actions = append(actions, action{title: title, kind: kind, command: command, args: args})
	}
	pool, autodip := "none", false
	w := ca.opened(doc)
	if w != nil {
		told := ca.s.board.pool(w)
		pool, autodip = told.State, told.Autodip != ""
		if len(ca.s.board.active(w)) > 0 {
			add("Interrupt all runs", actionInterrupt, "interrupt", interruptArgs{whereArgs: here})
		}
	}
	switch pool {
	case "none", "stopped":
		add("Start the ranks", actionPool, "makePool", makePoolArgs{whereArgs: here})
	case "dead":
		add("Restart the ranks", actionRestart, "restartPool", here)
	default:
		add("Restart the ranks", actionRestart, "restartPool", here)
		add("End the ranks", actionPool, "killPool", here)
	}
	if w != nil {
		add("Restart and run all", actionRestart, "restartAndRunAll", documentArgs{URI: doc.URI})
		add("Restart the local namespace", actionRestart, "restartLocal", here)
		add("Restart Python", actionRestart, "restart", here)
	}
	if pool == event.StateReady {
		add("Free cached GPU memory", actionPool, "freeMemory", here)
	}
	if ca.s.deps.Sessions.attach != nil {
		add("Attach to another session", actionSession, "attachSession", attachSessionArgs{whereArgs: here})
	}
	if w != nil && w.attachment != nil {
		add("End session", actionSession, "stopSession", stopSessionArgs{whereArgs: here})
	}
	if autodip {
		add("Turn autodip off", actionPool, "autodip", autodipArgs{On: ptr(false), whereArgs: here})
	} else {
		add("Turn autodip on", actionPool, "autodip", autodipArgs{On: ptr(true), whereArgs: here})
	}
	for _, run := range ca.s.board.states(doc.URI) {
		if run.state == view.Ended {
			add("Forget how the cells have run", actionOutput, "clear", clearArgs{URI: doc.URI})
			break
		}
	}
	return actions
}

// opened returns the workspace of a document if something has been done in it, else nil.
func (ca *codeActions) opened(doc *docs.Snapshot) *workspace {
	dir := ca.s.folderOf(doc.Path)
	for _, w := range ca.s.workspaces() {
		if w.dir == dir {
			return w
		}
	}
	return nil
}
