package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/internal/clean"
	"dipls/internal/ranklist"
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
	actionPool      protocol.CodeActionKind = "dip.pool" // its start and end, its memory, and autodip
	actionSession   protocol.CodeActionKind = "dip.session"
)

// namesPatience is how long to wait for processes that are asked for names: somebody is looking at the light bulb.
const namesPatience = 200 * time.Millisecond

// codeActions offers what can be done at a place: fixes for what the marks say there, and actions on the cell and its ranks.
type codeActions struct{ s *server }

func newCodeActions(s *server) feature {
	ca := &codeActions{s}
	return feature{
		methods: map[string]rpc.Method{protocol.MethodTextDocumentCodeAction: rpc.Request(ca.list)},
		capabilities: func(caps *protocol.ServerCapabilities) {
			caps.CodeActionProvider = &protocol.CodeActionOptions{
				CodeActionKinds: []protocol.CodeActionKind{
					protocol.CodeActionKindQuickFix, actionRun, actionOutput, actionVariables, actionInterrupt, actionRestart, actionPool,
					actionSession,
				},
			}
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

// list answers textDocument/codeAction: quick fixes for the diagnostics in a range, and other actions at that place. The others are offered only when the
// user asks: a client that asks by itself as the caret moves would show a light bulb on every line.
func (ca *codeActions) list(ctx context.Context, p *protocol.CodeActionParams) ([]protocol.CommandOrCodeAction, error) {
	doc, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	var actions []action
	if wants(p.Context.Only, protocol.CodeActionKindQuickFix) {
		actions = ca.quickFixes(ctx, doc, p.Range)
	}
	asked := p.Context.TriggerKind != protocol.CodeActionTriggerKindAutomatic || len(p.Context.Only) > 0
	if asked && !ca.s.forbidden() {
		for _, a := range ca.offered(ctx, doc, p.Range, p.Context.Only) {
			if !slices.ContainsFunc(actions, func(fix action) bool { return fix.title == a.title }) {
				actions = append(actions, a)
			}
		}
	}
	answer := []protocol.CommandOrCodeAction{}
	for _, one := range actions {
		if encoded := ca.encode(doc, one); encoded != nil {
			answer = append(answer, encoded)
		}
	}
	return answer, nil
}

// wants reports whether a client that asks only for some kinds wants this one.
func wants(only []protocol.CodeActionKind, kind protocol.CodeActionKind) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(k protocol.CodeActionKind) bool {
		return k == kind || k == "" || strings.HasPrefix(string(kind), string(k)+".")
	})
}

// encode returns an action in the form that the client understands; nil if there is none.
func (ca *codeActions) encode(doc *docs.Snapshot, a action) protocol.CommandOrCodeAction {
	var can protocol.CodeActionClientCapabilities
	if t := ca.s.client.Can.TextDocument; t != nil && t.CodeAction != nil {
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
		if encoded.Edit = ca.edit(doc, *a.edit); encoded.Edit == nil {
			return nil
		}
	}
	return encoded
}

// edit returns an edit of one version of a document; nil if the client might apply it to another version.
func (ca *codeActions) edit(doc *docs.Snapshot, edit protocol.TextEdit) *protocol.WorkspaceEdit {
	var can protocol.WorkspaceEditClientCapabilities
	if w := ca.s.client.Can.Workspace; w != nil && w.WorkspaceEdit != nil {
		can = *w.WorkspaceEdit
	}
	switch {
	case ca.s.docs.View()[doc.URI] != doc:
		return nil
	case can.DocumentChanges != nil && *can.DocumentChanges:
		change := &protocol.TextDocumentEdit{Edits: []protocol.TextDocumentEditElement{&edit}}
		change.TextDocument.URI, change.TextDocument.Version = doc.URI, &doc.Version
		return &protocol.WorkspaceEdit{DocumentChanges: []protocol.DocumentChange{change}}
	}
	return &protocol.WorkspaceEdit{Changes: map[uri.URI][]protocol.TextEdit{doc.URI: {edit}}}
}

// quickFixes returns the fixes for the diagnostics that a range touches.
func (ca *codeActions) quickFixes(ctx context.Context, doc *docs.Snapshot, r protocol.Range) []action {
	var actions []action
	found := ca.s.marks.foundIn(doc, r)
	names := ca.names(ctx, doc, found)
	for _, f := range found {
		switch {
		case f.remedy.replacement != "":
			actions = append(actions, action{
				title: fmt.Sprintf("Replace by '%s'", f.remedy.replacement), kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, preferred: true,
				edit: &protocol.TextEdit{Range: f.Range, NewText: f.remedy.replacement},
			})
		case f.remedy.missing != nil:
			actions = append(actions, nameFixes(doc, f, names, func(rank int) string { return ca.s.nameRank(ca.opened(doc), rank) })...)
		case f.remedy.hung != "":
			actions = append(actions, hangFixes(doc, f)...)
		}
	}
	return append(actions, bareFixes(doc, r)...)
}

// bareFixes makes comments of bare magics and commands that a range touches: the file is plain Python then, and does the same.
func bareFixes(doc *docs.Snapshot, r protocol.Range) []action {
	c, ok := doc.CellAt(r.Start)
	if !ok {
		return nil
	}
	var actions []action
	start, end := doc.Offset(r.Start), doc.Offset(r.End)
	for l := range c.MagicLines() {
		if l.Fix != "" && l.Range.Start <= end && start <= l.Range.End {
			actions = append(actions, action{
				title: fmt.Sprintf("Write as a comment: '%s'", clean.Brief(l.Fix)), kind: protocol.CodeActionKindQuickFix,
				edit: &protocol.TextEdit{Range: doc.Range(l.Range), NewText: l.Fix},
			})
		}
	}
	return actions
}

// hangFixes returns what can be done about ranks that wait.
func hangFixes(doc *docs.Snapshot, f finding) []action {
	fix := func(title, command string, args any) action {
		return action{title: title, kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, command: command, args: args}
	}
	return []action{
		fix(freeTitle, "free", freeArgs{Run: f.remedy.hung}),
		fix(stacksTitle, "showStacks", showStacksArgs{Run: f.remedy.hung, whereArgs: whereArgs{URI: doc.URI}}),
	}
}

// names asks which processes bind the names that are missing according to the findings. It starts no process.
func (ca *codeActions) names(ctx context.Context, doc *docs.Snapshot, found []finding) bindings {
	var missing []string
	for _, f := range found {
		if f.remedy.missing != nil {
			missing = append(missing, f.remedy.missing.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	w := ca.opened(doc)
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, namesPatience)
	defer cancel()
	return boundIn(ctx, w, missing)
}

// bindings says which names each process binds.
type bindings map[ranklist.Who][]string

// boundIn are the processes of a workspace that bind names.
func boundIn(ctx context.Context, w *workspace, names []string) bindings {
	found := bindings{}
	all, _ := w.Bound(ctx, names) // without any nobody knows now
	for _, b := range all {
		found[b.Who] = b.Names
	}
	return found
}

// nameFixes returns pushes and pulls that bring a name that is not defined from a process that has it.
func nameFixes(doc *docs.Snapshot, f finding, bound bindings, nameRank func(rank int) string) []action {
	missing := f.remedy.missing
	name := missing.name
	var actions []action
	fix := func(title, command string, args any) {
		actions = append(actions, action{
			title: title, kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, preferred: len(actions) == 0, command: command, args: args,
		})
	}
	here := whereArgs{URI: doc.URI}
	if !missing.who[len(missing.who)-1].IsLocal() && slices.Contains(bound[ranklist.Local], name) {
		fix(fmt.Sprintf("Push '%s' to all ranks", name), "push", pushArgs{Names: []string{name}, whereArgs: here})
		if cell, ok := ownerCell(doc, missing); ok {
			fix(fmt.Sprintf("Push '%s' to all ranks and rerun", name), "pushAndRun", pushAndRunArgs{
				Names: []string{name}, cellArgs: cellArgs{URI: doc.URI, Cell: &cell, howArgs: howArgs{Target: missing.target}},
			})
		}
	}
	if missing.who[0].IsLocal() {
		if from, ok := lowestRank(bound, name); ok {
			fix(fmt.Sprintf("Pull '%s' from %s", name, nameRank(from)), "pull", pullArgs{Names: []string{name}, Rank: &from, whereArgs: here})
		}
	}
	return actions
}

// lowestRank is the first rank that binds a name.
func lowestRank(bound bindings, name string) (rank int, ok bool) {
	for _, who := range slices.SortedFunc(maps.Keys(bound), ranklist.Who.Compare) {
		if rank, ok = who.Rank(); ok && slices.Contains(bound[who], name) {
			return rank, true
		}
	}
	return 0, false
}

// ownerCell returns the number of the cell that has failed as a whole, if it is a cell of the document.
func ownerCell(doc *docs.Snapshot, missing *missingName) (int, bool) {
	if missing.owner.doc != doc.URI || !missing.whole {
		return 0, false
	}
	c, ok := doc.Find(missing.owner.cell)
	if !ok {
		return 0, false
	}
	return c.Index(), true
}
