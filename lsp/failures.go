package lsp

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

const (
	// maxRelated is how many frames of a traceback a diagnostic has; the innermost are kept.
	maxRelated = 30
	// maxMessage is about how long a diagnostic's message is, in bytes.
	maxMessage = 4 << 10
	// messageLines is how many lines it has.
	messageLines = 24
)

// failure is one way in which a run has failed, on one process or in the same way on several, at one place.
type failure struct {
	run       string
	partial   bool          // of a run of a part of the cell
	owner     cellKey       // that ran
	ownerText docs.CellText // likewise
	at        anchor        // where it stands
	target    string        // of the run; "": a cell has asked for it
	severity  protocol.DiagnosticSeverity
	code      string
	text      string
	death     bool  // text is what has become of a process: "was killed by SIGKILL"
	ranks     []int // ascending; -1: the local namespace; nil: of the run as a whole
	apart     view.Apart
	frames    []traced
	key       string // the same for failures that are the same
}

// traced is one of the other frames of a traceback.
type traced struct {
	name string
	hung bool    // at has the place
	at   anchor  //
	uri  uri.URI // otherwise these have
	line int     // 1-based
}

// message is the failure for people: "NameError: name 'x' is not defined — ranks 0-2".
func (f *failure) message() string {
	switch {
	case f.ranks == nil:
		return f.text
	case f.death && len(f.ranks) > 1:
		return nameProcesses(f.ranks) + " " + strings.Replace(f.text, "was ", "were ", 1)
	case f.death:
		return nameProcesses(f.ranks) + " " + f.text
	case f.target == "local":
		return f.text
	}
	lines := append([]string{f.text + " — " + nameProcesses(f.ranks)}, f.apart.Lines(f.ranks, nameProcesses)...)
	return strings.Join(lines, "\n")
}

// undefined is the message of a NameError.
var undefined = regexp.MustCompile(`^NameError: name '([^']+)' is not defined`)

// name is the name that is not defined, "" if that is not what has failed.
func (f *failure) name() string {
	if m := undefined.FindStringSubmatch(f.text); m != nil && f.code == "NameError" {
		return m[1]
	}
	return ""
}

// begin is the start of a run: what an earlier one has left is gone. mu is held.
func (d *diagnostics) begin(r Run) {
	d.runs[r.ID] = &followed{Run: r, output: d.outputOf(r)}
	key := cellKey{r.Doc, r.Cell}
	if r.Parent != "" || r.Cell == 0 {
		return
	}
	d.drop(func(f *failure) bool {
		switch {
		case !r.Partial:
			return f.owner == key || f.at.cellKey == key
		case f.at.cellKey != key:
			return f.owner == key && f.partial
		}
		line := r.cellLine + f.at.line
		return f.partial || r.line <= line && line <= r.end
	})
}

// drop lets go of failures. mu is held.
func (d *diagnostics) drop(gone func(*failure) bool) {
	for key, list := range d.failures {
		left := slices.DeleteFunc(slices.Clone(list), gone)
		switch {
		case len(left) == len(list):
			continue
		case len(left) == 0:
			delete(d.failures, key)
		default:
			d.failures[key] = left
		}
		d.dirty.add(key)
	}
}

// fail enters an exception. mu is held.
func (d *diagnostics) fail(r Run, ev *event.Failure) {
	text := ev.EName
	if ev.EValue != "" {
		text += ": " + ev.EValue
	}
	severity := protocol.DiagnosticSeverityError
	if ev.EName == "KeyboardInterrupt" {
		severity = protocol.DiagnosticSeverityInformation // somebody wanted it
	}
	own, at := d.ownFrame(r, ev.Frames)
	places := []struct {
		frame int
		at    anchor
	}{{own, at}}
	if frame, at, ok := d.foreignFrame(r, ev.Frames, own); ok {
		places = append(places, struct {
			frame int
			at    anchor
		}{frame, at})
	}
	for _, place := range places {
		f := &failure{severity: severity, code: ev.EName, text: r.excerpt(text), at: place.at, key: ev.Signature()}
		f.apart.Add(rankOf(ev), ev.EValue)
		if !d.merge(r, f, ev) {
			f.frames = d.traced(r, ev.Frames, place.frame)
			d.enter(r, f)
		}
	}
}

// excerpt is text of a bearable length for a diagnostic: its first and last lines, and where the rest is.
func (r *Run) excerpt(text string) string {
	return clean.Excerpt(clean.Text(text), messageLines, maxMessage, r.Journal)
}

// ownFrame is the innermost frame in the run's own document, -1 if there is none, and where it stands: at the cell's first line then.
func (d *diagnostics) ownFrame(r Run, frames []event.Frame) (int, anchor) {
	if doc := d.s.docs.LastKnown(r.Doc); doc != nil {
		for i, frame := range slices.Backward(frames) {
			if string(frame.File) != doc.Name() {
				continue
			}
			if at, ok := d.s.board.anchor(r.Doc, r, frame); ok {
				return i, at
			}
		}
	}
	return -1, headerOf(r)
}

// headerOf is the first line of a run's cell.
func headerOf(r Run) anchor { return anchor{cellKey: cellKey{r.Doc, r.Cell}, text: r.text} }

// foreignFrame is the innermost frame in another open document, if it is further in than the run's own.
func (d *diagnostics) foreignFrame(r Run, frames []event.Frame, own int) (int, anchor, bool) {
	open := d.s.docs.View()
	for i := len(frames) - 1; i > own; i-- {
		doc := open.ByName(string(frames[i].File))
		if doc == nil || doc.URI == r.Doc {
			continue
		}
		if at, ok := d.s.board.anchor(doc.URI, r, frames[i]); ok {
			return i, at, true
		}
		if at, ok := anchorNow(doc, frames[i].Line); ok { // it has been imported
			return i, at, true
		}
	}
	return 0, anchor{}, false
}

// anchorNow is a line of a document as it is now; line is 1-based.
func anchorNow(doc *docs.Snapshot, line int) (anchor, bool) {
	c, ok := doc.File.CellAt(doc.File.Offset(cells.Position{Line: line - 1}, cells.UTF8))
	if !ok || line < c.Line() || line > c.EndLine() {
		return anchor{}, false
	}
	return anchor{cellKey{doc.URI, doc.ID(c)}, docs.TextOf(c), line - c.Line()}, true
}

// traced are the frames but the one that a failure stands at.
func (d *diagnostics) traced(r Run, frames []event.Frame, own int) []traced {
	var list []traced
	open := d.s.docs.View()
	for i, frame := range frames {
		doc := open.ByName(string(frame.File))
		if i == own || len(frames)-i > maxRelated || doc == nil && !strings.HasPrefix(string(frame.File), "/") {
			continue
		}
		t := traced{name: frame.Name, line: frame.Line}
		if doc == nil {
			t.uri = uri.File(string(frame.File))
		} else {
			t.uri = doc.URI
			if t.at, t.hung = d.s.board.anchor(doc.URI, r, frame); !t.hung {
				t.at, t.hung = anchorNow(doc, frame.Line)
			}
		}
		list = append(list, t)
	}
	return list
}

// related is the rest of a failure's traceback, outermost first. Lines that have been edited since are left out.
func (d *diagnostics) related(f *failure) []protocol.DiagnosticRelatedInformation {
	var list []protocol.DiagnosticRelatedInformation
	open := d.s.docs.View()
	for _, t := range f.frames {
		location := protocol.Location{URI: t.uri}
		location.Range.Start.Line = uint32(max(t.line, 1) - 1)
		location.Range.End = location.Range.Start
		if doc := open[t.at.doc]; t.hung && doc != nil {
			c, ok := doc.Find(t.at.cell)
			if !ok {
				continue
			}
			line, ok := t.at.in(c)
			if !ok {
				continue
			}
			location = protocol.Location{URI: doc.URI, Range: doc.CodeRange(c, line, "")}
		}
		list = append(list, protocol.DiagnosticRelatedInformation{Location: location, Message: "in " + clean.Brief(t.name)})
	}
	return list
}

// died enters the death of a process. mu is held.
func (d *diagnostics) died(r Run, ev *event.RankState) {
	what := cmp.Or(strings.TrimSpace(strings.TrimPrefix(ev.Reason, ev.Who())), "died")
	f := &failure{
		severity: protocol.DiagnosticSeverityError, code: string(event.StatusDied), text: r.excerpt(what), death: true, at: headerOf(r), key: "died " + what,
	}
	if !d.merge(r, f, ev) {
		d.enter(r, f)
	}
}

// finish is the end of a run, with the reason if nothing else tells it. mu is held.
func (d *diagnostics) finish(r Run, ev *event.RunFinished) {
	key := cellKey{r.Doc, r.Cell}
	told := slices.ContainsFunc(d.failures[key], func(f *failure) bool { return f.run == r.ID && f.code == string(event.StatusDied) })
	if ev.Reason == "" || told || ev.Status == event.StatusOK {
		return
	}
	f := &failure{severity: protocol.DiagnosticSeverityError, code: string(ev.Status), text: r.excerpt(ev.Reason), at: headerOf(r), key: string(ev.Status)}
	if ev.Status == event.StatusInterrupted {
		f.severity = protocol.DiagnosticSeverityWarning
	}
	d.enter(r, f)
}

// merge adds a process to a failure that others had before, and reports whether there was one; otherwise f becomes the process's. mu is held.
func (d *diagnostics) merge(r Run, f *failure, ev event.Event) bool {
	rank := rankOf(ev)
	for _, old := range d.failures[f.at.cellKey] {
		if old.run == r.ID && old.key == f.key && old.at.line == f.at.line {
			if i, found := slices.BinarySearch(old.ranks, rank); !found {
				old.ranks = slices.Insert(old.ranks, i, rank)
				if i == 0 {
					old.text = f.text
				}
				if fail, ok := ev.(*event.Failure); ok {
					old.apart.Add(rank, fail.EValue)
				}
				d.dirty.add(f.at.cellKey)
			}
			return true
		}
	}
	f.ranks = []int{rank}
	return false
}

// enter enters a new failure of a run. mu is held.
func (d *diagnostics) enter(r Run, f *failure) {
	f.run, f.partial, f.owner, f.ownerText = r.ID, r.Partial, cellKey{r.Doc, r.Cell}, r.text
	if r.Parent == "" {
		f.target = r.Target
	}
	d.failures[f.at.cellKey] = append(d.failures[f.at.cellKey], f)
	d.dirty.add(f.at.cellKey)
}
