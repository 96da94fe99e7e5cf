// Package journal keeps the output of runs: every byte that a process printed, rich output as files, and an index of all events. A [Store] is
// the directory with the runs, a [Recorder] writes one run, a [Reader] reads its events, and [Render] makes text of them for people.
package journal

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dipls/internal/private"
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

const runDirTime = "2006-01-02T15-04-05" // then "-" and the run's id

// Options configure a Store.
type Options struct {
	Dir      string        // "": DefaultDir
	MaxAge   time.Duration // runs that ended longer ago are removed; 0 is 14 days
	MaxBytes int64         // the oldest runs beyond this total are removed; 0 is 4 GiB
	MaxRuns  int           // the oldest runs beyond this number are removed; 0 is 1,000
	Limit    int64         // what one run takes at most by default; 0 is DefaultLimit, less than 0 no limit
}

// Store is a directory with one directory a run. The oldest runs are removed when there are too many; a run that is being
// written, by whatever process, is never touched.
//
// A silent run leaves no directory. Most runs are silent, and creating files would cost more CPU time than the rest of the run. What ran is written
// down later, for many of them at once. A run is not silent if it has output, an exception, an event that not every run has, or a bad end, or if it takes long.
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

	work sync.WaitGroup // rotations, and files that are made ahead

	mu     sync.Mutex // guards what follows; taken last
	closed bool       // nothing begins any more

	written  int64       // bytes written since the last rotation began
	runs     int         // and runs
	rotating bool        // at most one rotation at a time
	quiet    *time.Timer // begins a rotation; nil: none is due

	spare     *runFiles              // for the next run that is not silent; nil: none
	preparing bool                   // a spare is being made
	silent    map[*Recorder]struct{} // runs that go on and have no directory
	ended     silentRuns             // and those that have ended
	ageing    *time.Timer            // ends the silence of those that take long, and writes down those that have ended; nil: there are none

	lacking     []*Recorder // the first runs whose journals lack something, at most maxLacking
	lackingMore int         // how many more
}

// Open opens the journal and begins to remove old runs. It does not fail: a journal that cannot be written is noticed when a run begins.
func Open(o Options) *Store {
	s := &Store{
		dir: o.Dir, maxAge: cmp.Or(o.MaxAge, 14*24*time.Hour), maxBytes: cmp.Or(o.MaxBytes, 4<<30), maxRuns: cmp.Or(o.MaxRuns, 1000),
		limit: cmp.Or(o.Limit, DefaultLimit), rotateAfter: rotateAfter, maxOpen: maxOpenFiles, silent: map[*Recorder]struct{}{},
	}
	if s.dir == "" {
		s.dir, s.dirErr = DefaultDir()
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		s.maxOpen = int32(min(uint64(files.Cur)/4, maxOpenFiles))
	}
	s.startRotation()
	return s
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
func (s *Store) Dir() string { return s.dir }

// Close writes down the last silent runs, and waits for the removal of old runs to end. The recorders have to be finished before.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	for _, t := range []*time.Timer{s.quiet, s.ageing} {
		if t != nil {
			t.Stop()
		}
	}
	s.mu.Unlock()
	s.work.Wait()
	s.writeSilent(s.takeEnded())
	if f := s.takeSpare(); f != nil {
		f.discard()
	}
}

// runID is what ids of runs look like. Ids come from clients, too, and become part of names of files.
var runID = regexp.MustCompile(`^[0-9a-f]+-[0-9]+$`)

// Find is the directory of a run, of this or an earlier session; "" if there is none.
func (s *Store) Find(run string) string { return Find(s.dir, run) }

// Find is the directory of a run in the directory of a journal; "" if there is none.
func Find(dir, run string) string {
	if !runID.MatchString(run) || private.Check(dir) != nil {
		return ""
	}
	entries, _ := os.ReadDir(dir)
	found := ""
	for _, e := range entries {
		if isRunDir(e.Name()) && e.Name()[len(runDirTime)+1:] == run {
			if found != "" {
				return "" // which of them is meant?
			}
			found = filepath.Join(dir, e.Name())
		}
	}
	return found
}

// Runs are the directories of all runs in the directory of a journal, oldest first.
func Runs(dir string) []string {
	entries, _ := os.ReadDir(dir) // sorted, and names begin with the time
	var runs []string
	for _, e := range entries {
		if e.IsDir() && isRunDir(e.Name()) {
			runs = append(runs, filepath.Join(dir, e.Name()))
		}
	}
	return runs
}

// isRunDir reports whether a name is that of a run's directory.
func isRunDir(name string) bool {
	if len(name) < len(runDirTime)+2 || name[len(runDirTime)] != '-' {
		return false
	}
	_, err := time.Parse(runDirTime, name[:len(runDirTime)])
	return err == nil
}
