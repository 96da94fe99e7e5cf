package lsp

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

// diagnosticSource is the source of every diagnostic.
const diagnosticSource = "dip"

const (
	// soon is how long what runs do to diagnostics is gathered after the last time, so that runs that follow each other at once cost little.
	soon = 50 * time.Millisecond
	// later is the same for what runs print: nobody reads faster.
	later = 300 * time.Millisecond
	// fewCells is how many cells of a document are sooner found one by one than by going through all.
	fewCells = 32
)

// diagnostics publishes what there is to say about documents: what the parser has found, how cells failed, and what they printed. What runs leave
// hangs on the cell, and is shown while that is as it was when it ran. The code actions for it are in actions.go.
//
// Events are queued and entered by one goroutine, documents are published by that one and by the feed's. An edit costs as much as
// the cells that it touches, unless diagnostics move.
type diagnostics struct {
	s      *server
	start  sync.Once
	events eventQueue

	mu       sync.Mutex // guards what follows
	failures map[cellKey][]*failure
	outputs  map[cellKey]*printed
	hangs    []*hangMark
	runs     map[string]*followed // that are running, or ended not long ago
	ended    []string             // those of runs that have ended, oldest first
	folder   *view.Folder
	shown    map[uri.URI]*shown // of open documents
	unopened map[uri.URI]bool   // files that are not open, of which the client has been told something
	dirty    changes            // has to be published soon
	wordy    changes            // likewise, but it is only output
	last     time.Time          // when one of these was
}

// changes are cells of documents.
type changes map[uri.URI]map[docs.CellID]bool

func (c changes) add(key cellKey) {
	if c[key.doc] == nil {
		c[key.doc] = map[docs.CellID]bool{}
	}
	c[key.doc][key.cell] = true
}

// followed is a run whose events are entered.
type followed struct {
	Run
	output *printed // nil: it has no cell to be shown at
	ended  bool
}

// shown is what a document's diagnostics were when they were published last.
type shown struct {
	of     *docs.Snapshot
	cells  []cellDiagnostics     // of the cells that have any, in their order
	all    []protocol.Diagnostic // of all cells, in memory that the next ones will be in
	nobody bool                  // the client has been told of none, or that there are none
}

type cellDiagnostics struct {
	index int
	list  []protocol.Diagnostic
}

func newDiagnostics(s *server) feature {
	d := &diagnostics{
		s: s, events: newEventQueue(), failures: map[cellKey][]*failure{}, outputs: map[cellKey]*printed{}, runs: map[string]*followed{},
		folder: view.NewFolder(view.FoldOptions{}), shown: map[uri.URI]*shown{}, unopened: map[uri.URI]bool{}, dirty: changes{}, wordy: changes{},
	}
	return feature{
		methods:      d.methods(),
		capabilities: d.capabilities,
		changed:      d.changed,
		event:        d.event,
		cleared:      d.cleared,
		follow:       func(*workspace) { d.start.Do(func() { s.goOn("diagnostics", d.enterEvents) }) },
	}
}

// changed publishes what edits and settings have changed. Runs come by their events.
func (d *diagnostics) changed(c change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for u, doc := range c.docs {
		switch {
		case doc.opened:
			d.publish(u, nil, true)
		case doc.closed:
			d.publish(u, nil, false)
			d.forget()
		case doc.text:
			d.publish(u, nil, false)
		}
		d.publishRelated(u)
	}
	if c.settings {
		for u := range d.s.docs.View() {
			d.publish(u, nil, true)
		}
	}
}

// forget lets go of what hangs on documents that are not remembered any more. mu is held.
func (d *diagnostics) forget() {
	gone := func(key cellKey) bool { return d.s.docs.LastKnown(key.doc) == nil }
	maps.DeleteFunc(d.failures, func(key cellKey, _ []*failure) bool { return gone(key) })
	maps.DeleteFunc(d.outputs, func(key cellKey, _ *printed) bool { return gone(key) })
}

// publish brings what the client knows of a document up to date, if that is not so already. Cells that no edit has touched are looked at again only if
// they are among the dirty ones, or if anew is true. mu is held.
func (d *diagnostics) publish(u uri.URI, dirty map[docs.CellID]bool, anew bool) {
	doc, known := d.s.docs.View()[u], d.shown[u]
	if doc == nil {
		d.publishUnopened(u, known)
		return
	}
	told := false
	if known == nil {
		told = d.unopened[u]
		delete(d.unopened, u)
		known = &shown{nobody: !told}
		d.shown[u], anew = known, true
		d.opensHangs(doc)
	}
	changed := d.update(known, doc, dirty, anew) || told
	known.of = doc
	if !changed || known.nobody && len(known.cells) == 0 {
		return
	}
	known.nobody = len(known.cells) == 0
	n := 0
	for _, c := range known.cells {
		n += len(c.list)
	}
	clear(known.all)
	known.all = slices.Grow(known.all[:0], n)
	for _, c := range known.cells {
		known.all = append(known.all, c.list...)
	}
	d.send(u, doc, known.all)
}

// publishUnopened does it for a file that is not open, or no longer. mu is held.
func (d *diagnostics) publishUnopened(u uri.URI, known *shown) {
	list := d.hangsOfFile(u)
	if len(list) == 0 && !d.unopened[u] && (known == nil || known.nobody) {
		delete(d.shown, u)
		return
	}
	delete(d.shown, u)
	delete(d.unopened, u)
	if len(list) > 0 {
		d.unopened[u] = true
	}
	d.send(u, nil, list)
}

// update makes known's cells those of doc, and reports whether anything is not as it was. mu is held.
func (d *diagnostics) update(known *shown, doc *docs.Snapshot, dirty map[docs.CellID]bool, anew bool) (changed bool) {
	first, last, oldLen, down := 0, 0, 0, 0
	if old := known.of; old != nil {
		oldLen, down = old.File.Len(), doc.File.Lines()-old.File.Lines()
		if !anew {
			first, last = doc.File.Shared(old.File)
		}
	}
	n := doc.File.Len()
	again := d.lookAgain(doc, dirty, first, last)
	kept := known.cells[:0]
	var before []cellDiagnostics
	for _, c := range known.cells {
		shared := c.index <= first || c.index > oldLen-last
		if c.index > oldLen-last {
			c.index += n - oldLen
			if down != 0 {
				move(c.list, down)
				changed = true
			}
		}
		if _, look := slices.BinarySearch(again, c.index); !shared || look {
			before = append(before, c)
			continue
		}
		kept = append(kept, c)
	}
	var now []cellDiagnostics
	mode := d.s.config.ofDocument(doc).DiagnosticsOutput
	for _, index := range again {
		c, _ := doc.File.Cell(index)
		if list := diagnosticsOf(d.found(doc, c, mode)); len(list) > 0 {
			now = append(now, cellDiagnostics{index, list})
		}
	}
	clear(known.cells[len(kept):])
	known.cells = kept
	if len(now) > 0 {
		known.cells = append(known.cells, now...)
		slices.SortFunc(known.cells, func(a, b cellDiagnostics) int { return cmp.Compare(a.index, b.index) })
	}
	return changed || !slices.EqualFunc(before, now, func(a, b cellDiagnostics) bool {
		return a.index == b.index && reflect.DeepEqual(a.list, b.list)
	})
}

// lookAgain are the cells of a document, by index, that have to be looked at: the dirty ones, those with failures, which may hang on
// other cells, and all between the first and the last ones, which an edit has left alone. mu is held.
func (d *diagnostics) lookAgain(doc *docs.Snapshot, dirty map[docs.CellID]bool, first, last int) []int {
	wanted := map[docs.CellID]bool{}
	maps.Copy(wanted, dirty)
	for key := range d.failures {
		if key.doc == doc.URI {
			wanted[key.cell] = true
		}
	}
	for _, m := range d.hangs {
		if m.uri == doc.URI {
			wanted[m.at.cell] = true
		}
	}
	var again []int
	add := func(i int) {
		if 0 < i && i <= first || i > len(doc.IDs())-last {
			again = append(again, i)
		}
	}
	if len(wanted) <= fewCells {
		for id := range wanted {
			add(slices.Index(doc.IDs(), id) + 1)
		}
	} else {
		for i, id := range doc.IDs() {
			if wanted[id] {
				add(i + 1)
			}
		}
	}
	for i := first + 1; i <= len(doc.IDs())-last; i++ {
		again = append(again, i)
	}
	slices.Sort(again)
	return again
}

// move moves diagnostics down by some lines.
func move(list []protocol.Diagnostic, lines int) {
	for i := range list {
		r := &list[i].Range
		r.Start.Line = uint32(int(r.Start.Line) + lines)
		r.End.Line = uint32(int(r.End.Line) + lines)
	}
}

// send tells the client all diagnostics of a document, and does not keep them; doc is nil if it is not open. It takes the place of what the client has
// not read yet.
func (d *diagnostics) send(u uri.URI, doc *docs.Snapshot, list []protocol.Diagnostic) {
	if list == nil {
		list = []protocol.Diagnostic{} // not null
	}
	params := &protocol.PublishDiagnosticsParams{URI: u, Diagnostics: list}
	if can := d.can(); doc != nil && can.VersionSupport != nil && *can.VersionSupport {
		params.Version = protocol.NewOptional(doc.Version)
	}
	d.s.client.NotifyLatest(string(u), protocol.MethodTextDocumentPublishDiagnostics, params)
}

// can is what the client can do with diagnostics.
func (d *diagnostics) can() protocol.PublishDiagnosticsClientCapabilities {
	if t := d.s.client.Can.TextDocument; t != nil && t.PublishDiagnostics != nil {
		return *t.PublishDiagnostics
	}
	return protocol.PublishDiagnosticsClientCapabilities{}
}

// finding is a diagnostic and what it is made of.
type finding struct {
	protocol.Diagnostic
	problem *cells.Problem // nil: it is no problem
	failure *failure       // nil: it is no failure
	hang    *hangMark      // nil: it is no place where ranks wait
}

func diagnosticsOf(found []finding) []protocol.Diagnostic {
	var list []protocol.Diagnostic
	for _, f := range found {
		list = append(list, f.Diagnostic)
	}
	return list
}

// found is what there is to say about a cell, with the setting for output. mu is held.
func (d *diagnostics) found(doc *docs.Snapshot, c cells.Cell, mode string) []finding {
	var found []finding
	for _, p := range c.Problems() {
		found = append(found, finding{Diagnostic: problemDiagnostic(doc, p), problem: &p})
	}
	key := cellKey{doc.URI, doc.ID(c)}
	for _, f := range d.failures[key] {
		if diagnostic, ok := d.failureDiagnostic(doc, c, f); ok {
			found = append(found, finding{Diagnostic: diagnostic, failure: f})
		}
	}
	found = append(found, d.hangsOf(doc, c)...)
	if out := d.outputs[key]; out != nil {
		if text := out.show(mode); text != "" && out.text.SameCode(docs.TextOf(c)) {
			found = append(found, finding{Diagnostic: newDiagnostic(doc.LineRange(c.Line()), protocol.DiagnosticSeverityInformation, "output", text)})
		}
	}
	return found
}

func newDiagnostic(r protocol.Range, severity protocol.DiagnosticSeverity, code, message string) protocol.Diagnostic {
	return protocol.Diagnostic{
		Range: r, Severity: severity, Code: protocol.String(clean.Brief(code)), Source: protocol.NewOptional(diagnosticSource), Message: protocol.String(clean.Text(message)),
	}
}

func problemDiagnostic(doc *docs.Snapshot, p cells.Problem) protocol.Diagnostic {
	severity := protocol.DiagnosticSeverityWarning
	switch p.Severity {
	case cells.Error:
		severity = protocol.DiagnosticSeverityError
	case cells.Hint:
		severity = protocol.DiagnosticSeverityHint
	}
	text := p.Message
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return newDiagnostic(doc.Range(p.Range), severity, string(p.Code), text)
}

// failureDiagnostic is a failure where it stands now; ok is false if that is nowhere. mu is held.
func (d *diagnostics) failureDiagnostic(doc *docs.Snapshot, c cells.Cell, f *failure) (_ protocol.Diagnostic, ok bool) {
	line, ok := f.at.in(c)
	if !ok {
		return protocol.Diagnostic{}, false
	}
	if f.owner.doc == doc.URI && f.owner.cell != f.at.cell {
		owner, ok := doc.Find(f.owner.cell)
		if !ok || !f.ownerText.SameCode(docs.TextOf(owner)) {
			return protocol.Diagnostic{}, false
		}
	}
	diagnostic := newDiagnostic(doc.CodeRange(c, line, f.name()), f.severity, f.code, f.message())
	if related := d.can().RelatedInformation; related != nil && *related {
		diagnostic.RelatedInformation = d.related(f)
	}
	return diagnostic, true
}
