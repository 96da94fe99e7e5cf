package private

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"dipls/internal/flock"
)

// longestScratch is how long the path of a scratch directory may be, so that a socket in it has room: its whole path may have 107 bytes.
const longestScratch = 60

// Scratch makes a directory for sockets and such, which nobody else can enter, among the temporary files. prefix begins its name. Directories with the
// same prefix are removed if their programs are gone. remove removes this one.
func Scratch(prefix string) (dir string, remove func(), err error) {
	parent := os.TempDir()
	if len(parent)+1+len(prefix)+10 > longestScratch {
		parent = "/tmp"
	}
	sweepScratch(parent, prefix)
	for range 3 { // another program may take a new one for a dead one's
		if dir, err = os.MkdirTemp(parent, prefix); err != nil {
			return "", nil, fmt.Errorf("no folder for sockets: %w", err)
		}
		lock, err := flock.TryDir(dir)
		if err != nil {
			_ = os.Remove(dir)
			return "", nil, fmt.Errorf("no folder for sockets: %w", err)
		}
		if lock != nil {
			return dir, sync.OnceFunc(func() {
				_ = os.RemoveAll(dir)
				lock.Close()
			}), nil
		}
	}
	return "", nil, fmt.Errorf("no folder for sockets: other programs remove what is made in %s", parent)
}

// sweepScratch removes directories of programs that are gone.
func sweepScratch(parent, prefix string) {
	found, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range found {
		if Closed(dir) != nil {
			continue // another user's
		}
		if lock, err := flock.TryDir(dir); err == nil && lock != nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
}
