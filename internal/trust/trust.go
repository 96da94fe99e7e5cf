// Package trust remembers the folders whose code the user has let run.
//
// The memory is a file of JSON lines, which the user alone may read or write (mode 0600, in a directory that nobody else can change). A line is
// a folder by its real path, and the folder's own interpreter if that may run, too. A file that others could have written is ignored.
package trust

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dipls/internal/private"
)

// Entry is a folder whose code may run.
type Entry struct {
	Folder string    `json:"folder"`           // real path
	Python string    `json:"python,omitempty"` // of the folder itself; "": only interpreters from elsewhere may run it
	Since  time.Time `json:"since"`
}

// Store is the memory.
type Store struct{ path string }

// Open gives the memory in a file, which need not exist.
func Open(path string) *Store { return &Store{path} }

// Path is the file.
func (s *Store) Path() string { return s.path }

// Real is the path by which a folder is remembered: without links, or as it is if the folder is not there.
func Real(folder string) (string, error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return abs, nil
	}
	return real, err
}

// List are the folders, in the order of their names.
func (s *Store) List() ([]Entry, error) {
	if err := private.Check(filepath.Dir(s.path)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	f, err := os.OpenFile(s.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s is not a file", s.path)
	case int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s belongs to uid %d, not to uid %d", s.path, st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		return nil, fmt.Errorf("%s is open to others (mode %#o): chmod 600 %s", s.path, st.Mode&0o777, s.path)
	}
	var entries []Entry
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e Entry
		if json.Unmarshal(lines.Bytes(), &e) == nil && filepath.IsAbs(e.Folder) { // what a later version has written is passed over
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return bytes.Compare([]byte(a.Folder), []byte(b.Folder)) })
	return entries, lines.Err()
}

// Find tells whether a folder is remembered.
func (s *Store) Find(folder string) (Entry, bool) {
	real, err := Real(folder)
	if err != nil {
		return Entry{}, false
	}
	entries, err := s.List()
	if err != nil {
		return Entry{}, false
	}
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Folder == real })
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}

// Add remembers a folder, and its own interpreter if that is not "". A folder that anybody may write to is not remembered: tomorrow it may
// hold something else than the user has let run.
func (s *Store) Add(folder, python string) error {
	real, err := Real(folder)
	if err != nil {
		return err
	}
	if info, err := os.Stat(real); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", real)
	} else if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("anybody may write to %s", real)
	}
	return s.change(func(entries []Entry) []Entry {
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Folder == real })
		return append(entries, Entry{real, python, time.Now().Truncate(time.Second)})
	})
}

// Remove forgets a folder, and reports whether it was remembered.
func (s *Store) Remove(folder string) (known bool, err error) {
	real, err := Real(folder)
	if err != nil {
		return false, err
	}
	err = s.change(func(entries []Entry) []Entry {
		n := len(entries)
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Folder == real })
		known = len(entries) < n
		return entries
	})
	return known, err
}

// change rewrites the file. Others that do so at the same time wait.
func (s *Store) change(f func([]Entry) []Entry) error {
	if err := private.Dir(filepath.Dir(s.path)); err != nil {
		return err
	}
	lock, err := os.OpenFile(s.path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	entries, err := s.List()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, e := range f(entries) {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	fresh, err := os.CreateTemp(filepath.Dir(s.path), ".trusted-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(fresh.Name()) // gone if all goes well
	_, err = fresh.Write(b.Bytes())
	if err = errors.Join(err, fresh.Close()); err != nil {
		return err
	}
	return os.Rename(fresh.Name(), s.path)
}
