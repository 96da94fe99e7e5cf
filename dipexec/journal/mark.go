package journal

import (
	"os"
	"path/filepath"

	"dipls/dipexec/event"
)

// Mark is how far the journal of a run was at some moment.
type Mark struct {
	dir     string
	section int   // the last one
	size    int64 // of its index
}

// MarkOf tells how far the journal in a directory is. Nobody may write to it at that moment.
func MarkOf(dir string) (Mark, error) {
	m := Mark{dir: dir}
	for {
		next, err := sectionAfter(dir, m.section)
		if err != nil {
			return m, err
		}
		if next == 0 {
			break
		}
		m.section = next
	}
	info, err := os.Stat(filepath.Join(dir, (&section{number: m.section}).name(indexBase, indexExt)))
	if err != nil {
		return m, err
	}
	m.size = info.Size()
	return m, nil
}

// Settle writes out what is buffered. For a run without a directory it returns the events so far.
func (r *Recorder) Settle() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	var held []event.Event
	for _, e := range r.held {
		held = append(held, e.ev)
	}
	return held
}

// Dirs are the directories of all runs that are kept, by the runs' ids.
func (s *Store) Dirs() map[string]string {
	dirs := map[string]string{}
	entries, _ := os.ReadDir(s.dir) // where there is no directory there are no runs
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && isRunDir(name) {
			dirs[name[len(runDirTime)+1:]] = filepath.Join(s.dir, name)
		}
	}
	return dirs
}
