package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/internal/clean"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// Kinds of code actions of our own. A client that asks for "dip" gets all of them.
const (
	actionRun       protocol.CodeActionKind = "dip.run"       // cells, and parts of them
	actionOutput    protocol.CodeActionKind = "dip.output"    // how cells have run
	actionVariables protocol.CodeActionKind = "dip.variables" // push and pull
	actionInterrupt protocol.CodeActionKind = "dip.interrupt"
	actionRestart   protocol.CodeActionKind = "dip.restart"
	actionPool      protocol.CodeActionKind = "dip.pool" // its start and end, and autodip
)

// namesPatience is how long processes are waited for that are asked for names: somebody looks at the light bulb.
const namesPatience = 200 * time.Millisecond

func (d *diagnostics) methods() map[string]rpc.Method {
	return map[string]rpc.Method{protocol.MethodTextDocumentCodeAction: rpc.Request(d.codeAction)}
}

func (d *diagnostics) capabilities(caps *protocol.ServerCapabilities) {
	caps.CodeActionProvider = &protocol.CodeActionOptions{
		CodeActionKinds: []protocol.CodeActionKind{
			protocol.CodeActionKindQuickFix, actionRun, actionOutput, actionVariables, actionInterrupt, actionRestart, actionPool,
		},
	}
}

// action is a code action: either an edit or a command.
type action struct {
	title     string
	kind      protocol.CodeActionKind
	fixes     *protocol.Diagnostic // nil: nothing in particular
	preferred bool
	edit      *protocol.TextEdit
	command   string // without "dip."
	args      any
}

// codeAction offers quick fixes of the diagnostics in a range, and what there is to do at that place. The latter is not offered to a client that asks by
// itself, as the caret moves: it would show a light bulb on every line.
func (d *diagnostics) codeAction(ctx context.Context, p *protocol.CodeActionParams) ([]protocol.CommandOrCodeAction, error) {
	doc, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	var actions []action
	if wants(p.Context.Only, protocol.CodeActionKindQuickFix) {
		actions = d.quickFixes(ctx, doc, p.Range)
	}
	asked := p.Context.TriggerKind != protocol.CodeActionTriggerKindAutomatic || len(p.Context.Only) > 0
	if asked && !d.s.forbidden() {
		for _, a := range d.offered(ctx, doc, p.Range, p.Context.Only) {
			if !slices.ContainsFunc(actions, func(fix action) bool { return fix.title == a.title }) {
				actions = append(actions, a)
			}
		}
	}
	answer := []protocol.CommandOrCodeAction{}
	for _, a := range actions {
		if encoded := d.encode(doc, a); encoded != nil {
			answer = append(answer, encoded)
		}
	}
	return answer, nil
}

// wants reports whether a client that asks for some kinds only wants one.
func wants(only []protocol.CodeActionKind, kind protocol.CodeActionKind) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(k protocol.CodeActionKind) bool {
		return k == kind || k == "" || strings.HasPrefix(string(kind), string(k)+".")
	})
}

// encode is an action as the client can take it; nil if it cannot.
func (d *diagnostics) encode(doc *docs.Snapshot, a action) protocol.CommandOrCodeAction {
	var can protocol.CodeActionClientCapabilities
	if t := d.s.client.Can.TextDocument; t != nil && t.CodeAction != nil {
		can = *t.CodeAction
	}
	var command protocol.Command
	if a.command != "" {
		args, err := json.Marshal(a.args)
		if err != nil {
			return nil // strings and numbers: cannot fail
		}
		command = protocol.Command{Title: clean.Line(a.title), Command: commandPrefix + a.command, Arguments: []protocol.LSPAny{protocol.LSPAny(args)}}
	}
	if can.CodeActionLiteralSupport.CodeActionKind.ValueSet == nil { // LSP before 3.8
		if a.command == "" {
			return nil
		}
		return &command
	}
	encoded := &protocol.CodeAction{Title: clean.Line(a.title), Kind: &a.kind, Command: command}
	if a.fixes != nil {
		encoded.Diagnostics = []protocol.Diagnostic{*a.fixes}
	}
	if a.preferred && can.IsPreferredSupport != nil && *can.IsPreferredSupport {
		encoded.IsPreferred = &a.preferred
	}
	if a.edit != nil {
		if encoded.Edit = d.edit(doc, *a.edit); encoded.Edit == nil {
			return nil
		}
	}
	return encoded
}

// edit is an edit of one version of a document; nil if the client could make it in another one.
func (d *diagnostics) edit(doc *docs.Snapshot, edit protocol.TextEdit) *protocol.WorkspaceEdit {
	var can protocol.WorkspaceEditClientCapabilities
	if w := d.s.client.Can.Workspace; w != nil && w.WorkspaceEdit != nil {
		can = *w.WorkspaceEdit
	}
	switch {
	case d.s.docs.View()[doc.URI] != doc:
		return nil
	case can.DocumentChanges != nil && *can.DocumentChanges:
		change := &protocol.TextDocumentEdit{Edits: []protocol.TextDocumentEditElement{&edit}}
		change.TextDocument.URI, change.TextDocument.Version = doc.URI, &doc.Version
		return &protocol.WorkspaceEdit{DocumentChanges: []protocol.DocumentChange{change}}
	}
	return &protocol.WorkspaceEdit{Changes: map[uri.URI][]protocol.TextEdit{doc.URI: {edit}}}
}

// quickFixes are those of the diagnostics that a range touches.
func (d *diagnostics) quickFixes(ctx context.Context, doc *docs.Snapshot, r protocol.Range) []action {
	var actions []action
	found := d.foundIn(doc, r)
	names := d.names(ctx, doc, found)
	for _, f := range found {
		switch {
		case f.problem != nil && f.problem.Fix != "":
			actions = append(actions, action{
				title: fmt.Sprintf("Replace by '%s'", f.problem.Fix), kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, preferred: true,
				edit: &protocol.TextEdit{Range: f.Range, NewText: f.problem.Fix},
			})
		case f.failure != nil && f.failure.name() != "":
			actions = append(actions, nameFixes(doc, f, names)...)
		case f.hang != nil:
			actions = append(actions, hangFixes(doc, f)...)
		}
	}
	return actions
}

// foundIn are the findings that a range touches.
func (d *diagnostics) foundIn(doc *docs.Snapshot, r protocol.Range) []finding {
	first, ok := doc.CellAt(r.Start)
	if !ok {
		if first, ok = doc.File.Cell(1); !ok {
			return nil
		}
	}
	mode := d.s.config.ofDocument(doc).DiagnosticsOutput
	var found []finding
	d.mu.Lock()
	defer d.mu.Unlock()
	for c, ok := first, true; ok && c.Line() <= int(r.End.Line)+1; c, ok = doc.File.Cell(c.Index() + 1) {
		for _, f := range d.found(doc, c, mode) {
			if !before(f.Range.End, r.Start) && !before(r.End, f.Range.Start) {
				if f.failure != nil {
					copied := *f.failure
					copied.ranks = slices.Clone(copied.ranks)
					f.failure = &copied
				}
				found = append(found, f)
			}
		}
	}
	return found
}

func before(p, q protocol.Position) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Character < q.Character
}

// names asks which processes bind the names that the findings miss: by rank, -1 is the local namespace. It starts no process.
func (d *diagnostics) names(ctx context.Context, doc *docs.Snapshot, found []finding) map[int][]string {
	var missing []string
	for _, f := range found {
		if f.failure != nil && f.failure.name() != "" {
			missing = append(missing, f.failure.name())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	w := d.opened(doc)
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, namesPatience)
	defer cancel()
	return w.executor.Bound(ctx, missing)
}

// nameFixes bring a name that is not defined from where it is. bound is as in [diagnostics.names].
func nameFixes(doc *docs.Snapshot, f finding, bound map[int][]string) []action {
	name := f.failure.name()
	var actions []action
	fix := func(title, command string, args any) {
		actions = append(actions, action{
			title: title, kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, preferred: len(actions) == 0, command: command, args: args,
		})
	}
	here := whereArgs{URI: doc.URI}
	if f.failure.ranks[len(f.failure.ranks)-1] >= 0 && slices.Contains(bound[-1], name) {
		fix(fmt.Sprintf("Push '%s' to all ranks", name), "push", pushArgs{Names: []string{name}, whereArgs: here})
		if cell, ok := ownerCell(doc, f.failure); ok {
			fix(fmt.Sprintf("Push '%s' to all ranks and rerun", name), "pushAndRun", pushAndRunArgs{
				Names: []string{name}, cellArgs: cellArgs{URI: doc.URI, Cell: &cell, howArgs: howArgs{Target: f.failure.target}},
			})
		}
	}
	if f.failure.ranks[0] < 0 {
		if from, ok := lowestRank(bound, name); ok {
			fix(fmt.Sprintf("Pull '%s' from rank %d", name, from), "pull", pullArgs{Names: []string{name}, Rank: &from, whereArgs: here})
		}
	}
	return actions
}

// lowestRank is the first rank that binds a name. bound is as in [diagnostics.names].
func lowestRank(bound map[int][]string, name string) (rank int, ok bool) {
	rank = -1
	for r, names := range bound {
		if r >= 0 && slices.Contains(names, name) && (rank < 0 || r < rank) {
			rank = r
		}
	}
	return rank, rank >= 0
}

// ownerCell is the number of the cell that has failed as a whole, if that is one of the document.
func ownerCell(doc *docs.Snapshot, f *failure) (int, bool) {
	if f.owner.doc != doc.URI || f.partial {
		return 0, false
	}
	c, ok := doc.Find(f.owner.cell)
	if !ok {
		return 0, false
	}
	return c.Index(), true
}
