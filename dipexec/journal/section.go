package journal

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"dipls/internal/bytesize"
)

// What a run's journal takes is limited. It has sections, one after the other in time: the first takes half of the limit, each later one a
// sixteenth, and of the later ones the oldest go. So the oldest and the newest of what was printed are kept, and what a section holds is
// removed with it, its part of the index included.
const (
	firstShare = 2
	laterShare = 16
)

// DefaultLimit is how much one run's journal takes at most if nobody says otherwise; MinLimit is the least that may be said.
const (
	DefaultLimit = 2 << 30
	MinLimit     = 16 << 20
)

// leastFile is what a file of rich output takes at least.
const leastFile = 4 << 10

var limitPattern = regexp.MustCompile(`(?i)^(\d+(?:\.\d+)?) ?(?:([kmgt])(i?)b?|b)?$`)

// ParseLimit reads a limit such as "2GiB", "500 MB" or "4G" (the same as 4GiB); "0" is none, which is told as -1.
func ParseLimit(s string) (int64, error) {
	m := limitPattern.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("%q is no size; want one such as 500MB or 2GiB, or 0 for no limit", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if n == 0 && err == nil {
		return -1, nil
	}
	if unit := strings.ToLower(m[2]); unit != "" {
		base := 1024.0
		if m[3] == "" && strings.HasSuffix(strings.ToLower(s), "b") {
			base = 1000
		}
		n *= math.Pow(base, float64(1+strings.Index("kmgt", unit)))
	}
	switch {
	case err != nil || n > 1<<60:
		return 0, fmt.Errorf("%q is too much", s)
	case n < MinLimit:
		return 0, fmt.Errorf("%q is too little for a journal; want at least %s, or 0 for no limit", s, FormatLimit(MinLimit))
	}
	return int64(n), nil
}

// formatLimit writes a limit for people: "2 GiB".
func FormatLimit(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := int64(1) << (30 - 10*i); n >= one && n%one == 0 {
			return fmt.Sprintf("%d %s", n/one, unit)
		}
	}
	return bytesize.Format(n)
}

// section is one part of a run's journal.
type section struct {
	number  int
	size    atomic.Int64 // what it takes, about
	printed atomic.Int64 // what processes printed of that
	names   []string     // its files; guarded by the journal's mu
}

// name is what a file of the section is called: rank-0.out in the first one, rank-0.3.out in the third after it.
func (s *section) name(base, rest string) string {
	if s.number > 0 {
		base += "." + strconv.Itoa(s.number)
	}
	return base + rest
}

// outputName matches the names of the files with what processes printed.
var outputName = regexp.MustCompile(`^(?:local|rank-(\d+))(?:\.(\d+))?\.out$`)

// OutputFile is a file of a run's journal with what a process printed, byte by byte.
type OutputFile struct {
	Path    string
	Rank    int // -1: the local namespace
	Section int // 0: the beginning of the run. There are others once the journal has come near its limit
	Size    int64
}

// OutputFiles lists those of a run's directory, by section and then by rank.
func OutputFiles(dir string) ([]OutputFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []OutputFile
	for _, entry := range entries {
		m := outputName.FindStringSubmatch(entry.Name())
		info, err := entry.Info()
		if m == nil || err != nil { // removed meanwhile
			continue
		}
		f := OutputFile{Path: filepath.Join(dir, entry.Name()), Rank: -1, Size: info.Size()}
		if m[1] != "" {
			f.Rank, _ = strconv.Atoi(m[1])
		}
		f.Section, _ = strconv.Atoi(m[2])
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b OutputFile) int {
		if a.Section != b.Section {
			return a.Section - b.Section
		}
		return a.Rank - b.Rank
	})
	return files, nil
}

// wrote counts what has been written into a section.
func (rj *Recorder) wrote(s *section, n int) {
	s.size.Add(int64(n))
	rj.size.Add(int64(n))
}

// turn begins another section when the current one is full, and removes old ones if all together are too much. It reports whether the limit
// has been reached with that. The caller holds mu.
func (rj *Recorder) turn() (reached bool) {
	s := rj.section.Load()
	share := int64(laterShare)
	if s.number == 0 {
		share = firstShare
	}
	if rj.Limit <= 0 || rj.files == nil || s.size.Load() < rj.Limit/share {
		return false
	}
	rj.flush()
	if rj.Off.Load() {
		return false
	}
	next := &section{number: s.number + 1}
	name := next.name(indexBase, indexExt)
	file, err := os.OpenFile(filepath.Join(rj.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		rj.fail(err)
		return false
	}
	rj.closeLater()
	rj.laterIndex = file
	rj.index.Reset(file)
	next.names = []string{name}
	rj.later = append(rj.later, next)
	rj.section.Store(next)
	for len(rj.later) > 1 && rj.size.Load() > rj.Limit-rj.Limit/laterShare {
		rj.drop(rj.later[0])
		rj.later = rj.later[1:]
		reached = !rj.Partial.Swap(true) || reached
	}
	if reached {
		rj.j.lacks(rj)
	}
	return reached
}

// drop removes a section. The caller holds mu.
func (rj *Recorder) drop(s *section) {
	for _, name := range s.names {
		path := filepath.Join(rj.Dir, name)
		_ = os.Truncate(path, 0) // a process that has printed nothing since may have it open
		_ = os.Remove(path)
	}
	rj.size.Add(-s.size.Load())
	rj.dropped += s.printed.Load()
}

// closeLater closes the index of a later section. Every write to it has been checked.
func (rj *Recorder) closeLater() {
	if rj.laterIndex != nil {
		_ = rj.laterIndex.Close()
		rj.laterIndex = nil
	}
}
