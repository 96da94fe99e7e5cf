package journal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// Past is a run that the directory of a journal knows of.
type Past struct {
	Record
	Dir   string // with what it has put out; "": it was silent
	Going bool   // a process may still write its journal
}

// Killed reports whether the process that ran it has ended before the run.
func (p Past) Killed() bool { return p.Finished.IsZero() && !p.Going }

// PeakMemory is the largest amount of GPU memory, in bytes, that torch had allocated on one of its processes; 0: that is not known.
func (r Record) PeakMemory() (peak int64) {
	for _, p := range r.Parts {
		peak = max(peak, p.PeakMemory)
	}
	return peak
}

// ReadPast lists the runs in the directory of a journal that a filter takes, the latest first, n at most; 0: all. Runs that began before since are not
// looked at. Silent ones of killed processes, and the last second of living ones, are missing. A directory that does not exist has no runs.
func ReadPast(dir string, since time.Time, n int, takes func(Past) bool) ([]Past, error) {
	var silent []Past
	err := readSilent(dir, func(r Record) {
		if p := (Past{Record: r}); !r.Started.Before(since) && takes(p) {
			silent = append(silent, p)
		}
	})
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	slices.SortStableFunc(silent, laterFirst)
	if n > 0 {
		silent = silent[:min(n, len(silent))]
	}
	var kept []Past
	// Names of directories tell the second, and then the id as text: all of the last second are looked at.
	for _, run := range slices.Backward(Runs(dir)) {
		if n > 0 && len(kept) >= n && !sameSecond(run, kept[len(kept)-1].Dir) {
			break
		}
		record, err := ReadRecord(run)
		if err != nil { // it is being made, or removed
			continue
		}
		if record.Started.Before(since.Add(-time.Second)) {
			break
		}
		p := Past{Record: record, Dir: run}
		p.Going = p.Finished.IsZero() && Going(run)
		if !record.Started.Before(since) && takes(p) {
			kept = append(kept, p)
		}
	}
	all := kept
	for _, p := range silent { // one that has put something out after its end has a directory after all
		if !slices.ContainsFunc(kept, func(k Past) bool { return k.Run == p.Run }) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, laterFirst)
	if n > 0 {
		all = all[:min(n, len(all))]
	}
	return all, nil
}

func laterFirst(a, b Past) int { return b.Started.Compare(a.Started) }

// sameSecond reports whether the names of two directories have the same time.
func sameSecond(a, b string) bool {
	return filepath.Base(a)[:len(runDirTime)] == filepath.Base(b)[:len(runDirTime)]
}
