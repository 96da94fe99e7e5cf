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
)

// maxLacking bounds the runs and ranks of which is told one by one what their journal lacks.
const maxLacking = 4

// lostOutput is what a process has printed and its run's journal could not take.
type lostOutput struct {
	from  int64 // how much it had printed before
	bytes int64
}

// lose counts output that is not kept.
func (rj *Recorder) lose(f *Output, n int) {
	if n == 0 {
		return
	}
	rj.mu.Lock()
	defer rj.mu.Unlock()
	if rj.lost == nil {
		rj.lost = map[int]*lostOutput{}
	}
	if rj.lost[f.Rank] == nil {
		rj.lost[f.Rank] = &lostOutput{from: f.total}
	}
	rj.lost[f.Rank].bytes += int64(n)
}

// loseRich counts rich output that is not kept.
func (rj *Recorder) loseRich() {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	rj.lostRich++
}

// lacking says in words what the journal lacks of what was printed; "" is nothing.
func (rj *Recorder) Lacking() string {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	var lacks []string
	switch {
	case rj.refused:
		lacks = append(lacks, "all of it ("+shortError(rj.err)+")")
	case rj.err != nil && len(rj.lost) == 0 && rj.lostRich == 0:
		lacks = append(lacks, "the end of its index ("+shortError(rj.err)+")")
	case rj.err != nil:
		var words []string
		ranks := slices.Sorted(maps.Keys(rj.lost))
		for i, rank := range ranks {
			if i == maxLacking {
				words = append(words, fmt.Sprintf("%d more from some byte on", len(ranks)-i))
				break
			}
			words = append(words, fmt.Sprintf("%s from byte %d on", nameRank(rank), rj.lost[rank].from))
		}
		text := ""
		if len(words) > 0 {
			text = "what was printed by " + strings.Join(words, ", ")
		}
		if rj.lostRich > 0 {
			if text != "" {
				text += ", and "
			}
			text += fmt.Sprintf("%d pieces of rich output", rj.lostRich)
		}
		lacks = append(lacks, text+" ("+shortError(rj.err)+")")
	}
	if rj.Partial.Load() {
		lacks = append(lacks, fmt.Sprintf("%s in the middle (the limit of one run is %s)", bytesize.Format(rj.dropped), FormatLimit(rj.Limit)))
	}
	return strings.Join(lacks, "; ")
}

// begun tells whether there is something of the run in the directory.
func (rj *Recorder) Begun() bool {
	rj.mu.Lock()
	defer rj.mu.Unlock()
	return rj.files != nil
}

func nameRank(rank int) string {
	if rank < 0 {
		return "the local namespace"
	}
	return fmt.Sprintf("rank %d", rank)
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

// lacks notes that a run's journal lacks something, or will.
func (j *Store) lacks(rj *Recorder) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if rj.noted {
		return
	}
	rj.noted = true
	if len(j.lacking) < maxLacking {
		j.lacking = append(j.lacking, rj)
	} else {
		j.lackingMore++
	}
}

// Lacking says what the journal lacks of what the runs so far have put out, a line for each of the first runs of which something is lacking;
// none is nothing.
func (j *Store) Lacking() []string {
	j.mu.Lock()
	runs, more := slices.Clone(j.lacking), j.lackingMore
	j.mu.Unlock()
	var lines []string
	for _, rj := range runs {
		if text := rj.Lacking(); text != "" {
			lines = append(lines, fmt.Sprintf("of cell %d, %s", rj.record.Cell, text))
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("something of %d more runs", more))
	}
	return lines
}
