package journal

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dipls/internal/contain"
	"dipls/internal/private"
)

// Silent runs have no directory; what ran and how it ended is a line of silent.jsonl, which all of them share. The lines are written together, a
// second later at most and by the store's own goroutine, so no run waits for them. If the server is killed before, they are lost.
const (
	silentName     = "silent.jsonl"   // locked (flock) while lines are added
	olderSilent    = "silent-1.jsonl" // what silent.jsonl was before it became too large
	maxSilent      = 4 << 20          // bytes of one of the two files, about
	maxSilentCode  = 64 << 10         // longer code of a silent run is left out
	maxSilentHeld  = 4096             // runs that wait to be written; more than that within a second are forgotten
	maxSilentBytes = 16 << 20         // of their code
)

// silentRuns are those that have ended and wait to be written.
type silentRuns struct {
	records []Record
	bytes   int // of their code
}

// remember takes in a silent run that has ended, to be written down soon.
func (s *Store) remember(record Record) {
	if len(record.Code) > maxSilentCode {
		record.Code = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ended.records) < maxSilentHeld && s.ended.bytes < maxSilentBytes {
		s.ended.records = append(s.ended.records, record)
		s.ended.bytes += len(record.Code)
	}
	if s.ageing == nil && !s.closed { // its timer has run out meanwhile
		s.ageing = time.AfterFunc(createAfter, s.age)
	}
}

// takeEnded takes the runs that wait to be written.
func (s *Store) takeEnded() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := s.ended.records
	s.ended = silentRuns{}
	return records
}

// writeSilent writes down silent runs. It does not fail: what cannot be written, such as on a full disk, is missing in the list of runs.
func (s *Store) writeSilent(records []Record) {
	if len(records) == 0 || s.dirErr != nil {
		return
	}
	contain.Do(func() { _ = appendSilent(s.dir, records) })
}

// appendSilent adds lines to the file, all of them or none.
func appendSilent(dir string, records []Record) error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	lines.SetEscapeHTML(false)
	for _, r := range records {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	if err := private.Dir(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, silentName)
	f, err := lockSilent(path, os.O_CREATE)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(b.Bytes()); err != nil {
		_ = f.Truncate(before.Size())
		return err
	}
	if before.Size()+int64(b.Len()) > maxSilent {
		return os.Rename(path, filepath.Join(dir, olderSilent))
	}
	return nil
}

// lockSilent opens a file and locks it. If another process has put one in its place meanwhile, that is opened: whoever holds the lock may do so, too.
func lockSilent(path string, flags int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|flags, 0o600)
		if err != nil {
			return nil, err
		}
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		ours, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(ours, now) {
			return f, nil
		}
		_ = f.Close()
	}
}

// readSilent calls yield with the silent runs in the directory of a journal, the older ones first.
func readSilent(dir string, yield func(Record)) error {
	if err := private.Check(dir); err != nil {
		return err
	}
	for _, name := range []string{olderSilent, silentName} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue // there were not so many
		}
		lines := bufio.NewReader(f)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var r Record
			if json.Unmarshal(line, &r) == nil {
				yield(r)
			}
		}
		_ = f.Close()
	}
	return nil
}

// removeSilent removes the runs that are too old.
func (s *Store) removeSilent(now time.Time) {
	for _, name := range []string{olderSilent, silentName} {
		_ = dropSilent(filepath.Join(s.dir, name), now.Add(-s.maxAge))
	}
}

// dropSilent removes the runs of a file that ended before a time, and the file if none is left.
func dropSilent(path string, limit time.Time) error {
	f, err := lockSilent(path, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.ModTime().Before(limit) {
		return os.Remove(path)
	}
	in := bufio.NewReader(f)
	var kept []byte
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var r Record
		if json.Unmarshal(line, &r) == nil && !r.Finished.Before(limit) {
			if first { // they stand in the order of their ends, about
				return nil
			}
			kept = append(kept, line...)
		}
	}
	if len(kept) == 0 {
		return os.Remove(path)
	}
	draft := path + "-" + rand.Text()
	if err := os.WriteFile(draft, kept, 0o600); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return os.Rename(draft, path)
}
