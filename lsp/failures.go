package lsp

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
)

// failures shows in documents how cells have failed: a mark for each distinct failure, at its line of code.
type failures struct {
	s     *server
	layer *layer[*failure]
}

func newFailures(s *server) feature {
	f := &failures{s, newLayer[*failure](s.marks, true)}
	s.marks.addSource(source{event: f.event, cleared: f.cleared})
	return feature{}
}

// failure is one way in which a run has failed, on one process or in the same way on several, at one place.
type failure struct {
	mark
	run     string
	partial bool           // of a run of a part of the cell
	target  string         // of the run; "": a cell has asked for it
	what    string         // that happened: "NameError: name 'x' is not defined"
	death   bool           // a process has died, and what says how: "was killed by SIGKILL"
	who     []ranklist.Who // ascending; nil: of the run as a whole
	naming  view.Run       // names them
	apart   view.Apart
	kind    string // the same for failures that are the same
}

// newFailure makes a failure that no process has yet.
func newFailure(at anchor, severity protocol.DiagnosticSeverity, code, what, kind string) *failure {
	f := &failure{what: what, kind: kind}
	f.mark = mark{spot: spotAt(at), severity: severity, code: code, text: func(Settings) string { return f.message() }, remedy: f.remedies}
	return f
}

// event enters an event of a run.
func (f *failures) event(r *followed, ev event.Event, _ time.Time) {
	if r.Cell == 0 {
		return
	}
	switch ev := ev.(type) {
	case *event.RunStarted:
		f.begin(r.Run)
	case *event.Failure:
		f.fail(r.Run, ev)
	case *event.RankState:
		if ev.State == "dead" {
			f.died(r.Run, ev)
		}
	case *event.RunFinished:
		f.finish(r.Run, ev)
	}
}

// message describes the failure for people: "NameError: name 'x' is not defined — ranks 0-2".
func (f *failure) message() string {
	switch {
	case f.who == nil:
		return f.what
	case f.death && len(f.who) > 1:
		return f.naming.Name(f.who) + " " + strings.Replace(f.what, "was ", "were ", 1)
	case f.death:
		return f.naming.Name(f.who) + " " + f.what
	case f.target == "local":
		return f.what
	}
	lines := append([]string{f.what + " — " + f.naming.Name(f.who)}, f.apart.Lines(f.who, f.naming.Name)...)
	return strings.Join(lines, "\n")
}

// undefined is the message of a NameError.
var undefined = regexp.MustCompile(`^NameError: name '([^']+)' is not defined`)

// name returns the name that is not defined; "" if the failure is another one.
func (f *failure) name() string {
	if m := undefined.FindStringSubmatch(f.what); m != nil && f.code == "NameError" {
		return m[1]
	}
	return ""
}

// remedies returns what can be done about the failure.
func (f *failure) remedies() remedy {
	if f.name() == "" {
		return remedy{}
	}
	return remedy{missing: &missingName{name: f.name(), who: slices.Clone(f.who), target: f.target, owner: f.owner.cellKey, whole: !f.partial}}
}

// begin enters the start of a run: it drops the marks that earlier runs have left at its cell.
func (f *failures) begin(r Run) {
	if r.Parent != "" {
		return
	}
	key := cellKey{r.Doc, r.Cell}
	f.layer.drop(func(old *failure) bool {
		switch {
		case !r.Partial:
			return old.owner.cellKey == key || old.at.cellKey == key
		case old.at.cellKey != key:
			return old.owner.cellKey == key && old.partial
		}
		line := r.cellLine + old.at.line
		return old.partial || r.line <= line && line <= r.end
	})
}

// cleared forgets how runs that are over have failed in a document, or one of its cells elsewhere.
func (f *failures) cleared(u uri.URI, over func(run string) bool) {
	f.layer.drop(func(old *failure) bool { return (old.at.doc == u || old.owner.doc == u) && over(old.run) })
}

// fail enters an exception.
func (f *failures) fail(r Run, ev *event.Failure) {
	what := ev.EName
	if ev.EValue != "" {
		what += ": " + ev.EValue
	}
	severity := protocol.DiagnosticSeverityError
	if ev.EName == "KeyboardInterrupt" {
		severity = protocol.DiagnosticSeverityInformation // somebody wanted it
	}
	who, _ := ev.Who()
	enter := func(frame int, at anchor) {
		one := newFailure(at, severity, ev.EName, r.excerpt(what), ev.Signature())
		one.word = one.name()
		one.apart.Add(who, ev.EValue)
		if !f.merge(r, one, ev) {
			one.related = f.traced(r, ev.Frames, frame)
			f.enter(r, one)
		}
	}
	own, at := f.ownFrame(r, ev.Frames)
	enter(own, at)
	if frame, at, ok := f.foreignFrame(r, ev.Frames, own); ok {
		enter(frame, at)
	}
}

// ownFrame finds the innermost frame in the run's own document, and its place. If there is none, it is -1 and the cell's first line.
func (f *failures) ownFrame(r Run, frames []event.Frame) (int, anchor) {
	if doc := f.s.docs.LastKnown(r.Doc); doc != nil {
		for i, frame := range slices.Backward(frames) {
			if string(frame.File) != doc.Name() {
				continue
			}
			if at, ok := f.s.board.anchor(r.Doc, r, frame); ok {
				return i, at
			}
		}
	}
	return -1, headerOf(r)
}

// foreignFrame finds the innermost frame in another open document, if it is further in than the run's own.
func (f *failures) foreignFrame(r Run, frames []event.Frame, own int) (int, anchor, bool) {
	open := f.s.docs.View()
	for i := len(frames) - 1; i > own; i-- {
		doc := open.ByName(string(frames[i].File))
		if doc == nil || doc.URI == r.Doc {
			continue
		}
		if at, ok := f.s.board.anchor(doc.URI, r, frames[i]); ok {
			return i, at, true
		}
		if at, ok := anchorNow(doc, frames[i].Line); ok { // it has been imported
			return i, at, true
		}
	}
	return 0, anchor{}, false
}

// traced returns the other frames of a failure, outermost first. If there are too many, it leaves out outer ones.
func (f *failures) traced(r Run, frames []event.Frame, own int) []related {
	var list []related
	open := f.s.docs.View()
	for i, frame := range frames {
		doc := open.ByName(string(frame.File))
		if i == own || len(frames)-i > maxRelated || doc == nil && !strings.HasPrefix(string(frame.File), "/") {
			continue
		}
		at := spot{line: frame.Line}
		if doc == nil {
			at.uri = uri.File(string(frame.File))
		} else {
			at = f.s.board.spotOf(doc, r, frame)
		}
		list = append(list, related{&at, "in " + clean.Brief(frame.Name)})
	}
	return list
}

// died enters the death of a process.
func (f *failures) died(r Run, ev *event.RankState) {
	who, _ := ev.Who()
	what, _ := who.Verb(ev.Reason)
	what = cmp.Or(what, "died")
	one := newFailure(headerOf(r), protocol.DiagnosticSeverityError, string(event.StatusDied), r.excerpt(what), "died "+what)
	one.death = true
	if !f.merge(r, one, ev) {
		f.enter(r, one)
	}
}

// finish enters the end of a run, and makes a mark of the reason if no other mark tells it.
func (f *failures) finish(r Run, ev *event.RunFinished) {
	told := slices.ContainsFunc(f.layer.of(cellKey{r.Doc, r.Cell}), func(old *failure) bool { return old.run == r.ID && old.code == string(event.StatusDied) })
	if ev.Reason == "" || told || ev.Status == event.StatusOK || ev.Status == event.StatusError && len(r.Failures) > 0 {
		return
	}
	severity := protocol.DiagnosticSeverityError
	if ev.Status == event.StatusInterrupted {
		severity = protocol.DiagnosticSeverityWarning
	}
	f.enter(r, newFailure(headerOf(r), severity, string(ev.Status), r.excerpt(ev.Reason), string(ev.Status)))
}

// merge adds a process to a failure that others already had, and reports whether there was one. If there was none, it makes the process the first to have
// it.
func (f *failures) merge(r Run, one *failure, ev event.Event) bool {
	who, _ := ev.Head().Who()
	for _, old := range f.layer.of(one.key()) {
		if old.run == r.ID && old.kind == one.kind && old.at.line == one.at.line {
			if i, found := slices.BinarySearchFunc(old.who, who, ranklist.Who.Compare); !found {
				old.who = slices.Insert(old.who, i, who)
				if i == 0 {
					old.what, old.word = one.what, one.word
				}
				if fail, ok := ev.(*event.Failure); ok {
					old.apart.Add(who, fail.EValue)
				}
				f.s.marks.touch(&old.mark)
			}
			return true
		}
	}
	one.who = []ranklist.Who{who}
	return false
}

// enter enters a new failure of a run.
func (f *failures) enter(r Run, one *failure) {
	one.run, one.partial, one.owner, one.naming = r.ID, r.Partial, headerOf(r), r.Run.Clone()
	if r.Parent == "" {
		one.target = r.Target
	}
	f.layer.add(one)
}
