package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/internal/private"
	"dipls/ranks/wire"
)

// The files of a run's journal. Beside them are NAME.out, the bytes that a process printed (rank-3.out, local.out), and
// NAME-N.EXT, its rich output.
const (
	recordName = "run.json"
	indexBase  = "events"
	indexExt   = ".jsonl"
	indexName  = indexBase + indexExt // locked (flock) while a process writes the journal
	rawSuffix  = ".out"
)

const (
	runDirTime   = "2006-01-02T15-04-05" // then "-" and the run's id
	spareDir     = ".next-"              // then anything: the files of a run to come
	maxOpenFiles = 512                   // NAME.out files kept open by one Store, unless a quarter of what the process may have is less; further ones are opened for each write
	indexFlush   = time.Second           // the index is at most this much behind the NAME.out files, while there is output
	keepAfter    = time.Second           // how often is looked for runs that have gone on for as long and are not in the directory yet
	rotateAfter  = 2 * time.Second       // without a run: to look through a thousand runs, and to remove some, takes a while
)

// Options configure a Store.
type Options struct {
	Dir      string        // "": DefaultDir
	MaxAge   time.Duration // runs that ended longer ago are removed; 0 is 14 days
	MaxBytes int64         // the oldest runs beyond this total are removed; 0 is 4 GiB
	MaxRuns  int           // the oldest runs beyond this number are removed; 0 is 1,000
	Limit    int64         // what one run takes at most, where its Request does not say; 0 is DefaultLimit, less than 0 is none
}

// Store keeps what runs printed: a directory with one directory a run. The oldest runs are removed when there are too
// many; a run that is being written, by whatever process, is never touched.
//
// A run's directory is made when there is something to keep: output, an exception, any event that tells more than that all goes as it
// should, an end that is not well, or that the run takes long. One of which there is nothing to tell leaves nothing: most cells
// are such, and their files would cost more of the processor than all else that the executor does for them.
type Store struct {
	dir      string
	dirErr   error // why there is none
	maxAge   time.Duration
	maxBytes int64
	maxRuns  int
	limit    int64

	rotateAfter time.Duration // the constant; longer in tests

	open    atomic.Int32 // NAME.out files that are open
	maxOpen int32        // how many may stay open

	measured map[string]oldRun // the rotation's: by directory, those that are over

	mu        sync.Mutex
	written   int64                  // bytes written since the last rotation began
	runs      int                    // and runs
	rotating  bool                   // at most one rotation at a time
	quiet     *time.Timer            // begins a rotation; nil: none is due
	spare     *runFiles              // for the next run that has something to keep; nil: none
	preparing bool                   // a spare is being made
	unkept    map[*Recorder]struct{} // runs that go on and have no files yet
	keeping   *time.Timer            // has those of unkept kept that take long; nil: there were none
	closed    bool                   // nothing begins any more

	lacking     []*Recorder // the first runs whose journals lack something, at most maxLacking
	lackingMore int         // how many more
	work        sync.WaitGroup
}

// Open opens the journal and begins to remove old runs. It does not fail: an executor tells its subscribers when it
// cannot write to it.
func Open(o Options) *Store {
	j := &Store{dir: o.Dir, maxAge: cmp.Or(o.MaxAge, 14*24*time.Hour), maxBytes: cmp.Or(o.MaxBytes, 4<<30), maxRuns: cmp.Or(o.MaxRuns, 1000), limit: cmp.Or(o.Limit, DefaultLimit), rotateAfter: rotateAfter, maxOpen: maxOpenFiles, unkept: map[*Recorder]struct{}{}}
	if j.dir == "" {
		j.dir, j.dirErr = DefaultDir()
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		j.maxOpen = int32(min(uint64(files.Cur)/4, maxOpenFiles))
	}
	j.startRotation()
	return j
}

// DefaultDir is where journals are kept: dipls/runs in $XDG_STATE_HOME, by default in ~/.local/state, on macOS in
// ~/Library/Application Support.
func DefaultDir() (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".local", "state")
		if runtime.GOOS == "darwin" {
			base = filepath.Join(home, "Library", "Application Support")
		}
	}
	return filepath.Join(base, "dipls", "runs"), nil
}

// Dir is the directory.
func (j *Store) Dir() string { return j.dir }

// Close waits for the removal of old runs to end. The executor that uses the journal has to be closed before.
func (j *Store) Close() {
	j.mu.Lock()
	j.closed = true
	for _, t := range []*time.Timer{j.quiet, j.keeping} {
		if t != nil {
			t.Stop()
		}
	}
	j.mu.Unlock()
	j.work.Wait()
	if f := j.takeSpare(); f != nil {
		f.discard()
	}
}

// wrote counts a run and its bytes, and sees to a rotation when they may have made too many: when there has been no run for a
// while, or at once when they are four times that many.
func (j *Store) wrote(n int64) {
	j.mu.Lock()
	j.written += n
	j.runs++
	now := j.over(4)
	if j.over(16) && !now {
		j.rotateLater()
	}
	j.mu.Unlock()
	if now {
		j.startRotation()
	}
}

// over reports whether more than a part of what may be kept has been written since the last rotation. The caller holds mu.
func (j *Store) over(part int) bool {
	return j.written > j.maxBytes/int64(part) || j.runs > j.maxRuns/part
}

// rotateLater has a rotation begin when there has been no run for a while. The caller holds mu.
func (j *Store) rotateLater() {
	switch {
	case j.closed:
	case j.quiet == nil:
		j.quiet = time.AfterFunc(j.rotateAfter, j.startRotation)
	default:
		j.quiet.Reset(j.rotateAfter)
	}
}

// takeSpare takes the files that were made ahead. Nil if there are none.
func (j *Store) takeSpare() *runFiles {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.spare
	j.spare = nil
	return f
}

// admit notes a run that begins, and puts off a rotation. It makes sure that there are files, or that they are being made: that a journal cannot be
// written is to be known when a run begins.
func (j *Store) admit(rj *Recorder) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dirErr != nil {
		return j.dirErr
	}
	if j.spare == nil && !j.preparing {
		f, err := j.newFiles()
		if err != nil {
			return err
		}
		j.spare = f
	}
	if j.quiet != nil {
		j.rotateLater()
	}
	j.unkept[rj] = struct{}{}
	if j.keeping == nil && !j.closed {
		j.keeping = time.AfterFunc(keepAfter, j.keepLong)
	}
	return nil
}

// kept notes that a run is in the directory, or has ended.
func (j *Store) kept(rj *Recorder) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.unkept, rj)
}

// keepLong has runs kept that go on for long: if the server is killed, it is known that they were. One timer serves all, for to set one is dearer than
// many a run.
func (j *Store) keepLong() {
	j.mu.Lock()
	unkept := slices.Collect(maps.Keys(j.unkept))
	if j.keeping = nil; len(unkept) > 0 && !j.closed {
		j.keeping = time.AfterFunc(keepAfter, j.keepLong)
	}
	j.mu.Unlock()
	for _, rj := range unkept {
		contain.Do(rj.keepIfLong) // at its end it is kept all the same
	}
}

// prepare makes the files of the next run ahead, in the background: file systems take long for that. What fails is told by the next run.
func (j *Store) prepare() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.preparing || j.spare != nil || j.dirErr != nil {
		return
	}
	j.preparing = true
	j.work.Go(func() {
		f, err := j.newFiles()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.preparing = false
		if err == nil {
			j.spare = f
		}
	})
}

// runFiles are the files that every run has, in a directory that has no run's name yet.
type runFiles struct {
	dir    string
	index  *os.File // locked
	record *os.File
}

// newFiles makes them.
func (j *Store) newFiles() (_ *runFiles, err error) {
	if err := private.Dir(j.dir); err != nil {
		return nil, err
	}
	f := new(runFiles)
	if f.dir, err = os.MkdirTemp(j.dir, spareDir); err != nil {
		return nil, err
	}
	f.index, err = os.OpenFile(filepath.Join(f.dir, indexName), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err == nil {
		// A file system without locks is no reason to keep no journal: without the lock, removeRun gets the same error.
		_ = syscall.Flock(int(f.index.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		f.record, err = os.OpenFile(filepath.Join(f.dir, recordName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		f.discard()
		return nil, err
	}
	return f, nil
}

// files gives a run its files, in the directory dir: those that were made ahead, if they are still there.
func (j *Store) files(dir string) (*runFiles, error) {
	if f := j.takeSpare(); f != nil {
		if f.move(dir) == nil {
			return f, nil
		}
		f.discard()
	}
	f, err := j.newFiles()
	if err != nil {
		return nil, err
	}
	if err := f.move(dir); err != nil {
		f.discard()
		return nil, err
	}
	return f, nil
}

// move gives the directory its name.
func (f *runFiles) move(dir string) error {
	if err := os.Rename(f.dir, dir); err != nil {
		return err
	}
	f.dir = dir
	return nil
}

// close closes the files, and ends the lock with that. Whoever writes to them checks every write.
func (f *runFiles) close() {
	for _, file := range []*os.File{f.index, f.record} {
		if file != nil {
			_ = file.Close()
		}
	}
}

// discard removes the files.
func (f *runFiles) discard() {
	f.close()
	_ = os.RemoveAll(f.dir)
}

func (j *Store) startRotation() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.rotating || j.dirErr != nil {
		return
	}
	if j.quiet != nil {
		j.quiet.Stop()
		j.quiet = nil
	}
	j.rotating, j.written, j.runs = true, 0, 0
	j.work.Go(func() {
		j.rotate(time.Now())
		j.mu.Lock()
		j.rotating = false
		j.mu.Unlock()
	})
}

// oldRun is what a rotation has found of a run's directory.
type oldRun struct {
	dir     string
	changed time.Time // the directory: a file was added or removed
	ended   time.Time // the last change of any file
	size    int64
	over    bool // nobody writes it
}

// measure looks at a directory.
func measure(dir string, changed time.Time) (oldRun, error) {
	r := oldRun{dir: dir, changed: changed, ended: changed}
	// Before its files are looked at: if it ends meanwhile, it is measured again. A spare may just be taking its lock, and gets no other beside it.
	r.over = isRunDir(filepath.Base(dir)) && !locked(dir)
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			r.size += info.Size()
			if info.ModTime().After(r.ended) {
				r.ended = info.ModTime()
			}
		}
	}
	return r, err
}

// rotate removes runs that are too old, and then the oldest ones until the rest fits. What cannot be removed is left for
// the next time: nobody is waiting for it. The files of runs that were over when they were measured are not looked at again.
func (j *Store) rotate(now time.Time) {
	if private.Check(j.dir) != nil { // what is not there, or others could have put there, is not for us to remove
		return
	}
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return
	}
	var runs []oldRun
	var total int64
	for _, e := range entries {
		if !e.IsDir() || !isRunDir(e.Name()) && !strings.HasPrefix(e.Name(), spareDir) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		dir := filepath.Join(j.dir, e.Name())
		r, known := j.measured[dir]
		if !known || !r.changed.Equal(info.ModTime()) {
			if r, err = measure(dir, info.ModTime()); err != nil {
				continue
			}
		}
		if !isRunDir(e.Name()) {
			removeRun(dir, now.Sub(r.ended)) // its server was killed, if nobody holds the lock
			continue
		}
		total += r.size
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b oldRun) int { return a.ended.Compare(b.ended) })
	left := len(runs)
	j.measured = make(map[string]oldRun, left)
	for _, r := range runs {
		if excess := now.Sub(r.ended) > j.maxAge || total > j.maxBytes || left > j.maxRuns; excess && removeRun(r.dir, now.Sub(r.ended)) {
			total -= r.size
			left--
		} else if r.over {
			j.measured[r.dir] = r
		}
	}
}

func isRunDir(name string) bool {
	if len(name) < len(runDirTime)+2 || name[len(runDirTime)] != '-' {
		return false
	}
	_, err := time.Parse(runDirTime, name[:len(runDirTime)])
	return err == nil
}

// removeRun removes a run's directory, unless somebody writes it or did a moment ago: one that is just being made has no
// lock yet.
func removeRun(dir string, age time.Duration) bool {
	return age >= time.Minute && !locked(dir) && os.RemoveAll(dir) == nil
}

// locked tells whether somebody writes a run, or may be doing so. One that was nobody's is nobody's for ever.
func locked(dir string) bool {
	index, err := os.OpenFile(filepath.Join(dir, indexName), os.O_RDWR, 0)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer index.Close()
	return syscall.Flock(int(index.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// Record is what run.json says of a run.
type Record struct {
	Run      string       `json:"run"`
	Parent   string       `json:"parent,omitempty"` // run whose cell has asked for it
	Cell     int          `json:"cell"`
	Path     wire.Path    `json:"path,omitempty"`
	Line     int          `json:"line,omitempty"`
	Title    string       `json:"title,omitempty"`
	Target   string       `json:"target"`
	See      string       `json:"see"`
	Code     string       `json:"code"`
	Server   int          `json:"server"` // pid of the process that ran it
	Started  time.Time    `json:"started"`
	Finished time.Time    `json:"finished,omitzero"` // absent: it runs, or the server died
	Status   event.Status `json:"status,omitempty"`
	ExitCode int          `json:"exit_code,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Parts    []PartRecord `json:"parts,omitempty"`
}

// PartRecord is how one process did.
type PartRecord struct {
	Rank           *int         `json:"rank,omitempty"`
	Local          bool         `json:"local,omitempty"`
	Status         event.Status `json:"status"`
	Seconds        float64      `json:"seconds"`
	ExecutionCount int          `json:"execution_count,omitempty"`
	Seed           *int64       `json:"seed,omitempty"`          // of its random generators; absent: nobody has chosen one
	GroupTimeout   float64      `json:"group_timeout,omitempty"` // seconds that its collectives wait for others; absent: nobody has chosen that
}

// runJournal is the journal of one run while it is written. What processes print is written at once, unbuffered, and so
// survives the server; the index of it and all other events are buffered for a short while.
//
// Parts hold references: output may come after the run has ended. When the last one is given up, the files are closed and
// the lock ends.
type Recorder struct {
	j     *Store
	Dir   string
	refs  atomic.Int32
	Off   atomic.Bool // nothing is written any more: an error, or closed
	hooks Hooks
	size  atomic.Int64 // that it takes, about
	Limit int64        // how large that may become; not more than 0: it may be as large as it will

	section atomic.Pointer[section] // that is written; replaced under mu
	Partial atomic.Bool             // the limit has been reached

	noted bool // in j's lists of those that lack something; guarded by j.mu

	mu      sync.Mutex // guards what follows
	record  Record
	waiting []timedEvent  // while there are no files: what goes into the index once there are
	files   *runFiles     // nil: there is nothing to keep yet
	head    []byte        // of run.json: what it began with, up to where the record of the end goes
	index   *bufio.Writer // of the section that is written
	scratch bytes.Buffer
	flushed time.Time
	pending rangeRecord // the stretch of output that the next index line will tell of, if no more is added to it
	ended   bool        // the run: what is written now is late output, and flushed at once

	later      []*section // those after the first that are there
	laterIndex *os.File   // of the last of them
	dropped    int64      // bytes that processes printed and that are not kept any more

	err      error // the first one
	refused  bool  // nothing could be kept at all, because of err
	lost     map[int]*lostOutput
	lostRich int // pieces of rich output
}

// journalHooks are told of what a user has to know, by whoever writes at that moment.
type Hooks struct {
	Failed func(error) // the first error: nothing is kept any more
	Full   func()      // the limit has been reached: what is neither old nor new is not kept any more
}

// timedEvent is an event and when it was published, counted from the run's start.
type timedEvent struct {
	at time.Duration
	ev event.Event
}

// rangeRecord tells where in a NAME.out file a stretch of a stream is.
type rangeRecord struct {
	file   *Output
	in     *section
	stream string
	at     time.Duration
	offset int64
	size   int64
}

// begin begins the journal of a run, which may take limit bytes; 0 is the usual, less is no limit. The caller holds its first reference.
func (j *Store) Begin(rec Record, limit int64, hooks Hooks) (*Recorder, error) {
	dir := filepath.Join(j.dir, rec.Started.Format(runDirTime)+"-"+rec.Run)
	rj := &Recorder{j: j, Dir: dir, record: rec, hooks: hooks, Limit: cmp.Or(limit, j.limit), flushed: rec.Started}
	rj.section.Store(new(section))
	rj.refs.Store(1)
	if err := j.admit(rj); err != nil {
		j.lacks(&Recorder{record: rec, refused: true, err: err})
		return nil, err
	}
	return rj, nil
}

// keep makes the run's files, if there are none yet. The caller holds mu.
func (rj *Recorder) keep() error {
	if rj.files != nil {
		return nil
	}
	f, err := rj.j.files(rj.Dir)
	if err != nil {
		return err
	}
	rj.files = f
	if err := rj.writeRecord(); err != nil {
		f.discard()
		rj.files = nil
		return err
	}
	rj.index = bufio.NewWriterSize(f.index, 16<<10)
	for _, e := range rj.waiting {
		rj.writeEvent(e)
	}
	rj.waiting = nil
	rj.j.kept(rj)
	rj.j.prepare()
	return nil
}

// keepOrFail is keep for those who have no other use for the error. It reports whether there are files. The caller holds mu.
func (rj *Recorder) keepOrFail() bool {
	err := rj.keep()
	if err != nil {
		rj.fail(err)
	}
	return err == nil
}

// ready makes sure that there is a directory for a file. A fresh one goes with its section.
func (rj *Recorder) ready(s *section, name string, fresh bool) error {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	if fresh {
		s.names = append(s.names, name)
	}
	return rj.keep()
}

// keepIfLong keeps a run that has gone on for a while.
func (rj *Recorder) keepIfLong() {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	if !rj.Off.Load() && !rj.ended && time.Since(rj.record.Started) >= keepAfter && rj.keepOrFail() {
		rj.flush()
	}
}

func (rj *Recorder) Retain() { rj.refs.Add(1) }

func (rj *Recorder) Release() {
	if rj.refs.Add(-1) > 0 {
		return
	}
	rj.mu.Lock()
	defer rj.mu.Unlock()
	rj.flush()
	rj.Off.Store(true)
	if rj.files != nil {
		rj.files.close()
		rj.closeLater()
		rj.j.wrote(rj.size.Load())
	}
}

// fail turns the journal off. The caller holds mu.
func (rj *Recorder) fail(err error) {
	if rj.Off.Swap(true) {
		return
	}
	rj.err = err
	rj.j.lacks(rj)
	rj.hooks.Failed(err)
}

// recordEnd is how run.json ends.
const recordEnd = "\n}\n"

// writeRecord writes run.json, or at the run's end what is new of it: how it ended is at the end of the record, so that what stands there
// already stays as it is, and no other file has to be made to take its place. The caller holds mu.
func (rj *Recorder) writeRecord() error {
	b, err := json.MarshalIndent(rj.record, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	begins := rj.head == nil
	if !begins && !bytes.HasPrefix(b, rj.head) {
		return errors.New("the record of a run has changed while it ran") // nobody changes it
	}
	at := int64(len(rj.head))
	if _, err := rj.files.record.WriteAt(b[at:], at); err != nil {
		if !begins { // as on a full disk: what was there is worth more than half of what is new
			_, _ = rj.files.record.WriteAt([]byte(recordEnd), at)
			_ = rj.files.record.Truncate(at + int64(len(recordEnd)))
		}
		return err
	}
	if begins {
		rj.head = b[:len(b)-len(recordEnd)]
	}
	return nil
}

// finish writes down how the run ended, and reports whether the run is in the directory.
func (rj *Recorder) Finish(r event.Report, at time.Time) bool {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	rj.ended = true
	rj.j.kept(rj)
	rj.record.Finished, rj.record.Status, rj.record.ExitCode, rj.record.Reason = at, r.Status, r.ExitCode, r.Reason
	for i := range r.Parts {
		p := &r.Parts[i]
		pr := PartRecord{Local: p.Rank < 0, Status: p.Status, Seconds: event.Seconds(p.Elapsed), ExecutionCount: p.ExecutionCount, Seed: p.Seed, GroupTimeout: event.Seconds(p.GroupTimeout)}
		if !pr.Local {
			pr.Rank = &p.Rank
		}
		rj.record.Parts = append(rj.record.Parts, pr)
	}
	switch {
	case rj.Off.Load():
	case rj.files != nil:
		rj.flush()
		if err := rj.writeRecord(); err != nil {
			rj.fail(err)
		}
	case r.Status == event.StatusOK: // there is nothing to keep, unless something comes late
	case rj.keepOrFail():
		rj.flush()
	}
	return rj.files != nil && !rj.Off.Load()
}

// output keeps bytes that a process printed.
func (rj *Recorder) Output(f *Output, stream string, b []byte) {
	if rj.Off.Load() {
		rj.lose(f, len(b))
		return
	}
	n, err := f.write(b)
	if err != nil {
		rj.lose(f, len(b)-n)
		rj.mu.Lock()
		defer rj.mu.Unlock()
		rj.fail(err)
		return
	}
	rj.wrote(f.in, n)
	f.in.printed.Add(int64(n))
	rj.mu.Lock()
	if p := &rj.pending; p.file == f && p.in == f.in && p.stream == stream {
		p.size += int64(n)
	} else {
		rj.writePending()
		rj.pending = rangeRecord{f, f.in, stream, time.Since(rj.record.Started), f.size - int64(n), int64(n)}
	}
	rj.flushIfDue()
	full := rj.turn()
	rj.mu.Unlock()
	if full {
		rj.hooks.Full()
	}
}

// event keeps an event that is not output.
func (rj *Recorder) Event(e event.Event) {
	if rj.Off.Load() {
		if rich(e) {
			rj.loseRich()
		}
		return
	}
	if rj.enter(e) {
		rj.hooks.Full()
	}
}

// enter puts an event into the index. It reports whether the limit has been reached with that.
func (rj *Recorder) enter(e event.Event) (full bool) {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	timed := timedEvent{time.Since(rj.record.Started), e}
	if rj.files != nil {
		rj.writePending()
		rj.writeEvent(timed)
	} else {
		rj.waiting = append(rj.waiting, timed)
		if routine(e) && !rj.ended || !rj.keepOrFail() {
			return false
		}
	}
	rj.flushIfDue()
	return rj.turn()
}

// rich tells whether an event brings rich output.
func rich(e event.Event) bool {
	switch e := e.(type) {
	case *event.Result:
		return true
	case *event.Display:
		return !e.Clear
	default:
		return false
	}
}

// routine tells whether an event is one that every run has, and that by itself is no reason to keep one.
func routine(e event.Event) bool {
	switch e.(type) {
	case *event.RunStarted, *event.RankState, *event.RunFinished:
		return true
	default:
		return false
	}
}

// writeEvent writes an event into the index. The caller holds mu.
func (rj *Recorder) writeEvent(e timedEvent) {
	rj.scratch.Reset()
	if err := event.WriteJSON(&rj.scratch, e.ev); err != nil {
		// Only raw JSON from a process can fail to encode, and that was parsed when it came.
		panic(fmt.Sprintf("dipexec: event %s: %v", e.ev.Head().Kind, err))
	}
	rj.writeTime(e.at)
	rj.writeIndex(rj.scratch.Bytes()[1:]) // without the brace
}

func (rj *Recorder) writeTime(at time.Duration) {
	b := append(rj.index.AvailableBuffer(), `{"time":`...)
	b = strconv.AppendFloat(b, at.Seconds(), 'f', 6, 64)
	rj.writeIndex(append(b, ','))
}

func (rj *Recorder) writeIndex(b []byte) {
	_, _ = rj.index.Write(b) // flush tells of an error
	rj.wrote(rj.section.Load(), len(b))
}

// writePending moves the pending stretch of output to the index. The caller holds mu.
func (rj *Recorder) writePending() {
	p := rj.pending
	if p.file == nil {
		return
	}
	rj.pending = rangeRecord{}
	rj.writeTime(p.at)
	b := append(rj.index.AvailableBuffer(), `"event":"stream",`...)
	if p.file.Rank < 0 {
		b = append(b, `"local":true`...)
	} else {
		b = strconv.AppendInt(append(b, `"rank":`...), int64(p.file.Rank), 10)
	}
	b = append(append(append(b, `,"name":"`...), p.stream...), `","offset":`...)
	b = strconv.AppendInt(b, p.offset, 10)
	b = strconv.AppendInt(append(b, `,"size":`...), p.size, 10)
	if p.in.number > 0 {
		b = strconv.AppendInt(append(b, `,"section":`...), int64(p.in.number), 10)
	}
	rj.writeIndex(append(b, "}\n"...))
}

// flushIfDue flushes the index now and then. The caller holds mu.
func (rj *Recorder) flushIfDue() {
	if now := time.Now(); rj.ended || now.Sub(rj.flushed) >= indexFlush {
		rj.flushed = now
		rj.flush()
	}
}

// flush writes the index out, if there is one. The caller holds mu.
func (rj *Recorder) flush() {
	if rj.Off.Load() || rj.files == nil {
		return
	}
	rj.writePending()
	if err := rj.index.Flush(); err != nil {
		rj.fail(err)
	}
}

// rawFile is a NAME.out file: the bytes that one process printed. It belongs to a part, whose lock guards it.
type Output struct {
	Rj     *Recorder
	Rank   int      // -1: the local namespace
	in     *section // whose file it is
	f      *os.File
	size   int64 // of the file
	total  int64 // of what the process has printed, all sections together
	riches int   // rich output saved so far
}

func (f *Output) base() string {
	if f.Rank < 0 {
		return "local"
	}
	return "rank-" + strconv.Itoa(f.Rank)
}

// write appends to the file of the section that is written, which is opened when there is something to write.
func (f *Output) write(b []byte) (n int, err error) {
	if s := f.Rj.section.Load(); f.in != s {
		f.Close()
		f.in, f.size = s, 0
	}
	if f.f == nil {
		name := f.in.name(f.base(), rawSuffix)
		if err := f.Rj.ready(f.in, name, f.size == 0); err != nil {
			return 0, err
		}
		file, err := os.OpenFile(filepath.Join(f.Rj.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return 0, err
		}
		f.f = file
		if f.Rj.j.open.Add(1) > f.Rj.j.maxOpen {
			defer f.Close()
		}
	}
	n, err = f.f.Write(b)
	f.size += int64(n)
	f.total += int64(n)
	return n, err
}

func (f *Output) Close() {
	if f.f != nil {
		_ = f.f.Close() // every write has been checked
		f.f = nil
		f.Rj.j.open.Add(-1)
	}
}

// richFiles are the MIME types that are kept in files of their own.
var richFiles = map[string]struct {
	ext    string
	base64 bool
}{
	"image/png":       {".png", true},
	"image/jpeg":      {".jpg", true},
	"image/gif":       {".gif", true},
	"image/webp":      {".webp", true},
	"application/pdf": {".pdf", true},
	"image/svg+xml":   {".svg", false},
	"text/html":       {".html", false},
}

// rich saves rich output in files. It returns their paths by MIME type, and what of data they do not hold.
func (rj *Recorder) Rich(f *Output, data map[string]json.RawMessage) (files map[string]string, rest map[string]json.RawMessage) {
	if rj.Off.Load() {
		return nil, data
	}
	f.riches++
	in := rj.section.Load()
	for _, mime := range slices.Sorted(maps.Keys(data)) {
		kind, ok := richFiles[mime]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(data[mime], &s) != nil {
			continue
		}
		content, lossless := []byte(s), true
		if kind.base64 {
			var err error
			if content, err = base64.StdEncoding.DecodeString(s); err != nil {
				continue
			}
			lossless = base64.StdEncoding.EncodeToString(content) == s // no line feeds
		}
		name := in.name(f.base(), fmt.Sprintf("-%d%s", f.riches, kind.ext))
		path := filepath.Join(rj.Dir, name)
		err := rj.ready(in, name, true)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			_ = os.Remove(path) // half of it
			rj.mu.Lock()
			defer rj.mu.Unlock()
			rj.fail(err)
			return nil, data
		}
		rj.wrote(in, max(len(content), leastFile))
		if files == nil {
			files, rest = map[string]string{}, maps.Clone(data)
		}
		files[mime] = path
		if lossless {
			delete(rest, mime)
		}
	}
	if files == nil {
		rest = data
	}
	return files, rest
}

// relative is files as the index has them: without the directory, which may be moved.
func Relative(files map[string]string) map[string]string {
	if files == nil {
		return nil
	}
	names := make(map[string]string, len(files))
	for mime, path := range files {
		names[mime] = filepath.Base(path)
	}
	return names
}

// describeJournalError is the sentence for a journal that cannot be written.
func Describe(err error) string {
	next := "mend that, or set XDG_STATE_HOME to another directory"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		next = "free some space, or set XDG_STATE_HOME to a directory on another disk"
	}
	return fmt.Sprintf("what the cells print is shown but not kept, because the journal cannot be written: %s; %s",
		strings.TrimPrefix(err.Error(), "open "), next)
}
