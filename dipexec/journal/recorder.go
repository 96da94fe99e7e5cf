package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// indexFlush is how much the index is behind the NAME.out files at most, while there is output.
const indexFlush = time.Second

// Recorder writes the journal of one run. Output of processes is written at once, unbuffered, so it survives the server. Its index
// and all other events are buffered for a short while. A nil Recorder keeps nothing.
//
// The field files says whether the run has a directory; only create changes it.
//
// Outputs hold references, since output may come after the run has ended. When the last one is closed, the files are closed and the lock
// ends.
type Recorder struct {
	store *Store
	dir   string
	refs  atomic.Int32 // Outputs, and the run until its end
	off   atomic.Bool  // nothing is written any more: an error, or closed
	hooks Hooks
	size  atomic.Int64 // that it takes, about
	limit int64        // how large that may become; 0 or less: any size

	section atomic.Pointer[section] // that is written; replaced under mu
	partial atomic.Bool             // the limit has been reached

	noted bool // in the store's list of runs that are missing something; guarded by the store's mu

	mu      sync.Mutex // guards what follows; the store's mu may be taken with it held
	record  Record
	files   *runFiles     // nil: the run has no directory
	held    []timedEvent  // events for the index, until there is a directory
	head    []byte        // run.json up to the place for how the run ended
	index   *bufio.Writer // of the section that is written
	scratch bytes.Buffer
	flushed time.Time
	pending stretch // output for the next index line; more may be added to it
	ended   bool    // the run has ended: late output is flushed at once

	later      []*section // those after the first that are there
	laterIndex *os.File   // of the last of them
	dropped    int64      // bytes that processes printed and that are not kept any more

	err      error // the first one
	refused  bool  // nothing could be kept at all, because of err
	lost     map[ranklist.Who]*lostOutput
	lostRich int // pieces of rich output
}

// Hooks are called when the user has to be told something, by the goroutine that writes at that moment.
type Hooks struct {
	Failed func(error) // the first error: nothing is kept any more. It must not call the Recorder
	Full   func()      // the limit has been reached: from now on only the oldest and the newest output is kept
}

// timedEvent is an event and when it was published, counted from the run's start.
type timedEvent struct {
	at time.Duration
	ev event.Event
}

// stretch tells where in a NAME.out file a stretch of a stream is.
type stretch struct {
	file   *Output
	in     *section
	stream string
	at     time.Duration
	offset int64
	size   int64
}

// Begin begins the journal of a run, which may take limit bytes; 0: the store's limit; less: no limit. [Recorder.Finish] ends it.
func (s *Store) Begin(record Record, limit int64, hooks Hooks) (*Recorder, error) {
	dir := filepath.Join(s.dir, record.Started.Format(runDirTime)+"-"+record.Run)
	r := &Recorder{store: s, dir: dir, record: record, hooks: hooks, limit: cmp.Or(limit, s.limit), flushed: record.Started}
	r.section.Store(new(section))
	r.refs.Store(1)
	if err := s.admit(r); err != nil {
		s.noteLack(&Recorder{record: record, refused: true, err: err})
		return nil, err
	}
	return r, nil
}

// Dir is the directory of the run, which is there once there is something to keep.
func (r *Recorder) Dir() string { return r.dir }

// Limit is how many bytes the run's journal may take; not more than 0 is any number.
func (r *Recorder) Limit() int64 { return r.limit }

// Event keeps an event of the run that is not of a process's output.
func (r *Recorder) Event(e event.Event) {
	if r == nil {
		return
	}
	if r.off.Load() {
		if isRich(e) {
			r.loseRich()
		}
		return
	}
	if r.enter(e) {
		r.hooks.Full()
	}
}

// Finish writes down how the run ended, and reports whether the run has a directory. After that only open outputs may write.
func (r *Recorder) Finish(report event.Report, at time.Time) (kept bool) {
	defer r.release()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.store.forget(r)
	r.record.addEnd(report, at)
	switch {
	case r.off.Load():
	case r.files != nil:
		r.flush()
		if err := r.writeRecord(); err != nil {
			r.fail(err)
		}
	case report.Status == event.StatusOK: // it stays silent, unless late output comes
		r.store.remember(r.record)
	case r.create() == nil:
		r.flush()
	}
	return r.files != nil && !r.off.Load()
}

// create gives the run a directory with its record and all events so far, unless it has one. The caller holds mu.
func (r *Recorder) create() (err error) {
	switch {
	case r.files != nil:
		return nil
	case r.off.Load():
		return cmp.Or(r.err, fs.ErrClosed)
	}
	if r.files, err = r.store.files(r.dir); err == nil {
		if err = r.writeRecord(); err != nil {
			r.files.discard()
			r.files = nil
		}
	}
	if err != nil {
		r.fail(err)
		return err
	}
	r.index = bufio.NewWriterSize(r.files.index, 16<<10)
	for _, e := range r.held {
		r.writeEvent(e)
	}
	r.held = nil
	r.store.forget(r)
	r.store.prepare()
	return nil
}

// createIfLong gives a silent run a directory if it has gone on for a while.
func (r *Recorder) createIfLong() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended && time.Since(r.record.Started) >= createAfter && r.create() == nil {
		r.flush()
	}
}

// file is the path of a file of a section, in the run's directory, which is created if needed. A fresh file is removed with its section.
func (r *Recorder) file(s *section, name string, fresh bool) (path string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if fresh {
		s.names = append(s.names, name)
	}
	return filepath.Join(r.dir, name), r.create()
}

func (r *Recorder) release() {
	if r.refs.Add(-1) > 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.off.Store(true)
	if r.files != nil {
		r.files.close()
		r.closeLater()
		r.store.wrote(r.size.Load())
	}
}

// fail turns the journal off. The caller holds mu.
func (r *Recorder) fail(err error) {
	if r.off.Swap(true) {
		return
	}
	r.err = err
	r.store.noteLack(r)
	r.hooks.Failed(err)
}

// printed enters into the index bytes that an output has written.
func (r *Recorder) printed(o *Output, stream string, n int64) {
	r.mu.Lock()
	if p := &r.pending; p.file == o && p.in == o.in && p.stream == stream {
		p.size += n
	} else {
		r.writePending()
		r.pending = stretch{o, o.in, stream, time.Since(r.record.Started), o.size - n, n}
	}
	r.flushIfDue()
	full := r.turn()
	r.mu.Unlock()
	if full {
		r.hooks.Full()
	}
}

// enter puts an event into the index. It reports whether the limit has been reached with that.
func (r *Recorder) enter(e event.Event) (full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	timed := timedEvent{time.Since(r.record.Started), e}
	if r.files != nil {
		r.writePending()
		r.writeEvent(timed)
	} else {
		r.held = append(r.held, timed)
		if isRoutine(e) && !r.ended || r.create() != nil {
			return false
		}
	}
	r.flushIfDue()
	return r.turn()
}

// isRoutine reports whether every run has such an event, so that the run stays silent.
func isRoutine(e event.Event) bool {
	switch e.(type) {
	case *event.RunStarted, *event.RankState, *event.RunFinished:
		return true
	default:
		return false
	}
}

// writeEvent writes an event into the index. The caller holds mu.
func (r *Recorder) writeEvent(e timedEvent) {
	r.scratch.Reset()
	if err := event.WriteJSON(&r.scratch, e.ev); err != nil {
		// Only raw JSON from a process can fail to encode, and that was parsed when it came.
		panic(fmt.Sprintf("journal: event %s: %v", e.ev.Head().Kind, err))
	}
	r.writeTime(e.at)
	r.writeIndex(r.scratch.Bytes()[1:]) // without the brace
}

func (r *Recorder) writeTime(at time.Duration) {
	b := append(r.index.AvailableBuffer(), `{"time":`...)
	b = strconv.AppendFloat(b, at.Seconds(), 'f', 6, 64)
	r.writeIndex(append(b, ','))
}

func (r *Recorder) writeIndex(b []byte) {
	_, _ = r.index.Write(b) // flush tells of an error
	r.wrote(r.section.Load(), len(b))
}

// writePending moves the pending stretch of output to the index. The caller holds mu.
func (r *Recorder) writePending() {
	p := r.pending
	if p.file == nil {
		return
	}
	r.pending = stretch{}
	r.writeTime(p.at)
	b := append(r.index.AvailableBuffer(), `"event":"stream",`...)
	if rank, ok := p.file.who.Rank(); ok {
		b = strconv.AppendInt(append(b, `"rank":`...), int64(rank), 10)
	} else {
		b = append(b, `"local":true`...)
	}
	b = append(append(append(b, `,"name":"`...), p.stream...), `","offset":`...)
	b = strconv.AppendInt(b, p.offset, 10)
	b = strconv.AppendInt(append(b, `,"size":`...), p.size, 10)
	if p.in.number > 0 {
		b = strconv.AppendInt(append(b, `,"section":`...), int64(p.in.number), 10)
	}
	r.writeIndex(append(b, "}\n"...))
}

// flushIfDue flushes the index now and then. The caller holds mu.
func (r *Recorder) flushIfDue() {
	if now := time.Now(); r.ended || now.Sub(r.flushed) >= indexFlush {
		r.flushed = now
		r.flush()
	}
}

// flush writes the index out, if there is one. The caller holds mu.
func (r *Recorder) flush() {
	if r.off.Load() || r.files == nil {
		return
	}
	r.writePending()
	if err := r.index.Flush(); err != nil {
		r.fail(err)
	}
}
