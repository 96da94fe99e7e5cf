package journal

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"dipls/internal/contain"
	"dipls/internal/private"
)

const (
	spareDir    = ".next-"    // then anything: the files of a run to come
	createAfter = time.Second // a silent run that takes so long gets a directory, too
)

// runFiles are the files that every run has, in a directory that has no run's name yet.
type runFiles struct {
	dir    string
	index  *os.File // locked
	record *os.File
}

// newFiles makes them.
func (s *Store) newFiles() (_ *runFiles, err error) {
	if err := private.Dir(s.dir); err != nil {
		return nil, err
	}
	f := new(runFiles)
	if f.dir, err = os.MkdirTemp(s.dir, spareDir); err != nil {
		return nil, err
	}
	f.index, err = os.OpenFile(filepath.Join(f.dir, indexName), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err == nil {
		// On a file system without locks the journal is kept all the same: removeRun gets the same error, and removes nothing that is in use.
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
func (s *Store) files(dir string) (*runFiles, error) {
	if f := s.takeSpare(); f != nil {
		if f.move(dir) == nil {
			return f, nil
		}
		f.discard()
	}
	f, err := s.newFiles()
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

// close closes the files, which also ends the lock. Every write was checked when it was made.
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

// takeSpare takes the files that were made ahead. Nil if there are none.
func (s *Store) takeSpare() *runFiles {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.spare
	s.spare = nil
	return f
}

// prepare makes the files of the next run ahead, in the background, since file systems take long for that. The next run reports a failure.
func (s *Store) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.preparing || s.spare != nil || s.dirErr != nil {
		return
	}
	s.preparing = true
	s.work.Go(func() {
		f, err := s.newFiles()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.preparing = false
		if err == nil {
			s.spare = f
		}
	})
}

// admit takes in a run that begins, and puts off a rotation. It makes sure that there are files, or that they are being made: a journal that
// cannot be written is to be noticed when a run begins.
func (s *Store) admit(r *Recorder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dirErr != nil {
		return s.dirErr
	}
	if s.spare == nil && !s.preparing {
		f, err := s.newFiles()
		if err != nil {
			return err
		}
		s.spare = f
	}
	if s.quiet != nil {
		s.rotateLater()
	}
	s.silent[r] = struct{}{}
	if s.ageing == nil && !s.closed {
		s.ageing = time.AfterFunc(createAfter, s.age)
	}
	return nil
}

// forget removes a run from the silent ones: it has a directory now, or has ended.
func (s *Store) forget(r *Recorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.silent, r)
}

// age gives directories to silent runs that go on for long: if the server is killed, it is known that they ran. Those that have ended it writes down.
// One timer for all runs: setting a timer costs more than a short run.
func (s *Store) age() {
	s.mu.Lock()
	silent := slices.Collect(maps.Keys(s.silent))
	s.ageing = nil
	if !s.closed { // otherwise Close writes down what has ended
		if len(silent) > 0 {
			s.ageing = time.AfterFunc(createAfter, s.age)
		}
		s.work.Go(func() { s.writeSilent(s.takeEnded()) })
	}
	s.mu.Unlock()
	for _, r := range silent {
		contain.Do(r.createIfLong) // if it fails, the run's end tries again
	}
}
