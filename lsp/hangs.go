package lsp

import (
	"path/filepath"
	"slices"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

// hangCode is the code of diagnostics of ranks that wait for others.
const hangCode = "hang"

// What is offered where ranks wait.
const (
	freeTitle   = "Free ranks"
	stacksTitle = "Show stacks"
)

// hangMark is a place in the user's code where ranks wait, or are that others wait for, as long as that is so.
type hangMark struct {
	run     Run
	ev      *event.Hang
	place   event.Place
	missing bool    // others wait for them
	uri     uri.URI // of the document or the file; "": the place is in none
	hung    bool    // at has the place; otherwise the line counts as it was
	at      anchor
}

// here is what is said at the place: "ranks 0-1,3 wait here in all_reduce".
func (m *hangMark) here() string {
	who, why := nameProcesses(m.place.Ranks), m.place.Why
	one := len(m.place.Ranks) == 1
	switch {
	case !m.missing:
		return joinWords(who, verb(one, "waits", "wait"), "here", operationOf(m.ev, why))
	case why == "":
		return joinWords(who, verb(one, "is", "are"), "here")
	case strings.HasPrefix(why, "in "), strings.HasPrefix(why, "with "):
		return joinWords(who, verb(one, "is", "are"), "here,", why)
	}
	if first, rest, _ := strings.Cut(why, " "); !one && manyVerbs[first] != "" {
		why = manyVerbs[first] + " " + rest
	}
	return joinWords(who, why)
}

// manyVerbs are words with which what is said of one rank begins, for several.
var manyVerbs = map[string]string{"has": "have", "is": "are", "was": "were"}

// message is the diagnostic: what is said there, and all that is known as a sentence.
func (m *hangMark) message() string {
	text := m.here()
	if others := ranksIn(m.ev.Missing); !m.missing && len(others) > 0 {
		text += " for " + nameProcesses(others)
	}
	if others := ranksIn(m.ev.Waiting); m.missing && len(others) > 0 {
		text += ": " + joinWords(nameProcesses(others), verb(len(others) == 1, "waits", "wait"), "for", verb(len(m.place.Ranks) == 1, "it", "them"), operationOf(m.ev, ""))
	}
	if m.ev.Text != "" {
		text += "\n" + m.ev.Text
	}
	return m.run.excerpt(text)
}

// operationOf is what ranks wait in: "in all_reduce"; "" if that is not known.
func operationOf(ev *event.Hang, why string) string {
	switch {
	case why != "":
		return why
	case ev.Operation != "":
		return "in " + ev.Operation
	}
	return ""
}

func (m *hangMark) severity() protocol.DiagnosticSeverity {
	switch m.ev.Level {
	case event.LevelInfo:
		return protocol.DiagnosticSeverityInformation
	case event.LevelError:
		return protocol.DiagnosticSeverityError
	}
	return protocol.DiagnosticSeverityWarning
}

// location is where the place is now; ok is false if it is nowhere, or has been edited since.
func (m *hangMark) location(open docs.View) (location protocol.Location, ok bool) {
	if m.uri == "" {
		return location, false
	}
	doc := open[m.uri]
	if !m.hung || doc == nil {
		line := uint32(m.place.Line - 1)
		return protocol.Location{URI: m.uri, Range: protocol.Range{Start: protocol.Position{Line: line}, End: protocol.Position{Line: line + 1}}}, true
	}
	c, ok := doc.Find(m.at.cell)
	if !ok {
		return location, false
	}
	line, ok := m.at.in(c)
	if !ok {
		return location, false
	}
	return protocol.Location{URI: m.uri, Range: doc.CodeRange(c, line, "")}, true
}

// hang enters that ranks wait, or no longer do. mu is held.
func (d *diagnostics) hang(r Run, ev *event.Hang) {
	d.dropHangs(func(m *hangMark) bool { return m.ev.Run == ev.Run && m.ev.Hang == ev.Hang })
	if ev.Gone {
		return
	}
	enter := func(places []event.Place, missing bool) {
		for _, place := range places {
			m := &hangMark{run: r, ev: ev, place: place, missing: missing}
			d.placeHang(m)
			d.hangs = append(d.hangs, m)
			d.touchHang(m)
		}
	}
	enter(ev.Waiting, false)
	enter(ev.Missing, true)
}

// dropHangs lets go of places where ranks no longer wait. mu is held.
func (d *diagnostics) dropHangs(gone func(*hangMark) bool) {
	d.hangs = slices.DeleteFunc(d.hangs, func(m *hangMark) bool {
		if !gone(m) {
			return false
		}
		d.touchHang(m)
		return true
	})
}

// touchHang has what is said at a place looked at again soon. mu is held.
func (d *diagnostics) touchHang(m *hangMark) {
	if m.uri != "" {
		d.dirty.add(cellKey{m.uri, m.at.cell})
	}
}

// placeHang finds the document of a place, or its file. mu is held.
func (d *diagnostics) placeHang(m *hangMark) {
	path := string(m.place.Path)
	if path == "" || m.place.Line < 1 {
		return
	}
	doc := d.s.docs.View().ByName(path)
	if own := d.s.docs.LastKnown(m.run.Doc); doc == nil && own != nil && own.Name() == path {
		doc = own
	}
	if doc == nil {
		if filepath.IsAbs(path) {
			m.uri = uri.File(path)
		}
		return
	}
	m.uri = doc.URI
	if m.at, m.hung = d.s.board.anchor(doc.URI, m.run, event.Frame{File: m.place.Path, Line: m.place.Line, Run: m.place.Run}); !m.hung {
		m.at, m.hung = anchorNow(doc, m.place.Line)
	}
}

// opensHangs ties the places in a file to its text, now that it is open. mu is held.
func (d *diagnostics) opensHangs(doc *docs.Snapshot) {
	for _, m := range d.hangs {
		if !m.hung && string(m.place.Path) == doc.Name() {
			d.placeHang(m)
		}
	}
}

// hangsOf are the diagnostics of ranks that wait, or are waited for, in a cell. mu is held.
func (d *diagnostics) hangsOf(doc *docs.Snapshot, c cells.Cell) []finding {
	var found []finding
	for _, m := range d.hangs {
		if !m.hung || m.at.cellKey != (cellKey{doc.URI, doc.ID(c)}) {
			continue
		}
		if line, ok := m.at.in(c); ok {
			location := protocol.Location{URI: doc.URI, Range: doc.CodeRange(c, line, "")}
			found = append(found, finding{Diagnostic: d.hangDiagnostic(m, location, d.s.docs.View()), hang: m})
		}
	}
	return found
}

// hangsOfFile are the same for a file of the workspace that is not open. mu is held.
func (d *diagnostics) hangsOfFile(u uri.URI) []protocol.Diagnostic {
	var list []protocol.Diagnostic
	open := d.s.docs.View()
	for _, m := range d.hangs {
		if m.uri != u || !contains(m.run.workspace.dir, string(m.place.Path)) {
			continue
		}
		if location, ok := m.location(open); ok {
			list = append(list, d.hangDiagnostic(m, location, open))
		}
	}
	return list
}

// publishRelated brings what refers to places in a document up to date, in other documents and files. mu is held.
func (d *diagnostics) publishRelated(u uri.URI) {
	others := changes{}
	for _, m := range d.hangs {
		if m.uri != u {
			continue
		}
		for _, other := range d.hangs {
			if other.ev == m.ev && other.uri != u && other.uri != "" {
				others.add(cellKey{other.uri, other.at.cell})
			}
		}
	}
	for other, cells := range others {
		d.publish(other, cells, false)
	}
}

// hangDiagnostic is a diagnostic at a place, with the other places of the same finding.
func (d *diagnostics) hangDiagnostic(m *hangMark, location protocol.Location, open docs.View) protocol.Diagnostic {
	diagnostic := newDiagnostic(location.Range, m.severity(), hangCode, m.message())
	if related := d.can().RelatedInformation; related == nil || !*related {
		return diagnostic
	}
	for _, other := range d.hangs {
		if other == m || other.ev != m.ev || len(diagnostic.RelatedInformation) == maxRelated {
			continue
		}
		if location, ok := other.location(open); ok {
			diagnostic.RelatedInformation = append(diagnostic.RelatedInformation,
				protocol.DiagnosticRelatedInformation{Location: location, Message: clean.Brief(other.here())})
		}
	}
	return diagnostic
}

// hangFixes are what there is to do about ranks that wait.
func hangFixes(doc *docs.Snapshot, f finding) []action {
	run := f.hang.ev.Run
	return []action{
		{title: freeTitle, kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, command: "free", args: freeArgs{Run: run}},
		{title: stacksTitle, kind: protocol.CodeActionKindQuickFix, fixes: &f.Diagnostic, command: "showStacks", args: showStacksArgs{Run: run, whereArgs: whereArgs{URI: doc.URI}}},
	}
}

// waits says in a few words who waits for whom in a run: "ranks 0-1,3 wait for rank 2"; "" if nobody is known to.
func (r *Run) waits() string {
	for _, ev := range r.Hangs {
		waiting, missing := ranksIn(ev.Waiting), ranksIn(ev.Missing)
		if ev.Level == event.LevelInfo || len(waiting) == 0 {
			continue
		}
		text := joinWords(nameProcesses(waiting), verb(len(waiting) == 1, "waits", "wait"))
		if len(missing) > 0 {
			text += " for " + nameProcesses(missing)
		}
		return text
	}
	return ""
}

// ranksIn are the ranks of some places, in order.
func ranksIn(places []event.Place) []int {
	var all []int
	for _, p := range places {
		all = append(all, p.Ranks...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func verb(one bool, singular, plural string) string {
	if one {
		return singular
	}
	return plural
}

// joinWords puts words into a row; "" is none.
func joinWords(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
}

// hangSentences are the findings about a run as sentences.
func (r *Run) hangSentences() string {
	var lines []string
	for _, ev := range r.Hangs {
		lines = append(lines, clean.Text(ev.Text))
	}
	return strings.Join(lines, "\n")
}
