package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"dipls/internal/flock"
)

const (
	// startupPrefix begins the names of files with start-ups.
	startupPrefix = "start-"

	// startupStale is how old a file is that no session holds any more. Locks may mean nothing between two machines that share its folder.
	startupStale = 24 * time.Hour
)

// startupFile is a start-up in a file that only the user can read. It is locked while it is of use.
type startupFile struct {
	path string
	lock *os.File
	once sync.Once
}

// writeStartup writes a start-up to a new file, in a folder that hosts may share; "" is one in the user's cache. Those there whose sessions were killed are
// removed.
func writeStartup(dir string, input []byte) (*startupFile, error) {
	dir, err := startupDir(dir)
	if err != nil {
		return nil, fmt.Errorf("no folder for the start-up: %w", err)
	}
	sweepStartups(dir)
	f, err := os.CreateTemp(dir, startupPrefix) // 0600
	if err != nil {
		return nil, fmt.Errorf("write the start-up: %w", err)
	}
	s := &startupFile{path: f.Name(), lock: f}
	if _, err := f.Write(input); err != nil {
		s.remove()
		return nil, fmt.Errorf("write the start-up: %w", err)
	}
	_, _ = flock.Try(f, true) // where there are no locks, its age protects it
	if err := f.Sync(); err != nil {
		s.remove()
		return nil, fmt.Errorf("write the start-up: %w", err)
	}
	return s, nil
}

// remove removes the file.
func (s *startupFile) remove() {
	s.once.Do(func() {
		_ = os.Remove(s.path)
		s.lock.Close()
	})
}

// sweepStartups removes start-ups of sessions that were killed.
func sweepStartups(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, startupPrefix+"*"))
	for _, path := range found {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < startupStale {
			continue
		}
		if _, err := ReadFile(path); err != nil {
			continue // something else that has such a name
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if free, err := flock.Try(f, true); err == nil && free {
			_ = os.Remove(path)
		}
		f.Close()
	}
}

func startupDir(dir string) (string, error) {
	if rest, found := strings.CutPrefix(dir, "~/"); found || dir == "~" {
		home, err := os.UserHomeDir()
		return filepath.Join(home, rest), err
	}
	if dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "dipls", "hosts")
	return dir, os.MkdirAll(dir, 0o700)
}
