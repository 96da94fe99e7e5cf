package lsp

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
)

const (
	// soon is the least time between two publications of what runs do, so that many short runs cost little.
	soon = 50 * time.Millisecond
	// later is the same for what runs print. Nobody reads faster than that.
	later = 300 * time.Millisecond
	// keptFollowed is how many runs are followed after their end, for output that comes late.
	keptFollowed = 64
)

// marks is the store of what there is to say at places in documents. Each feature leaves its marks in a [layer]; the store shows them to the client as
// diagnostics (marks_publish.go). A mark is tied to a line of a cell, and is shown while the cell's text is what ran.
//
// Events wait in a queue, from which one goroutine hands them to the sources, in order. That goroutine publishes diagnostics, and so does the feed's. An edit
// costs no more than the cells that it touches, unless diagnostics move.
type marks struct {
	s       *server
	sources []source   // complete before there is anything to enter
	layers  []anyLayer // likewise
	events  eventQueue

	mu       sync.Mutex           // guards what follows, the layers, and what the sources keep
	runs     map[string]*followed // that are running, or ended not long ago
	ended    []string             // those of runs that have ended, oldest first
	shown    map[uri.URI]*shown   // of open documents
	unopened map[uri.URI]bool     // files that are not open, of which the client has been told something
	dirty    changes              // has to be published soon
	wordy    changes              // likewise, but it is only output
	last     time.Time            // when one of these was
}

// source is a feature that has something to say in documents. Its functions may be nil. They are called one at a time, under the store's lock, so their own
// data needs no lock. They must not wait, nor call anything that takes the store's lock.
type source struct {
	// text returns the marks that follow from the text of a cell alone.
	text func(doc *docs.Snapshot, c cells.Cell) []finding
	// event is told the events of runs, from RunStarted to RunFinished, and the output that comes after that.
	event func(r *followed, ev event.Event, now time.Time)
	// opened is told of a document that has been opened, before it is published.
	opened func(doc *docs.Snapshot)
	// cleared drops what runs have left in a document, except runs that go on; over reports whether a run has ended.
	cleared func(u uri.URI, over func(run string) bool)
	// flush is called after events were handed out, and at the deadline that the source has given.
	flush    func(now time.Time)
	deadline func() (at time.Time, ok bool)
	// settle is called before documents are published, for what costs too much to do at every event.
	settle func()
}

// followed is a run whose events are entered.
type followed struct {
	Run
	ended bool
}

// mark is something to say at a spot because of a run. Whoever changes it holds the store's lock, and calls [marks.touch] then.
type mark struct {
	spot
	wholeLine bool   // the mark covers the spot's whole line, with its blanks
	word      string // the mark covers only this word, if the line has it exactly once
	severity  protocol.DiagnosticSeverity
	code      string
	text      func(Settings) string // "": there is nothing to say
	owner     anchor                // the cell that ran, if that is another one: the mark is shown while that cell's text is what ran
	related   []related
	remedy    func() remedy // what can be done about it; nil: nothing
	unopened  bool          // it is also shown while its file is not open
}

// related is another place that a mark refers to, and what to say there.
type related struct {
	*spot
	text string
}

// remedy is what can be done about a mark: at most one of these.
type remedy struct {
	replacement string       // to write this in its place
	missing     *missingName // to bring a variable from where it is
	hung        string       // a run, to free its ranks and see where they are
}

// missingName is a name that code has looked for in vain.
type missingName struct {
	name   string
	who    []ranklist.Who // where, ascending
	target string         // of the run; "": a cell has asked for it
	owner  cellKey        // that ran
	whole  bool           // all of it
}

// self makes every type that embeds a mark [marked].
func (k *mark) self() *mark { return k }

// marked is what a feature keeps of a mark.
type marked interface{ self() *mark }

// layer has the marks of one feature, by cell. The store's lock guards it.
type layer[T marked] struct {
	store *marks
	wide  bool // its marks depend on more than the text of the cell where they are
	items map[cellKey][]T
}

// anyLayer is a layer of any type.
type anyLayer interface {
	isWide() bool
	at(key cellKey) iter.Seq[*mark]
	all() iter.Seq[*mark]
	forget(gone func(cellKey) bool)
	rename(from, to uri.URI)
}

// newLayer makes a layer for a feature. A wide one has marks that depend on more than the text of the cell where they are.
func newLayer[T marked](m *marks, wide bool) *layer[T] {
	l := &layer[T]{store: m, wide: wide, items: map[cellKey][]T{}}
	m.layers = append(m.layers, l)
	return l
}

func newMarks(s *server) *marks {
	return &marks{
		s: s, events: newEventQueue(), runs: map[string]*followed{},
		shown: map[uri.URI]*shown{}, unopened: map[uri.URI]bool{}, dirty: changes{}, wordy: changes{},
	}
}

// addSource adds a source, which is told what happens from then on.
func (m *marks) addSource(src source) { m.sources = append(m.sources, src) }

// add leaves a mark.
func (l *layer[T]) add(item T) {
	k := item.self()
	l.items[k.key()] = append(l.items[k.key()], item)
	l.store.touch(k)
}

// set leaves a mark in place of all others that the layer has in its cell.
func (l *layer[T]) set(item T) {
	k := item.self()
	l.items[k.key()] = []T{item}
	l.store.touch(k)
}

// drop takes marks away.
func (l *layer[T]) drop(gone func(T) bool) {
	for key, list := range l.items {
		left := slices.DeleteFunc(slices.Clone(list), gone)
		switch {
		case len(left) == len(list):
			continue
		case len(left) == 0:
			delete(l.items, key)
		default:
			l.items[key] = left
		}
		l.store.dirty.add(key)
	}
}

// of returns the marks in a cell.
func (l *layer[T]) of(key cellKey) []T { return l.items[key] }

func (l *layer[T]) isWide() bool { return l.wide }

func (l *layer[T]) at(key cellKey) iter.Seq[*mark] {
	return func(yield func(*mark) bool) {
		for _, item := range l.items[key] {
			if !yield(item.self()) {
				return
			}
		}
	}
}

func (l *layer[T]) all() iter.Seq[*mark] {
	return func(yield func(*mark) bool) {
		for _, list := range l.items {
			for _, item := range list {
				if !yield(item.self()) {
					return
				}
			}
		}
	}
}

func (l *layer[T]) forget(gone func(cellKey) bool) {
	for key, list := range l.items {
		if gone(key) {
			l.items[key] = slices.DeleteFunc(list, func(item T) bool { return item.self().tied && !item.self().unopened })
		}
	}
	maps.DeleteFunc(l.items, func(_ cellKey, list []T) bool { return len(list) == 0 })
}

func (l *layer[T]) rename(from, to uri.URI) {
	items := make(map[cellKey][]T, len(l.items))
	for key, list := range l.items {
		for _, item := range list {
			item.self().rename(from, to)
		}
		if key.doc == from {
			key.doc = to
		}
		items[key] = append(items[key], list...)
	}
	l.items = items
}

// rename takes the mark to another uri of a document.
func (k *mark) rename(from, to uri.URI) {
	for _, u := range []*uri.URI{&k.uri, &k.at.doc, &k.owner.doc} {
		if *u == from {
			*u = to
		}
	}
	for _, r := range k.related {
		if r.uri == from {
			r.uri = to
		}
		if r.at.doc == from {
			r.at.doc = to
		}
	}
}

// changes are cells of documents.
type changes map[uri.URI]map[docs.CellID]bool

func (c changes) add(key cellKey) {
	if key.doc == "" {
		return
	}
	if c[key.doc] == nil {
		c[key.doc] = map[docs.CellID]bool{}
	}
	c[key.doc][key.cell] = true
}

// touch marks the cell of a mark as changed, so that it is published again soon.
func (m *marks) touch(k *mark) { m.dirty.add(k.key()) }

// touchOutput is touch for output, which can wait a little longer.
func (m *marks) touchOutput(k *mark) { m.wordy.add(k.key()) }

// follows reports whether events of a run are entered: it goes on, or ended not long ago.
func (m *marks) follows(run string) bool { return m.runs[run] != nil }

// event queues what marks are made of.
func (m *marks) event(w *workspace, ev event.Event) {
	switch ev.(type) {
	case *event.Stream, *event.Display, *event.Result, *event.Log:
		if m.s.config.of(w.dir).DiagnosticsOutput != outputOff {
			m.events.put(ev)
		}
	case *event.RunStarted, *event.RankState, *event.Failure, *event.RunFinished, *event.Hang:
		m.events.put(ev)
	}
}

// run enters queued events and publishes what they change, until the connection ends.
func (m *marks) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-m.events.wake:
		case <-timer.C:
		case <-m.s.ctx.Done():
			return
		}
		m.s.contained("marks", func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.enterAll(time.Now())
			m.publishDue(time.Now())
			timer.Reset(m.patience())
		})
	}
}

// enterAll enters the events that are queued. mu is held.
func (m *marks) enterAll(now time.Time) {
	for _, e := range m.events.take() {
		m.enter(e.ev, now)
	}
	for _, src := range m.sources {
		if src.flush != nil {
			src.flush(now)
		}
	}
}

// enter enters one event. mu is held.
func (m *marks) enter(ev event.Event, now time.Time) {
	id := ev.Head().Run
	if _, ok := ev.(*event.RunStarted); ok {
		if r, ok := m.s.board.kept(id); ok {
			m.runs[id] = &followed{Run: r}
			m.ended = slices.DeleteFunc(m.ended, func(other string) bool { return other == id }) // it was thought dead
		}
	}
	r := m.runs[id]
	if r == nil {
		return
	}
	for _, src := range m.sources {
		if src.event != nil {
			src.event(r, ev, now)
		}
	}
	if _, ok := ev.(*event.RunFinished); ok {
		r.ended = true
		m.ended = append(m.ended, id)
		for len(m.ended) > keptFollowed {
			delete(m.runs, m.ended[0])
			m.ended = m.ended[1:]
		}
	}
}

// publishDue publishes the documents whose time has come. mu is held.
func (m *marks) publishDue(now time.Time) {
	if len(m.dirty) == 0 && len(m.wordy) == 0 || now.Sub(m.last) < m.gap() {
		return
	}
	m.last = now
	for _, src := range m.sources {
		if src.settle != nil {
			src.settle()
		}
	}
	for u, dirty := range m.wordy {
		for id := range dirty {
			m.dirty.add(cellKey{u, id})
		}
	}
	for u, dirty := range m.dirty {
		m.publish(u, dirty, false)
	}
	clear(m.dirty)
	clear(m.wordy)
}

// gap is how long what there is to publish waits after the last time. mu is held.
func (m *marks) gap() time.Duration {
	if len(m.dirty) > 0 {
		return soon
	}
	return later
}

// patience is how long there is nothing to do without new events. mu is held.
func (m *marks) patience() time.Duration {
	wait := time.Hour
	if len(m.dirty) > 0 || len(m.wordy) > 0 {
		wait = time.Until(m.last.Add(m.gap()))
	}
	for _, src := range m.sources {
		if src.deadline == nil {
			continue
		}
		if deadline, ok := src.deadline(); ok {
			wait = min(wait, time.Until(deadline))
		}
	}
	return max(wait, 0)
}

// clear forgets what runs have left in a document, except runs that go on.
func (m *marks) clear(u uri.URI) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enterAll(time.Now())
	m.drop(u, func(run string) bool { r := m.runs[run]; return r == nil || r.ended })
	m.last = time.Time{}
	m.publishDue(time.Now())
}

// leave forgets what runs have left that the board has dropped, by their ids.
func (m *marks) leave(gone map[string]Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enterAll(time.Now())
	docs := map[uri.URI]bool{}
	for id, r := range gone {
		docs[r.Doc] = true
		if follows := m.runs[id]; follows != nil && !follows.ended {
			m.enter(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: id}, Status: event.StatusInterrupted}, time.Now())
		}
	}
	for u := range docs {
		m.drop(u, func(run string) bool { _, ok := gone[run]; return ok })
	}
	m.last = time.Time{}
	m.publishDue(time.Now())
}

// rename takes marks to another uri of their document.
func (m *marks) rename(from, to uri.URI) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.runs {
		if r.Doc == from {
			m.runs[id].Doc = to
		}
	}
	for _, l := range m.layers {
		l.rename(from, to)
	}
}

// drop forgets what runs have left in a document; over says which of them. mu is held.
func (m *marks) drop(u uri.URI, over func(run string) bool) {
	for _, src := range m.sources {
		if src.cleared != nil {
			src.cleared(u, over)
		}
	}
}
