package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"

	"dipls/internal/bytesize"
	"dipls/internal/ranklist"
)

// maxLacking bounds the runs and ranks whose gaps in the journal are listed one by one.
const maxLacking = 4

// lostOutput is output of a process that its run's journal could not take.
type lostOutput struct {
	from  int64 // how much it had printed before
	bytes int64
}

// lose counts output that is not kept.
func (r *Recorder) lose(o *Output, n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == nil {
		r.lost = map[ranklist.Who]*lostOutput{}
	}
	if r.lost[o.who] == nil {
		r.lost[o.who] = &lostOutput{from: o.total}
	}
	r.lost[o.who].bytes += int64(n)
}

// loseRich counts rich output that is not kept.
func (r *Recorder) loseRich() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lostRich++
}

// Lacking says in words what is missing from the run's directory of what was printed; "": nothing, or there is no directory.
func (r *Recorder) Lacking() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		return ""
	}
	return r.lacks()
}

// lacks says in words what of the run is not kept; "": nothing is missing. The caller holds mu.
func (r *Recorder) lacks() string {
	var lacks []string
	switch {
	case r.refused:
		lacks = append(lacks, "all of it ("+shortError(r.err)+")")
	case r.err != nil && len(r.lost) == 0 && r.lostRich == 0:
		lacks = append(lacks, "the end of its index ("+shortError(r.err)+")")
	case r.err != nil:
		var words []string
		losers := slices.SortedFunc(maps.Keys(r.lost), ranklist.Who.Compare)
		for i, who := range losers {
			if i == maxLacking {
				words = append(words, fmt.Sprintf("%d more from some byte on", len(losers)-i))
				break
			}
			words = append(words, fmt.Sprintf("%s from byte %d on", ranklist.InSentence([]ranklist.Who{who}), r.lost[who].from))
		}
		text := ""
		if len(words) > 0 {
			text = "what was printed by " + strings.Join(words, ", ")
		}
		if r.lostRich > 0 {
			if text != "" {
				text += ", and "
			}
			text += fmt.Sprintf("%d pieces of rich output", r.lostRich)
		}
		lacks = append(lacks, text+" ("+shortError(r.err)+")")
	}
	if r.partial.Load() {
		lacks = append(lacks, fmt.Sprintf("%s in the middle (the limit of one run is %s)", bytesize.Format(r.dropped), FormatLimit(r.limit)))
	}
	return strings.Join(lacks, "; ")
}

// shortError is an error without the file that it is about.
func shortError(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if errors.Is(err, syscall.EFBIG) {
		return "file too large: a limit of this process (ulimit -f), or of the file system"
	}
	return err.Error()
}

// noteLack notes that a run's journal is missing something, or will be.
func (s *Store) noteLack(r *Recorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.noted {
		return
	}
	r.noted = true
	if len(s.lacking) < maxLacking {
		s.lacking = append(s.lacking, r)
	} else {
		s.lackingMore++
	}
}

// Lacking says what the journal is missing of the output of the runs so far: a line for each of the first runs where something is missing.
func (s *Store) Lacking() []string {
	s.mu.Lock()
	runs, more := slices.Clone(s.lacking), s.lackingMore
	s.mu.Unlock()
	var lines []string
	for _, r := range runs {
		r.mu.Lock()
		text := r.lacks()
		r.mu.Unlock()
		if text != "" {
			lines = append(lines, fmt.Sprintf("of cell %d, %s", r.record.Cell, text))
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("something of %d more runs", more))
	}
	return lines
}

// Problem is the sentence for a journal that cannot be written, because of an error.
func Problem(err error) string {
	next := "mend that, or set XDG_STATE_HOME to another directory"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		next = "free some space, or set XDG_STATE_HOME to a directory on another disk"
	}
	return fmt.Sprintf("what the cells print is shown but not kept, because the journal cannot be written: %s; %s",
		strings.TrimPrefix(err.Error(), "open "), next)
}
