package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dipls/internal/private"
)

// rotateAfter is how long no run must have written before a rotation begins: looking through a thousand runs, and removing some, takes a while.
const rotateAfter = 2 * time.Second

// wrote counts a run and its bytes. If there may be too many now, a rotation begins: after a while without runs, or at once if there are
// four times as many.
func (s *Store) wrote(n int64) {
	s.mu.Lock()
	s.written += n
	s.runs++
	now := s.over(4)
	if s.over(16) && !now {
		s.rotateLater()
	}
	s.mu.Unlock()
	if now {
		s.startRotation()
	}
}

// over reports whether more than a part of what may be kept has been written since the last rotation. The caller holds mu.
func (s *Store) over(part int) bool {
	return s.written > s.maxBytes/int64(part) || s.runs > s.maxRuns/part
}

// rotateLater schedules a rotation for when there has been no run for a while. The caller holds mu.
func (s *Store) rotateLater() {
	switch {
	case s.closed:
	case s.quiet == nil:
		s.quiet = time.AfterFunc(s.rotateAfter, s.startRotation)
	default:
		s.quiet.Reset(s.rotateAfter)
	}
}

func (s *Store) startRotation() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.rotating || s.dirErr != nil {
		return
	}
	if s.quiet != nil {
		s.quiet.Stop()
		s.quiet = nil
	}
	s.rotating, s.written, s.runs = true, 0, 0
	s.work.Go(func() {
		s.rotate(time.Now())
		s.mu.Lock()
		s.rotating = false
		s.mu.Unlock()
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
	// Ask before looking at its files: if the run ends meanwhile, it is measured again. Do not ask for a spare, which may be taking its lock just now.
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
// the next rotation. Runs that were over when they were measured are not measured again.
func (s *Store) rotate(now time.Time) {
	if private.Check(s.dir) != nil { // it does not exist, or others could have put something there: nothing is removed
		return
	}
	s.removeSilent(now)
	entries, err := os.ReadDir(s.dir)
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
		dir := filepath.Join(s.dir, e.Name())
		r, known := s.measured[dir]
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
	s.measured = make(map[string]oldRun, left)
	for _, r := range runs {
		if excess := now.Sub(r.ended) > s.maxAge || total > s.maxBytes || left > s.maxRuns; excess && removeRun(r.dir, now.Sub(r.ended)) {
			total -= r.size
			left--
		} else if r.over {
			s.measured[r.dir] = r
		}
	}
}

// removeRun removes a run's directory, unless somebody writes it or did a moment ago: one that is just being made has no
// lock yet.
func removeRun(dir string, age time.Duration) bool {
	return age >= time.Minute && !locked(dir) && os.RemoveAll(dir) == nil
}

// locked tells whether somebody writes a run, or may be doing so. A run that nobody writes stays that way for ever.
func locked(dir string) bool {
	index, err := os.OpenFile(filepath.Join(dir, indexName), os.O_RDWR, 0)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer index.Close()
	return syscall.Flock(int(index.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}
