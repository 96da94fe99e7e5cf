// Package trace writes what happens to a cell on its way from the editor to the ranks and back, as Chrome's trace events
// (JSON array format), which chrome://tracing and https://ui.perfetto.dev show.
//
// A nil *Tracer is off: every method may be called on it, and costs a comparison. All processes of a machine share the clock of the times, so
// spans that Python has measured on ranks stand beside those of this process. Times of another machine are to be moved to our clock first.
//
// Spans of one [Track] nest, like calls on one thread: of two that overlap, one contains the other. Things that overlap freely, such as runs
// that wait for their turn, have an id and phases instead ([Tracer.Begin], [Tracer.Phase], [Tracer.End]).
package trace

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// Time is a moment in nanoseconds of the machine's monotonic clock: what time.monotonic_ns() gives in Python. 0 is no moment.
type Time int64

// Track is where spans are drawn: a thread, or what is like one.
type Track struct {
	PID int // the process; one of another machine has a number that [Tracer.NewProcess] gives
	TID int // of the process's; for people
}

// Arg is a detail of an event.
type Arg struct {
	key    string
	text   string
	number int64
	isText bool
}

// Text is a detail in words.
func Text(key, value string) Arg { return Arg{key: key, text: value, isText: true} }

// Int is a number as a detail.
func Int(key string, value int64) Arg { return Arg{key: key, number: value} }

// flushBytes is how much is collected between writes. Each write ends with a whole event, so the file can be read even if this process is
// killed: the format may do without the last bracket.
const flushBytes = 32 << 10

// Tracer writes a trace. It may be used by any number of goroutines.
type Tracer struct {
	pid  int
	zero time.Time // a moment …
	at   Time      // … and the same one on the shared clock

	mu     sync.Mutex // guards what follows
	f      *os.File
	buf    []byte
	events bool  // there has been one, so that the next needs a comma
	tracks int   // of this process, so far
	others int   // processes of other machines, so far
	err    error // of the first write that failed; nothing is written after it
}

// Create begins a trace in a file, which is readable by its owner only: it has the names of cells. Close ends it.
func Create(path string) (*Tracer, error) {
	zero := time.Now()
	at, err := Clock()
	if err != nil {
		return nil, fmt.Errorf("trace: read the clock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	t := &Tracer{pid: os.Getpid(), zero: zero, at: at, f: f, buf: append(make([]byte, 0, flushBytes), '[')}
	t.NameProcess(t.pid, "dipls", -2)
	return t, nil
}

// On tells whether there is a trace: without one, arguments need not be prepared.
func (t *Tracer) On() bool { return t != nil }

// Now is the present moment.
func (t *Tracer) Now() Time {
	if t == nil {
		return 0
	}
	return t.now()
}

func (t *Tracer) now() Time { return t.at + Time(time.Since(t.zero)) }

// NewTrack adds a track of this process.
func (t *Tracer) NewTrack(name string) Track {
	if t == nil {
		return Track{}
	}
	t.mu.Lock()
	t.tracks++
	track := Track{t.pid, t.tracks}
	t.mu.Unlock()
	t.NameTrack(track, name)
	return track
}

// NameTrack names a track of another process.
func (t *Tracer) NameTrack(track Track, name string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open("M", "thread_name", track)
	t.args([]Arg{Text("name", name)})
	t.open("M", "thread_sort_index", track)
	t.args([]Arg{Int("sort_index", int64(track.TID))})
}

// firstOther is more than any pid of ours is: on Linux they end at 2^22.
const firstOther = 10_000_000

// NewProcess is a number for a process of another machine, whose pid may be that of a process of ours.
func (t *Tracer) NewProcess() (pid int) {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others++
	return firstOther + t.others
}

// NameProcess names a process; those with a smaller order come first.
func (t *Tracer) NameProcess(pid int, name string, order int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open("M", "process_name", Track{PID: pid})
	t.args([]Arg{Text("name", name)})
	t.open("M", "process_sort_index", Track{PID: pid})
	t.args([]Arg{Int("sort_index", int64(order))})
}

// Span tells what was done on a track from one moment to another.
func (t *Tracer) Span(track Track, name string, from, to Time, args ...Arg) {
	if t != nil {
		t.span(track, name, from, to, args)
	}
}

// Since is a Span that ends now.
func (t *Tracer) Since(track Track, name string, from Time, args ...Arg) {
	if t != nil {
		t.since(track, name, from, args)
	}
}

func (t *Tracer) since(track Track, name string, from Time, args []Arg) {
	t.span(track, name, from, t.now(), args)
}

func (t *Tracer) span(track Track, name string, from, to Time, args []Arg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open("X", name, track)
	t.time("ts", from)
	t.time("dur", max(0, to-from))
	t.args(args)
}

// Moment tells what happened at a moment.
func (t *Tracer) Moment(track Track, name string, at Time, args ...Arg) {
	if t != nil {
		t.moment(track, name, at, args)
	}
}

func (t *Tracer) moment(track Track, name string, at Time, args []Arg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open("i", name, track)
	t.time("ts", at)
	t.buf = append(t.buf, `,"s":"t"`...)
	t.args(args)
}

// Begin begins something with an id of its own, such as a run. Its phases come before its End.
func (t *Tracer) Begin(pid int, id, name string, at Time, args ...Arg) {
	if t != nil {
		t.mark("b", pid, id, name, at, args)
	}
}

// End ends what Begin began.
func (t *Tracer) End(pid int, id, name string, at Time) {
	if t != nil {
		t.mark("e", pid, id, name, at, nil)
	}
}

// Phase adds a phase of what Begin began.
func (t *Tracer) Phase(pid int, id, name string, from, to Time, args ...Arg) {
	if t != nil {
		t.phase(pid, id, name, from, to, args)
	}
}

func (t *Tracer) phase(pid int, id, name string, from, to Time, args []Arg) {
	t.mark("b", pid, id, name, from, args)
	t.mark("e", pid, id, name, max(from, to), nil)
}

func (t *Tracer) mark(phase string, pid int, id, name string, at Time, args []Arg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open(phase, name, Track{PID: pid})
	t.time("ts", at)
	t.buf = append(t.buf, `,"cat":"cell","id":`...)
	t.buf = appendString(t.buf, id)
	t.args(args)
}

// PID is the id of this process, 0 without a trace.
func (t *Tracer) PID() int {
	if t == nil {
		return 0
	}
	return t.pid
}

// Flush writes what has been collected.
func (t *Tracer) Flush() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
}

// Close ends the trace. The error is that of the first write that failed: then the end of the trace is missing.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, "\n]\n"...)
	t.flush()
	if err := t.f.Close(); t.err == nil {
		t.err = err
	}
	err := t.err
	if t.err == nil {
		t.err = os.ErrClosed // for what comes late
	}
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// open begins an event, which args ends. The caller holds mu.
func (t *Tracer) open(phase, name string, track Track) {
	if t.events {
		t.buf = append(t.buf, ',')
	}
	t.events = true
	t.buf = append(append(t.buf, "\n{\"ph\":\""...), phase...)
	t.buf = appendString(append(t.buf, `","name":`...), name)
	t.buf = strconv.AppendInt(append(t.buf, `,"pid":`...), int64(track.PID), 10)
	t.buf = strconv.AppendInt(append(t.buf, `,"tid":`...), int64(track.TID), 10)
}

// time writes a time, in microseconds as the format has it. The caller holds mu.
func (t *Tracer) time(key string, at Time) {
	t.buf = append(append(append(t.buf, `,"`...), key...), `":`...)
	at = max(0, at)
	t.buf = strconv.AppendInt(t.buf, int64(at/1000), 10)
	below := at % 1000
	t.buf = append(t.buf, '.', byte('0'+below/100), byte('0'+below/10%10), byte('0'+below%10))
}

// args ends an event. The caller holds mu.
func (t *Tracer) args(args []Arg) {
	for i, a := range args {
		opening := ","
		if i == 0 {
			opening = `,"args":{`
		}
		t.buf = append(t.buf, opening...)
		t.buf = append(appendString(t.buf, a.key), ':')
		if a.isText {
			t.buf = appendString(t.buf, a.text)
		} else {
			t.buf = strconv.AppendInt(t.buf, a.number, 10)
		}
	}
	if len(args) > 0 {
		t.buf = append(t.buf, '}')
	}
	t.buf = append(t.buf, '}')
	if len(t.buf) >= flushBytes {
		t.flush()
	}
}

// flush is Flush under the lock.
func (t *Tracer) flush() {
	if t.err == nil {
		_, t.err = t.f.Write(t.buf)
	}
	t.buf = t.buf[:0]
}

// appendString appends a string as JSON.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s { // what is no UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
