package journal

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// The size of a run's journal is limited. It has sections, one after the other in time: the first takes half of the limit, each later one a
// sixteenth. The oldest of the later ones are removed, with their part of the index. So the oldest and the newest output is kept.
const (
	firstShare = 2
	laterShare = 16
)

// leastFile is what a file of rich output takes at least.
const leastFile = 4 << 10

// section is one part of a run's journal.
type section struct {
	number  int
	size    atomic.Int64 // what it takes, about
	printed atomic.Int64 // the part of that which processes printed
	names   []string     // its files; guarded by the journal's mu
}

// name is what a file of the section is called: rank-0.out in the first one, rank-0.3.out in the third after it.
func (s *section) name(base, rest string) string {
	if s.number > 0 {
		base += "." + strconv.Itoa(s.number)
	}
	return base + rest
}

// wrote counts what has been written into a section.
func (r *Recorder) wrote(s *section, n int) {
	s.size.Add(int64(n))
	r.size.Add(int64(n))
}

// turn begins another section when the current one is full, and removes old ones if all together take too much. It reports whether this
// reached the limit. The caller holds mu.
func (r *Recorder) turn() (reached bool) {
	s := r.section.Load()
	share := int64(laterShare)
	if s.number == 0 {
		share = firstShare
	}
	if r.limit <= 0 || r.files == nil || s.size.Load() < r.limit/share {
		return false
	}
	r.flush()
	if r.off.Load() {
		return false
	}
	next := &section{number: s.number + 1}
	name := next.name(indexBase, indexExt)
	file, err := os.OpenFile(filepath.Join(r.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		r.fail(err)
		return false
	}
	r.closeLater()
	r.laterIndex = file
	r.index.Reset(file)
	next.names = []string{name}
	r.later = append(r.later, next)
	r.section.Store(next)
	for len(r.later) > 1 && r.size.Load() > r.limit-r.limit/laterShare {
		r.drop(r.later[0])
		r.later = r.later[1:]
		reached = !r.partial.Swap(true) || reached
	}
	if reached {
		r.store.noteLack(r)
	}
	return reached
}

// drop removes a section. The caller holds mu.
func (r *Recorder) drop(s *section) {
	for _, name := range s.names {
		path := filepath.Join(r.dir, name)
		_ = os.Truncate(path, 0) // a process that has printed nothing since may have it open
		_ = os.Remove(path)
	}
	r.size.Add(-s.size.Load())
	r.dropped += s.printed.Load()
}

// closeLater closes the index of a later section. Every write to it has been checked.
func (r *Recorder) closeLater() {
	if r.laterIndex != nil {
		_ = r.laterIndex.Close()
		r.laterIndex = nil
	}
}
