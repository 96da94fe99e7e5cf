package host

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
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"dipls/internal/private"
)

// maxSocketName is the length of the longest NAME in DIR/NAME: rank and generation may have six digits each.
const maxSocketName = len("r999999-999999")

var sessionName = regexp.MustCompile(`^[0-9a-f]{8}$`)

// ErrEnded tells that a node's session is over: nothing more can be started in it.
var ErrEnded = errors.New("the session of the node is over")

// runtimeDir is a session's private directory, which holds its sockets.
//
// It lies in the root, a directory of the user, beside those of other sessions. The server holds a lock (flock) on it while it lives. So a later
// server can tell the directory of a dead session, which is left only if server and guard were killed together, and removes it. The lock is on the
// directory itself: a lock file could be removed while the directory stays, and programs that clean up /tmp skip locked directories.
type runtimeDir struct {
	root string
	path string
	log  *zap.Logger

	mu   sync.Mutex
	lock *os.File // the directory, flocked; nil before it is made
	gone bool     // it was removed for good
}

// planRuntimeDir chooses a name for a session's directory, and removes the directories of dead sessions. make makes it.
func planRuntimeDir(log *zap.Logger) (*runtimeDir, error) {
	root, err := runtimeRoot(log)
	if err != nil {
		return nil, err
	}
	sweep(root, log)
	var name [4]byte
	rand.Read(name[:])
	return &runtimeDir{root: root, path: filepath.Join(root, hex.EncodeToString(name[:])), log: log}, nil
}

// session is the session's id; no other session of the user has the same.
func (d *runtimeDir) session() string { return filepath.Base(d.path) }

// make makes the directory if it is not there: the first time, and after something has removed it, such as a program that cleans up /tmp.
func (d *runtimeDir) make() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return ErrEnded
	}
	if d.lock != nil {
		if sameFile(d.lock, d.path) {
			return nil
		}
		d.log.Warn("something has removed the session's directory; it is made anew", zap.String("dir", d.path))
		if err := usableRoot("", d.root); err != nil {
			return fmt.Errorf("make the session's directory anew: %w", err)
		}
	}
	for again := false; ; again = true {
		if err := os.Mkdir(d.path, 0o700); err != nil && !(again && errors.Is(err, fs.ErrExist)) {
			return fmt.Errorf("make the session's directory: %w", err)
		}
		lock, err := lockDir(d.path)
		if err != nil {
			os.Remove(d.path)
			return fmt.Errorf("lock the session's directory: %w", err)
		}
		if lock != nil {
			if d.lock != nil {
				d.lock.Close()
			}
			d.lock = lock
			return nil
		}
		// Before we could lock it, another dipls took it for a dead session's, and removes it.
		time.Sleep(time.Millisecond)
	}
}

// lockDir locks a directory; nil if another dipls holds the lock, or has removed the directory.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil && sameFile(f, path) {
		return f, nil
	}
	f.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// sameFile reports whether an open file is the one at a path.
func sameFile(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}

// socket is the path of a process's socket.
func (d *runtimeDir) socket(name string) string { return filepath.Join(d.path, name) }

// dial connects to a process's socket.
func (d *runtimeDir) dial(ctx context.Context, name string) (net.Conn, error) {
	path := d.socket(name)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %s has %d bytes, the system allows %d: set XDG_RUNTIME_DIR or TMPDIR to a shorter directory",
			path, len(path), maxSocketPath)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", path)
}

// remove removes the directory. The processes must have ended.
func (d *runtimeDir) remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	if d.lock == nil {
		return nil
	}
	err := os.RemoveAll(d.path)
	d.lock.Close()
	return err
}

// CheckSockets makes a session's directory as [Local.StartNode] does, binds a socket in it, and removes both. It returns the directory in which
// those of sessions are.
func CheckSockets() (root string, err error) {
	dir, err := planRuntimeDir(zap.NewNop())
	if err != nil {
		return "", err
	}
	if err := dir.make(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	listener, err := net.Listen("unix", dir.socket("check"))
	if err != nil {
		return "", fmt.Errorf("bind a socket: %w", err)
	}
	return filepath.Dir(dir.path), listener.Close()
}

// runtimeRoot finds or makes the directory for those of sessions: dipls in $XDG_RUNTIME_DIR if that is usable, else dipls-UID in $TMPDIR or /tmp.
func runtimeRoot(log *zap.Logger) (string, error) {
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" {
		root := filepath.Join(xdg, "dipls")
		err := usableRoot(xdg, root)
		if err == nil {
			return root, nil
		}
		// After su, or in a container, the variable often names a directory of another user, or none.
		log.Debug("XDG_RUNTIME_DIR passed over", zap.Error(err))
	}
	tmp := os.TempDir()
	root := filepath.Join(tmp, "dipls-"+strconv.Itoa(os.Geteuid()))
	if err := usableRoot("", root); err != nil {
		return "", fmt.Errorf("no directory for sockets: %w (set XDG_RUNTIME_DIR or TMPDIR to a short directory of your own)", err)
	}
	return root, nil
}

// usableRoot makes root and checks it. parent, if not "", must be private, too.
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
		if err := private.Check(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPrivate(root)
}

// checkPrivate checks that dir is a directory, not a link, that belongs to us and is closed to others.
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

// sweep removes the directories of dead sessions, and kills what still runs of them.
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
		lock, err := lockDir(dir)
		if lock == nil {
			if err != nil {
				log.Warn("cannot tell whether a session lives", zap.Error(err))
			}
			continue
		}
		log.Info("removing what a dead session has left", zap.String("dir", dir))
		// An empty one may have just been made, and not be locked yet. It may be a living session's, made again.
		if content, err := os.ReadDir(dir); err != nil || len(content) > 0 {
			killSession(e.Name())
		}
		if err := os.RemoveAll(dir); err != nil {
			log.Warn("cannot remove a dead session's directory", zap.Error(err))
		}
		lock.Close()
	}
}

// lockFile makes and locks a file. It waits while another process holds the lock.
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
