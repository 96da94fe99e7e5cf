package lsp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

const (
	// lastLines is how many lines of output a diagnostic has under the setting "last".
	lastLines = 5
	// fullLines and fullBytes bound it under "full": editors are no pagers, and all of it is in the journal.
	fullLines      = 1000
	fullOutputSize = 64 << 10
	// queuedOutput is how much output waits to be folded; what is older is left out.
	queuedOutput = 4 << 20
	// eventOverhead is about what an event takes besides its text.
	eventOverhead = 256
	// keptFollowed is how many runs are known after their end, for what they still print.
	keptFollowed = 64
)

// Values of the setting dip.diagnostics.output.
const (
	outputOff  = "off"
	outputLast = "last"
)

// printed is what a cell's run has printed, and the runs that this one has asked for.
type printed struct {
	cellKey
	text    docs.CellText // of the cell
	run     string
	lines   []string // final
	size    int      // of lines
	missing bool     // there were lines before these
	live    []string // unfinished: progress bars
}

// outputOf is where a run's output goes; nil if to no cell. A whole or partial run of a cell begins anew. mu is held.
func (d *diagnostics) outputOf(r Run) *printed {
	if parent := d.runs[r.Parent]; parent != nil {
		return parent.output
	}
	if r.Cell == 0 {
		return nil
	}
	p := &printed{cellKey: cellKey{r.Doc, r.Cell}, text: r.text, run: r.ID}
	if d.outputs[p.cellKey] != nil {
		d.dirty.add(p.cellKey)
	}
	d.outputs[p.cellKey] = p
	return p
}

// add adds a text of one or more lines.
func (p *printed) add(text string) {
	for line := range strings.Lines(clean.Text(text)) {
		line = strings.TrimRight(line, "\r\n")
		p.lines = append(p.lines, line)
		p.size += len(line) + 1
	}
	for len(p.lines) > fullLines || p.size > fullOutputSize && len(p.lines) > 1 {
		p.size -= len(p.lines[0]) + 1
		p.lines = p.lines[1:]
		p.missing = true
	}
	if len(p.lines) == 1 {
		p.lines[0] = cutStart(p.lines[0])
	}
}

// cutStart is the end of a line that is too long.
func cutStart(line string) string {
	if len(line) <= fullOutputSize {
		return line
	}
	return "…" + strings.ToValidUTF8(line[len(line)-fullOutputSize:], "")
}

// show is what a diagnostic says of it under the setting; "" if there is none.
func (p *printed) show(mode string) string {
	if mode == outputOff || len(p.lines)+len(p.live) == 0 {
		return ""
	}
	lines, missing := slices.Concat(p.lines, p.live), p.missing
	if mode == outputLast && len(lines) > lastLines {
		lines, missing = lines[len(lines)-lastLines:], true
	}
	if missing {
		lines = append([]string{"…"}, lines...)
	}
	return strings.Join(lines, "\n")
}

// eventQueue is events that wait to be entered. To put one in never waits.
type eventQueue struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards what follows
	events []queuedEvent
	bytes  int // the sum of the sizes
}

// queuedEvent is an event that waits. Size is 0 for one that is not output.
type queuedEvent struct {
	ev   event.Event
	size int
}

// leftOut stands for output of a run that has been left out of the queue.
type leftOut struct {
	event.Header
	bytes int
}

// text is what is shown in its place. journal is the directory that has all of the output; "" is none.
func (l *leftOut) text(journal string) string {
	text := fmt.Sprintf("%.1f MB of output left out here: it came faster than it was read", float64(l.bytes)/1e6)
	if journal != "" {
		text += "; the journal of the run is " + journal
	}
	return text
}

func newEventQueue() eventQueue { return eventQueue{wake: make(chan struct{}, 1)} }

// put queues an event. Of rich output it keeps the text, which is all of it that is read here.
func (q *eventQueue) put(ev event.Event) {
	e := queuedEvent{ev: ev}
	switch ev := ev.(type) {
	case *event.Stream:
		e.size = len(ev.Text) + eventOverhead
	case *event.Display:
		text := *ev
		text.Data, text.Metadata = textIn(ev.Data), nil
		e = queuedEvent{&text, len(text.Data[plainText]) + eventOverhead}
	case *event.Result:
		text := *ev
		text.Data, text.Metadata = textIn(ev.Data), nil
		e = queuedEvent{&text, len(text.Data[plainText]) + eventOverhead}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, e)
	q.bytes += e.size
	if q.bytes > queuedOutput {
		q.shorten()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// plainText is the MIME type of text.
const plainText = "text/plain"

// textIn is rich output without what is no text: of that only the types are left.
func textIn(data map[string]json.RawMessage) map[string]json.RawMessage {
	text := make(map[string]json.RawMessage, len(data))
	for mime := range data {
		text[mime] = nil
	}
	if plain, ok := data[plainText]; ok {
		text[plainText] = plain
	}
	return text
}

// shorten leaves the older half of the output out: what counts is the end. What stands for it is in the place of the first that is left out of
// each run. mu is held.
func (q *eventQueue) shorten() {
	gone := map[string]*leftOut{}
	left := q.events[:0]
	for _, e := range q.events {
		before, again := e.ev.(*leftOut)
		if e.size == 0 && !again || q.bytes <= queuedOutput/2 {
			left = append(left, e)
			continue
		}
		run := e.ev.Head().Run
		if gone[run] == nil {
			gone[run] = &leftOut{Header: event.Header{Run: run}}
			left = append(left, queuedEvent{ev: gone[run]})
		}
		if again {
			gone[run].bytes += before.bytes
			continue
		}
		gone[run].bytes += e.size
		q.bytes -= e.size
	}
	clear(q.events[len(left):])
	q.events = left
}

func (q *eventQueue) take() []queuedEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events, q.bytes = nil, 0
	return events
}

// event queues what diagnostics are made of.
func (d *diagnostics) event(w *workspace, ev event.Event) {
	switch ev.(type) {
	case *event.Stream, *event.Display, *event.Result, *event.Log:
		if d.s.config.of(w.dir).DiagnosticsOutput != outputOff {
			d.events.put(ev)
		}
	case *event.RunStarted, *event.RankState, *event.Failure, *event.RunFinished, *event.Hang:
		d.events.put(ev)
	}
}

// enterEvents enters queued events and publishes what they change, until the connection ends.
func (d *diagnostics) enterEvents() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-d.events.wake:
		case <-timer.C:
		case <-d.s.ctx.Done():
			return
		}
		d.s.contained("diagnostics", func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.enterAll(time.Now())
			d.publishDue(time.Now())
			timer.Reset(d.patience())
		})
	}
}

// enterAll enters the events that are queued. mu is held.
func (d *diagnostics) enterAll(now time.Time) {
	for _, e := range d.events.take() {
		d.enterEvent(e.ev, now)
	}
	d.print(d.folder.Flush(now))
}

// enterEvent enters one event. mu is held.
func (d *diagnostics) enterEvent(ev event.Event, now time.Time) {
	id := ev.Head().Run
	if _, ok := ev.(*event.RunStarted); ok {
		if r, ok := d.s.board.run(id); ok {
			d.begin(r)
		}
	}
	r := d.runs[id]
	if r == nil {
		return
	}
	switch ev := ev.(type) {
	case *event.Failure:
		if r.Cell != 0 {
			d.fail(r.Run, ev)
		}
	case *event.RankState:
		if ev.State == "dead" && r.Cell != 0 {
			d.died(r.Run, ev)
		}
	case *event.Hang:
		if !r.ended {
			d.hang(r.Run, ev)
		}
	}
	if r.output != nil {
		d.enterGap(r, ev)
		d.print(d.folder.Add(ev, now))
		if _, ok := ev.(*event.Stream); ok {
			d.touched(r.output) // lines that are not finished are shown as well
		}
	}
	if ev, ok := ev.(*event.RunFinished); ok {
		if r.Cell != 0 {
			d.finish(r.Run, ev)
		}
		d.end(r)
	}
}

// enterGap enters what stands for output that has been left out, here or before it came here. mu is held.
func (d *diagnostics) enterGap(r *followed, ev event.Event) {
	switch ev := ev.(type) {
	case *leftOut:
		r.output.add(ev.text(r.Journal))
	case *event.Log:
		if ev.Path == "" {
			return // about something else
		}
		r.output.add(ev.Text)
	default:
		return
	}
	d.touched(r.output)
}

// end is the end of a run. mu is held.
func (d *diagnostics) end(r *followed) {
	r.ended = true
	d.dropHangs(func(m *hangMark) bool { return m.ev.Run == r.ID })
	if r.output != nil {
		d.dirty.add(r.output.cellKey)
	}
	d.ended = append(d.ended, r.ID)
	for len(d.ended) > keptFollowed {
		delete(d.runs, d.ended[0])
		d.ended = d.ended[1:]
	}
}

// print enters folded output. mu is held.
func (d *diagnostics) print(items []view.Item) {
	for _, item := range items {
		r := d.runs[item.Run]
		if r == nil || r.output == nil || item.Kind == view.ItemFailure || item.Kind == view.ItemNotice {
			continue
		}
		r.output.add(item.String())
		d.touched(r.output)
	}
}

// touched notes that output is not as it was, unless a later run has begun. mu is held.
func (d *diagnostics) touched(p *printed) {
	if d.outputs[p.cellKey] == p {
		d.wordy.add(p.cellKey)
	}
}

// publishDue publishes the documents whose time has come. mu is held.
func (d *diagnostics) publishDue(now time.Time) {
	if len(d.dirty) == 0 && len(d.wordy) == 0 || now.Sub(d.last) < d.gap() {
		return
	}
	d.last = now
	d.live()
	for u, dirty := range d.wordy {
		for id := range dirty {
			d.dirty.add(cellKey{u, id})
		}
	}
	for u, dirty := range d.dirty {
		d.publish(u, dirty, false)
	}
	clear(d.dirty)
	clear(d.wordy)
}

// gap is how long what there is to publish waits after the last time. mu is held.
func (d *diagnostics) gap() time.Duration {
	if len(d.dirty) > 0 {
		return soon
	}
	return later
}

// patience is how long there is nothing to do without new events. mu is held.
func (d *diagnostics) patience() time.Duration {
	wait := time.Hour
	if len(d.dirty) > 0 || len(d.wordy) > 0 {
		wait = time.Until(d.last.Add(d.gap()))
	}
	if deadline, ok := d.folder.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	return max(wait, 0)
}

// live takes the unfinished lines of all runs as they are. mu is held.
func (d *diagnostics) live() {
	for _, r := range d.runs {
		if r.output != nil {
			r.output.live = nil
		}
	}
	for _, line := range d.folder.Live() {
		if r := d.runs[line.Run]; r != nil && r.output != nil {
			r.output.live = append(r.output.live, clean.Text(line.Prefix+line.Text))
		}
	}
}

// cleared forgets what has been left in a document, but for what runs that go on have.
func (d *diagnostics) cleared(u uri.URI) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.enterAll(time.Now())
	over := func(run string) bool { r := d.runs[run]; return r == nil || r.ended }
	d.drop(func(f *failure) bool { return (f.at.doc == u || f.owner.doc == u) && over(f.run) })
	for key, p := range d.outputs {
		if key.doc == u && over(p.run) {
			delete(d.outputs, key)
			d.dirty.add(key)
		}
	}
	d.last = time.Time{}
	d.publishDue(time.Now())
}
