package lsp

import (
	"cmp"
	"iter"
	"maps"
	"reflect"
	"slices"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

const (
	// diagnosticSource is the source of every diagnostic.
	diagnosticSource = "dip"
	// fewCells is the number of cells up to which it is faster to search for each than to go through all cells.
	fewCells = 32
	// maxRelated is how many other places a diagnostic refers to at most.
	maxRelated = 30
)

// shown has a document's diagnostics as they were published last.
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

// changed publishes what edits and settings have changed. What runs change comes with their events.
func (m *marks) changed(c change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for u, doc := range c.docs {
		switch {
		case doc.opened:
			m.publish(u, nil, true)
		case doc.closed:
			m.publish(u, nil, false)
			m.forget()
		case doc.text:
			m.publish(u, nil, false)
		}
		m.publishRelated(u)
	}
	if c.settings {
		for u := range m.s.docs.View() {
			m.publish(u, nil, true)
		}
	}
}

// forget drops the marks of documents that are not remembered any more. mu is held.
func (m *marks) forget() {
	for _, l := range m.layers {
		l.forget(func(key cellKey) bool { return m.s.docs.LastKnown(key.doc) == nil })
	}
}

// publish sends a document's diagnostics if the client does not have them yet. It looks again at cells that were edited, at the dirty ones, and if anew is
// true at all. mu is held.
func (m *marks) publish(u uri.URI, dirty map[docs.CellID]bool, anew bool) {
	doc, known := m.s.docs.View()[u], m.shown[u]
	if doc == nil {
		m.publishUnopened(u, known)
		return
	}
	told := false
	if known == nil {
		told = m.unopened[u]
		delete(m.unopened, u)
		known = &shown{nobody: !told}
		m.shown[u], anew = known, true
		for _, src := range m.sources {
			if src.opened != nil {
				src.opened(doc)
			}
		}
	}
	changed := m.update(known, doc, dirty, anew) || told
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
	m.send(u, doc, known.all)
}

// publishUnopened is publish for a file that is not open. mu is held.
func (m *marks) publishUnopened(u uri.URI, known *shown) {
	list := m.foundInFile(u)
	if len(list) == 0 && !m.unopened[u] && (known == nil || known.nobody) {
		delete(m.shown, u)
		return
	}
	delete(m.shown, u)
	delete(m.unopened, u)
	if len(list) > 0 {
		m.unopened[u] = true
	}
	m.send(u, nil, list)
}

// update brings known up to date with doc, and reports whether anything has changed. mu is held.
func (m *marks) update(known *shown, doc *docs.Snapshot, dirty map[docs.CellID]bool, anew bool) (changed bool) {
	first, last, oldLen, down := 0, 0, 0, 0
	if old := known.of; old != nil {
		oldLen, down = old.File.Len(), doc.File.Lines()-old.File.Lines()
		if !anew {
			first, last = doc.File.Shared(old.File)
		}
	}
	n := doc.File.Len()
	again := m.lookAgain(doc, dirty, first, last)
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
	settings := m.s.config.ofDocument(doc)
	for _, index := range again {
		c, _ := doc.File.Cell(index)
		if list := diagnosticsOf(m.found(doc, c, settings)); len(list) > 0 {
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

// lookAgain returns the indices of the cells that have to be looked at: the dirty ones, those with marks that depend on other cells, and those that an edit
// may have changed: all but so many first and last ones. mu is held.
func (m *marks) lookAgain(doc *docs.Snapshot, dirty map[docs.CellID]bool, first, last int) []int {
	wanted := map[docs.CellID]bool{}
	maps.Copy(wanted, dirty)
	for k := range m.wide() {
		if k.uri == doc.URI {
			wanted[k.at.cell] = true
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

// send sends all diagnostics of a document, and does not keep the list. doc is nil if it is not open. The message replaces one that the client has not
// read.
func (m *marks) send(u uri.URI, doc *docs.Snapshot, list []protocol.Diagnostic) {
	if list == nil {
		list = []protocol.Diagnostic{} // not null
	}
	params := &protocol.PublishDiagnosticsParams{URI: u, Diagnostics: list}
	if can := m.can(); doc != nil && can.VersionSupport != nil && *can.VersionSupport {
		params.Version = protocol.NewOptional(doc.Version)
	}
	m.s.client.NotifyLatest(string(u), protocol.MethodTextDocumentPublishDiagnostics, params)
}

// can returns what the client can do with diagnostics.
func (m *marks) can() protocol.PublishDiagnosticsClientCapabilities {
	if t := m.s.client.Can.TextDocument; t != nil && t.PublishDiagnostics != nil {
		return *t.PublishDiagnostics
	}
	return protocol.PublishDiagnosticsClientCapabilities{}
}

// finding is a diagnostic and what it was made of.
type finding struct {
	protocol.Diagnostic
	remedy remedy
	mark   *mark // that has the remedy; nil: remedy is that already
}

func diagnosticsOf(found []finding) []protocol.Diagnostic {
	var list []protocol.Diagnostic
	for _, f := range found {
		list = append(list, f.Diagnostic)
	}
	return list
}

// found returns what there is to say about a cell. mu is held.
func (m *marks) found(doc *docs.Snapshot, c cells.Cell, settings Settings) []finding {
	var found []finding
	for _, src := range m.sources {
		if src.text != nil {
			found = append(found, src.text(doc, c)...)
		}
	}
	key := cellKey{doc.URI, doc.ID(c)}
	for _, l := range m.layers {
		for k := range l.at(key) {
			if f, ok := m.finding(k, doc, c, settings); ok {
				found = append(found, f)
			}
		}
	}
	return found
}

// finding makes a mark's diagnostic for a cell as it is now; ok is false if there is nothing to say. mu is held.
func (m *marks) finding(k *mark, doc *docs.Snapshot, c cells.Cell, settings Settings) (_ finding, ok bool) {
	line, ok := k.at.in(c)
	if !ok || !k.tied {
		return finding{}, false
	}
	if k.owner.doc == doc.URI && k.owner.cell != k.at.cell {
		owner, ok := doc.Find(k.owner.cell)
		if !ok || !k.owner.text.SameCode(docs.TextOf(owner)) {
			return finding{}, false
		}
	}
	text := k.text(settings)
	if text == "" {
		return finding{}, false
	}
	where := doc.LineRange(line)
	if !k.wholeLine {
		where = doc.CodeRange(c, line, k.word)
	}
	return finding{Diagnostic: m.diagnostic(k, where, text), mark: k}, true
}

// diagnostic makes a mark's diagnostic at a place. mu is held.
func (m *marks) diagnostic(k *mark, where protocol.Range, text string) protocol.Diagnostic {
	diagnostic := newDiagnostic(where, k.severity, k.code, text)
	if can := m.can().RelatedInformation; can == nil || !*can {
		return diagnostic
	}
	open := m.s.docs.View()
	for _, r := range k.related {
		if len(diagnostic.RelatedInformation) == maxRelated {
			break
		}
		if location, ok := r.location(open); ok {
			diagnostic.RelatedInformation = append(diagnostic.RelatedInformation, protocol.DiagnosticRelatedInformation{Location: location, Message: r.text})
		}
	}
	return diagnostic
}

// foundInFile returns what there is to say about a file that is not open, from its top. mu is held.
func (m *marks) foundInFile(u uri.URI) []protocol.Diagnostic {
	var list []protocol.Diagnostic
	open, settings := m.s.docs.View(), m.s.config.of(m.s.folderOf(docs.PathOf(u)))
	for k := range m.wide() {
		if !k.unopened || k.uri != u {
			continue
		}
		location, ok := k.location(open)
		if text := k.text(settings); ok && text != "" {
			list = append(list, m.diagnostic(k, location.Range, text))
		}
	}
	slices.SortStableFunc(list, func(a, b protocol.Diagnostic) int { return cmp.Compare(a.Range.Start.Line, b.Range.Start.Line) })
	return list
}

// wide yields the marks that depend on more than the text of their cell. mu is held.
func (m *marks) wide() iter.Seq[*mark] {
	return func(yield func(*mark) bool) {
		for _, l := range m.layers {
			if !l.isWide() {
				continue
			}
			for k := range l.all() {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// publishRelated updates the diagnostics of other documents that refer to places in this one. mu is held.
func (m *marks) publishRelated(u uri.URI) {
	others := changes{}
	for k := range m.wide() {
		if k.uri != u && slices.ContainsFunc(k.related, func(r related) bool { return r.uri == u }) {
			others.add(k.key())
		}
	}
	for other, cells := range others {
		m.publish(other, cells, false)
	}
}

// foundIn returns the findings that a range of a document touches, with their remedies.
func (m *marks) foundIn(doc *docs.Snapshot, r protocol.Range) []finding {
	first, ok := doc.CellAt(r.Start)
	if !ok {
		if first, ok = doc.File.Cell(1); !ok {
			return nil
		}
	}
	settings := m.s.config.ofDocument(doc)
	var found []finding
	m.mu.Lock()
	defer m.mu.Unlock()
	for c, ok := first, true; ok && c.Line() <= int(r.End.Line)+1; c, ok = doc.File.Cell(c.Index() + 1) {
		for _, f := range m.found(doc, c, settings) {
			if before(f.Range.End, r.Start) || before(r.End, f.Range.Start) {
				continue
			}
			if f.mark != nil && f.mark.remedy != nil {
				f.remedy = f.mark.remedy()
			}
			found = append(found, f)
		}
	}
	return found
}

func before(p, q protocol.Position) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Character < q.Character
}

func newDiagnostic(r protocol.Range, severity protocol.DiagnosticSeverity, code, message string) protocol.Diagnostic {
	return protocol.Diagnostic{
		Range: r, Severity: severity, Code: protocol.String(clean.Brief(code)),
		Source: protocol.NewOptional(diagnosticSource), Message: protocol.String(clean.Text(message)),
	}
}
