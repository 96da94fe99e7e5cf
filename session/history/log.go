package history

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// Options configure a [Log].
type Options struct {
	Bytes int // how much output is kept; 0: 4 MiB
	Runs  int // how many runs are kept that have ended, besides the last one of each cell; 0: 200
	Cells int // of how many cells the last run is kept; 0: 1000

	// Encode writes an event as JSON when it is appended, so that those who send it need not. Output is not written: it would take room twice. Nil: none is.
	Encode func(event.Event) []byte
}

// Log is what a session has told. Its methods may be called at the same time.
type Log struct {
	o Options

	// order is held by whoever appends, so that events which belong together stay so. It is taken before mu.
	order sync.Mutex

	mu      sync.Mutex // guards what follows
	entries []entry    // by seq; dropped ones go from time to time
	gone    int        // how many entries are dropped and still there
	seq     uint64     // of the last entry
	end     uint64     // position of the last entry
	output  int        // bytes of output that are kept
	total   uint64     // bytes of output that were ever appended
	oldest  uint64     // no output is kept before this seq
	runs    map[string]*run
	ended   []*run          // runs that have ended and are no cell's last, the earliest first
	last    map[string]*run // by cell: its last run
	cells   []string        // keys of last, the earliest first
	loose   []uint64        // seqs of entries that belong to no run, the earliest first
	pool    uint64          // seq of the last pool_state, which is kept; 0: there is none
	cursors []*Cursor
	closed  bool
}

// entry is an event in its place.
type entry struct {
	seq, pos uint64
	ev       event.Event // nil: it was dropped
	json     []byte      // of what is no output, if it was written
	size     int         // bytes of output; 0: it is no output
	total    uint64      // the log's total with this one
	run      *run        // nil: it belongs to none
}

// run is what a log knows of a run.
type run struct {
	id        string
	index     *int   // of its cell
	cell      string // by which its cell is known; "": it has none
	journal   string
	first     uint64 // seq of its first entry
	lastSeq   uint64 // seq of its last entry
	endSeq    uint64 // seq of its end
	hasEnded  bool
	forgotten bool
	missed    missed // what was dropped of its output
}

// missed is output of a run that was dropped.
type missed struct {
	first uint64 // seq of the first
	bytes int64
	who   map[ranklist.Who]bool
}

func (m *missed) add(seq uint64, size int, ev event.Event) {
	if m.who == nil {
		m.first, m.who = seq, map[ranklist.Who]bool{}
	}
	m.bytes += int64(size)
	who, _ := ev.Head().Who()
	m.who[who] = true
}

// New returns an empty log.
func New(o Options) *Log {
	o.Bytes, o.Runs, o.Cells = cmp.Or(o.Bytes, 4<<20), cmp.Or(o.Runs, 200), cmp.Or(o.Cells, 1000)
	return &Log{o: o, runs: map[string]*run{}, last: map[string]*run{}}
}

// keptLoose is how many events are kept that belong to no run.
const keptLoose = 200

// Append appends events, each at the next position, and returns the position of the last one. It never waits for a reader. A run_started that does not say
// when it began begins now.
func (l *Log) Append(events ...event.Event) (end uint64) {
	l.order.Lock()
	defer l.order.Unlock()
	return l.append(events)
}

// AppendFirst appends what begin returns, before anything that others append meanwhile. It is for events that come before those which begin causes.
func (l *Log) AppendFirst(begin func() []event.Event) {
	l.order.Lock()
	defer l.order.Unlock()
	l.append(begin())
}

func (l *Log) append(events []event.Event) (end uint64) {
	events = slices.Clone(events)
	written := make([][]byte, len(events))
	for i, ev := range events {
		events[i], written[i] = l.prepare(ev)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, ev := range events {
		l.enter(ev, written[i], l.end+1)
	}
	l.appended()
	return l.end
}

// Mirror appends events of another log at their positions there, of which each is at least the one before it. Everything up to position end is there then.
func (l *Log) Mirror(events []event.Event, positions []uint64, end uint64) {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, ev := range events {
		pos := end
		if i < len(positions) {
			pos = positions[i]
		}
		l.enter(ev, nil, max(pos, l.end))
	}
	l.end = max(l.end, end)
	l.appended()
}

// appended drops what is too much, and wakes the readers. mu is held.
func (l *Log) appended() {
	l.dropOutput()
	l.forgetRuns()
	l.compact()
	for _, c := range l.cursors {
		c.wake()
	}
}

// prepare stamps and writes an event.
func (l *Log) prepare(ev event.Event) (stamped event.Event, json []byte) {
	if began, ok := ev.(*event.RunStarted); ok && began.Began.IsZero() {
		copied := *began
		copied.Began = time.Now()
		ev = &copied
	}
	if l.o.Encode != nil && sizeOf(ev) == 0 {
		json = l.o.Encode(ev)
	}
	return ev, json
}

// enter appends an event. mu is held.
func (l *Log) enter(ev event.Event, json []byte, pos uint64) {
	if l.closed {
		return
	}
	l.seq++
	l.end = pos
	e := entry{seq: l.seq, pos: pos, ev: ev, json: json, size: sizeOf(ev)}
	l.output += e.size
	l.total += uint64(e.size)
	e.total = l.total
	e.run = l.runOf(ev)
	if e.run != nil {
		e.run.lastSeq = e.seq
	} else if ev.Head().Kind == event.KindPoolState {
		if l.pool > 0 {
			l.loose = append(l.loose, l.pool)
		}
		l.pool = e.seq
	} else {
		l.loose = append(l.loose, e.seq)
	}
	l.entries = append(l.entries, e)
}

// runOf is the run that an event belongs to, with what the event tells about it; nil: it belongs to none. mu is held.
func (l *Log) runOf(ev event.Event) *run {
	h := ev.Head()
	if h.Run == "" {
		return nil
	}
	r := l.runs[h.Run]
	late := r == nil // of a run that was forgotten, and will not end again, unless this is its beginning
	if late {
		r = &run{id: h.Run, first: l.seq}
		l.runs[h.Run] = r
	}
	if h.Cell != nil {
		r.index = h.Cell
	}
	switch ev := ev.(type) {
	case *event.RunQueued:
		if ev.Path != "" && ev.Source != "" {
			r.cell = string(ev.Path) + "\x00" + ev.Source
		}
	case *event.RunStarted:
		r.journal = string(ev.Journal)
	case *event.RunFinished:
		l.runEnded(r)
	default:
		if late {
			l.runEnded(r)
		}
	}
	return r
}

// runEnded makes a run its cell's last, or one that is forgotten after a while. mu is held.
func (l *Log) runEnded(r *run) {
	if r.hasEnded {
		return
	}
	r.hasEnded, r.endSeq = true, l.seq
	if r.cell == "" {
		l.ended = append(l.ended, r)
		return
	}
	if before := l.last[r.cell]; before != nil {
		l.wasLast(before)
		l.cells = slices.DeleteFunc(l.cells, func(cell string) bool { return cell == r.cell })
	}
	l.last[r.cell] = r
	l.cells = append(l.cells, r.cell)
	if len(l.cells) > l.o.Cells {
		l.wasLast(l.last[l.cells[0]])
		delete(l.last, l.cells[0])
		l.cells = l.cells[1:]
	}
}

// wasLast puts a run that was its cell's last among those that are forgotten after a while. mu is held.
func (l *Log) wasLast(r *run) {
	i, _ := slices.BinarySearchFunc(l.ended, r, func(a, b *run) int { return cmp.Compare(a.endSeq, b.endSeq) })
	l.ended = slices.Insert(l.ended, i, r)
}

// dropOutput drops the oldest output until little enough is left. The last output stays, however much it is. mu is held.
func (l *Log) dropOutput() {
	if l.output <= l.o.Bytes {
		return
	}
	i := l.index(l.oldest)
	for ; i < len(l.entries)-1 && l.output > l.o.Bytes; i++ {
		e := &l.entries[i]
		if e.size == 0 || e.ev == nil {
			continue
		}
		if e.run != nil {
			e.run.missed.add(e.seq, e.size, e.ev)
		}
		for _, c := range l.cursors {
			if c.seq < e.seq && c.gets(e.ev) {
				c.miss(e)
				c.lags = true
			}
		}
		l.drop(e)
	}
	l.oldest = l.entries[min(i, len(l.entries)-1)].seq
}

// forgetRuns drops the runs that ended longest ago, and events of no run, when there are too many. What a reader has not come to stays. mu is held.
func (l *Log) forgetRuns() {
	for len(l.ended) > l.o.Runs && l.wasRead(l.ended[0].lastSeq) {
		r := l.ended[0]
		l.ended = l.ended[1:]
		for i := l.index(r.first); i < len(l.entries) && l.entries[i].seq <= r.lastSeq; i++ {
			if l.entries[i].run == r {
				l.drop(&l.entries[i])
			}
		}
		r.forgotten = true
		delete(l.runs, r.id)
	}
	for len(l.loose) > keptLoose && l.wasRead(l.loose[0]) {
		if i := l.index(l.loose[0]); i < len(l.entries) && l.entries[i].seq == l.loose[0] {
			l.drop(&l.entries[i])
		}
		l.loose = l.loose[1:]
	}
}

// wasRead reports whether every reader is past an entry. mu is held.
func (l *Log) wasRead(seq uint64) bool {
	return !slices.ContainsFunc(l.cursors, func(c *Cursor) bool { return c.seq < seq })
}

// Forget drops those events of no run which are meant. A reader that has not come to one never does.
func (l *Log) Forget(meant func(event.Event) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loose = slices.DeleteFunc(l.loose, func(seq uint64) bool {
		i := l.index(seq)
		if i == len(l.entries) || l.entries[i].seq != seq || l.entries[i].ev == nil || !meant(l.entries[i].ev) {
			return false
		}
		l.drop(&l.entries[i])
		return true
	})
	l.compact()
}

// drop forgets an entry. mu is held.
func (l *Log) drop(e *entry) {
	if e.ev == nil {
		return
	}
	l.output -= e.size
	e.ev, e.json = nil, nil
	l.gone++
}

// compact frees the room of dropped entries, once that is half of it. mu is held.
func (l *Log) compact() {
	if l.gone > 64 && l.gone > len(l.entries)/2 {
		l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return e.ev == nil })
		l.entries = slices.Clip(l.entries)
		l.gone = 0
	}
}

// index is where the first entry is whose seq is at least that. mu is held.
func (l *Log) index(seq uint64) int {
	i, _ := slices.BinarySearchFunc(l.entries, seq, func(e entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	return i
}

// End is the position of the last event; 0 if there is none.
func (l *Log) End() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// Queued are the kept run_queued events of a run and of those after it, up to a position, and those that come directly after it: no event of the session
// lies between. at is the position of the last of them, or the given one.
func (l *Log) Queued(run string, end uint64) (events []event.Event, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.runs[run]
	if r == nil {
		return nil, end
	}
	for _, e := range l.entries[l.index(r.first):] {
		q, ok := e.ev.(*event.RunQueued)
		switch {
		case ok:
			events, end = append(events, q), max(end, e.pos)
		case e.pos > end:
			return events, end
		}
	}
	return events, end
}

// Close says that nothing will be appended. Readers come to the end once they have read everything.
func (l *Log) Close() {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.cursors {
		c.wake()
	}
}

// sizeOf is how many bytes of output an event has; 0: it is no output.
func sizeOf(ev event.Event) (n int) {
	switch ev := ev.(type) {
	case *event.Stream:
		return len(ev.Text)
	case *event.Display:
		for mime, data := range ev.Data {
			n += len(mime) + len(data)
		}
	case *event.Result:
		for mime, data := range ev.Data {
			n += len(mime) + len(data)
		}
	}
	return n
}
