package ranks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// maxSocketName bounds NAME in DIR/NAME: rank and generation may each have six digits.
const maxSocketName = len("r999999-999999")

var sessionName = regexp.MustCompile(`^[0-9a-f]{8}$`)

// runtimeDir is a session's private directory, which holds its sockets.
//
// It lies in a directory of the user's, the root, beside those of other sessions. Each holds a file "lock" that server and
// node keep flocked while they live, so that whoever comes later can tell a dead session's directory, which a
// session leaves only if server and node were killed together, and removes it. Making, locking and removing happen under
// the root's own lock, so no directory is ever seen half made.
type runtimeDir struct {
	path string
	lock *os.File // flocked; the node has it as descriptor 4
}

// newRuntimeDir makes a session's directory and removes those of dead sessions.
func newRuntimeDir(ctx context.Context, log *zap.Logger) (*runtimeDir, error) {
	root, err := runtimeRoot(log)
	if err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, filepath.Join(root, "lock"))
	if err != nil {
		return nil, fmt.Errorf("runtime directory %s: %w", root, err)
	}
	defer unlock()
	sweep(root, log)

	var name [4]byte
	rand.Read(name[:])
	dir := filepath.Join(root, hex.EncodeToString(name[:]))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the session's directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		if err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			lock.Close()
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("lock the session's directory: %w", err)
	}
	return &runtimeDir{path: dir, lock: lock}, nil
}

// socket is the path of a process's socket.
func (d *runtimeDir) socket(name string) string { return filepath.Join(d.path, name) }

// remove removes the directory; the processes must be gone.
func (d *runtimeDir) remove() error {
	err := os.RemoveAll(d.path)
	d.lock.Close()
	return err
}

// CheckSockets makes a session's directory as [StartNode] does, binds a socket in it, and removes both. It returns where
// sessions' directories lie.
func CheckSockets(ctx context.Context) (root string, err error) {
	dir, err := newRuntimeDir(ctx, zap.NewNop())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	listener, err := net.Listen("unix", dir.socket("check"))
	if err != nil {
		return "", fmt.Errorf("bind a socket: %w", err)
	}
	return filepath.Dir(dir.path), listener.Close()
}

// runtimeRoot finds or makes the directory that holds the sessions' directories: dipls in $XDG_RUNTIME_DIR if that is
// usable, else dipls-UID in $TMPDIR or /tmp.
func runtimeRoot(log *zap.Logger) (string, error) {
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" {
		root := filepath.Join(xdg, "dipls")
		err := usableRoot(xdg, root)
		if err == nil {
			return root, nil
		}
		// After su or in a container the variable often names somebody else's directory, or none.
		log.Debug("XDG_RUNTIME_DIR passed over", zap.Error(err))
	}
	tmp := os.TempDir()
	root := filepath.Join(tmp, "dipls-"+strconv.Itoa(os.Geteuid()))
	if err := usableRoot("", root); err != nil {
		return "", fmt.Errorf("no directory for sockets: %w (set XDG_RUNTIME_DIR or TMPDIR to a short directory of your own)", err)
	}
	return root, nil
}

// usableRoot makes root and checks it. parent, if not empty, must be private too.
func usableRoot(parent, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("%s is not an absolute path", root)
	}
	if n := len(root) + len("/12345678/") + maxSocketName; n > maxSocketPath {
		return fmt.Errorf("sockets in %s would have paths of %d bytes, the system allows %d", root, n, maxSocketPath)
	}
	if parent != "" {
		if err := checkPrivate(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPrivate(root)
}

// checkPrivate makes sure that dir is a directory, not a link to one, that is ours and nobody else's.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory (%v)", dir, info.Mode().Type())
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d, not to uid %d", dir, st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %#o): chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}

// sweep removes the directories of dead sessions.
func sweep(root string, log *zap.Logger) {
	entries, err := os.ReadDir(root)
	if err != nil {
		log.Warn("cannot look for dead sessions", zap.Error(err))
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !sessionName.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(root, e.Name())
		if alive(dir) {
			continue
		}
		log.Info("removing a dead session's directory", zap.String("dir", dir))
		if err := os.RemoveAll(dir); err != nil {
			log.Warn("cannot remove a dead session's directory", zap.Error(err))
		}
	}
}

// alive reports whether somebody holds a session directory's lock. When in doubt, somebody does.
func alive(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		return true
	}
	defer f.Close()
	return flock(f, syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// lockFile makes and locks a file, waiting for whoever holds it.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s, which another dipls holds: %w", path, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}
