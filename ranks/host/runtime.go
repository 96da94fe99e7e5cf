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
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/internal/flock"
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
		if flock.Same(d.lock, d.path) {
			return nil
		}
		d.log.Warn("something has removed the session's directory; it is made anew", zap.String("dir", d.path))
		if err := (runtimePlace{root: d.root}).use(); err != nil {
			return fmt.Errorf("make the session's directory anew: %w", err)
		}
	}
	for again := false; ; again = true {
		if err := os.Mkdir(d.path, 0o700); err != nil && !(again && errors.Is(err, fs.ErrExist)) {
			return fmt.Errorf("make the session's directory: %w", err)
		}
		lock, err := flock.TryDir(d.path)
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

// socket is the path of a process's socket.
func (d *runtimeDir) socket(name string) string { return filepath.Join(d.path, name) }

// dial connects to a process's socket.
func (d *runtimeDir) dial(ctx context.Context, name string) (net.Conn, error) {
	path := d.socket(name)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %s has %d bytes, the system allows %d: set DIPLS_RUNTIME_DIR to a shorter directory",
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

// runtimeRoot makes sure of the directory for those of sessions: the first of the places for it that is usable.
func runtimeRoot(log *zap.Logger) (string, error) {
	var passed error
	for _, place := range runtimePlaces() {
		if place.foreign {
			continue
		}
		err := place.use()
		if err == nil {
			return place.root, nil
		}
		// After su, or in a container, XDG_RUNTIME_DIR often names a directory of another user, or none.
		log.Debug("a directory for sockets passed over", zap.Error(err))
		passed = errors.Join(passed, err)
	}
	return "", fmt.Errorf("no directory for sockets: %w (set DIPLS_RUNTIME_DIR to a short directory of your own)", passed)
}

// RuntimeRoots makes sure of the directory for those of sessions, below which the sockets of all our processes lie, as [Local.StartNode] does. It comes
// first. Others follow that are usable and there: a session whose environment is another one may have used them. passed says why places were not
// taken that come before the first; nil: there are none.
func RuntimeRoots() (roots []string, passed, err error) {
	for _, place := range runtimePlaces() {
		switch {
		case len(roots) == 0 && !place.foreign:
		case !place.fallback && private.Closed(place.root) == nil && place.checkParent() == nil:
			roots = append(roots, place.root)
			continue
		default:
			continue
		}
		if err := place.use(); err != nil {
			passed = errors.Join(passed, err)
			continue
		}
		roots = append(roots, place.root)
	}
	if len(roots) == 0 {
		return nil, nil, fmt.Errorf("no directory for sockets: %w (set DIPLS_RUNTIME_DIR to a short directory of your own)", passed)
	}
	return roots, passed, nil
}

// runtimePlace is a place for the directory for those of sessions.
type runtimePlace struct {
	parent   string // must be private, too; "": need not
	root     string
	fallback bool // nothing is there unless those before it cannot be used
	foreign  bool // only who has another environment uses it
}

// runtimePlaces are those places, the best first: $DIPLS_RUNTIME_DIR alone, if it is set; else dipls in $XDG_RUNTIME_DIR, then dipls-UID in $TMPDIR or
// /tmp. Who has set XDG_RUNTIME_DIR to a directory of their own finds nothing elsewhere. Otherwise it is logind's, or should be: some of the user's shells
// and services have it set, and others not. logind removes it when the user logs out. So it comes second for who does not linger: a session lives on, and
// could not be reached any more.
func runtimePlaces() []runtimePlace {
	if only := os.Getenv("DIPLS_RUNTIME_DIR"); only != "" {
		return []runtimePlace{{root: only}}
	}
	uid := strconv.Itoa(os.Geteuid())
	tmp := runtimePlace{root: filepath.Join(os.TempDir(), "dipls-"+uid)}
	at := func(dir string) runtimePlace { return runtimePlace{parent: dir, root: filepath.Join(dir, "dipls")} }
	xdg, login := os.Getenv("XDG_RUNTIME_DIR"), "/run/user/"+uid
	if xdg != "" && filepath.Clean(xdg) != login {
		tmp.fallback = true
		return []runtimePlace{at(xdg), tmp}
	}
	places := []runtimePlace{tmp, at(login)}
	places[1].foreign = xdg == ""
	if xdg != "" && lingers(lingering) {
		slices.Reverse(places)
	}
	if other := filepath.Join("/tmp", "dipls-"+uid); other != tmp.root {
		places = append(places, runtimePlace{root: other, foreign: true})
	}
	return places
}

// lingering is where logind keeps who lingers, in files that have the users' names.
const lingering = "/var/lib/systemd/linger"

// lingers reports whether logind keeps what it has made for the user after the last logout.
func lingers(lingering string) bool {
	name := os.Getenv("USER")
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		name = u.Username
	}
	_, err := os.Stat(filepath.Join(lingering, name))
	return name != "" && err == nil
}

// use makes the root and checks it.
func (p runtimePlace) use() error {
	if !filepath.IsAbs(p.root) {
		return fmt.Errorf("%s is not an absolute path", p.root)
	}
	if n := len(p.root) + len("/12345678/") + maxSocketName; n > maxSocketPath {
		return fmt.Errorf("sockets in %s would have paths of %d bytes, the system allows %d", p.root, n, maxSocketPath)
	}
	if err := p.checkParent(); err != nil {
		return err
	}
	if err := os.Mkdir(p.root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return private.Closed(p.root)
}

// checkParent checks the parent, if it must be private.
func (p runtimePlace) checkParent() error {
	if p.parent == "" {
		return nil
	}
	if err := private.Closed(p.parent); err != nil {
		return err
	}
	return private.Check(p.parent)
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
		lock, err := flock.TryDir(dir)
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
