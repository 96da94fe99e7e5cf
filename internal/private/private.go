// Package private makes and checks directories whose content nobody else can change.
//
// A directory is private if it is the user's, and if at every step of its path only the user or root could put something else there. Each
// directory on the way belongs to one of them and nobody else may write to it, or it is sticky, as /tmp is. The same holds for each link and
// for what it leads to. A path that was found private stays private, since nobody who could change that is left; so it may be used as it is.
//
// Each step is checked relative to the directory that was opened and checked before (openat), never by path. So nobody can exchange
// anything between the check and the use.
package private

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links a path may lead through, as in Linux.
const maxLinks = 40

// Dir makes sure that an absolute path is a private directory. It creates what is missing, for the user alone. The error says which part of the
// path others could change.
func Dir(path string) error { return walk(path, true) }

// Check is Dir without creating anything: if something is missing, the error is [fs.ErrNotExist].
func Check(path string) error { return walk(path, false) }

// Closed checks that dir is a directory, not a link, that belongs to the user and is closed to others: they may not even look into it. How one gets to
// it does not count.
func Closed(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory (%v)", dir, info.Mode().Type())
	}
	return closed(dir, info)
}

// ClosedSocket is Closed for a Unix socket.
func ClosedSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is not a socket (%v)", path, info.Mode().Type())
	}
	return closed(path, info)
}

func closed(path string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d, not to uid %d", path, st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %#o): chmod go= %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// walk goes from the root of the file system to path.
func walk(path string, create bool) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s is not an absolute path", path)
	}
	path = filepath.Clean(path)
	for range maxLinks {
		target, err := walkToLink(path, create)
		if err != nil || target == "" {
			return err
		}
		path = target
	}
	return fmt.Errorf("%s: too many links", path)
}

// walkToLink is walk up to the first link: target is the path with the link replaced by what it leads to, "" if there is none.
func walkToLink(path string, create bool) (target string, err error) {
	w := walker{at: "/"}
	if w.fd, err = unix.Open("/", openDir|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return "", &os.PathError{Op: "open", Path: "/", Err: err}
	}
	defer func() { unix.Close(w.fd) }() // the one that is open then
	if err := unix.Fstat(w.fd, &w.st); err != nil {
		return "", &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	w.system = w.st.Uid
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, name := range names {
		link, err := w.enter(name, create)
		if err != nil {
			return "", err
		}
		if link != "" {
			return link + "/" + strings.Join(names[i+1:], "/"), nil // not cleaned: .. behind another link is not what it seems
		}
	}
	return "", w.end()
}

// walker is on its way.
type walker struct {
	fd     int // of the directory in which it is
	at     string
	st     unix.Stat_t
	system uint32 // whose the root directory is: in a user namespace the system's files may belong to nobody
}

// enter goes into a directory of the one in which it is; link is what there is if it is a link, an absolute path.
func (w *walker) enter(name string, create bool) (link string, err error) {
	switch name {
	case ".":
		return "", nil
	case "..":
		return "", w.open(name, filepath.Dir(w.at)) // there is no link in at
	}
	if err := w.owned(w.at, &w.st); err != nil {
		return "", err
	}
	if open(&w.st) && w.st.Mode&unix.S_ISVTX == 0 {
		return "", fmt.Errorf("others may write to %s (mode %#o)", w.at, w.st.Mode&0o777)
	}
	entry := filepath.Join(w.at, name)
	found, err := w.look(name)
	if errors.Is(err, os.ErrNotExist) && create {
		if err = unix.Mkdirat(w.fd, name, 0o700); err == nil || errors.Is(err, os.ErrExist) {
			found, err = w.look(name)
		}
	}
	if err != nil {
		return "", &os.PathError{Op: "open", Path: entry, Err: err}
	}
	if err := w.owned(entry, &found); err != nil {
		return "", err
	}
	switch found.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return w.readLink(name)
	case unix.S_IFDIR:
	default:
		return "", &os.PathError{Op: "open", Path: entry, Err: unix.ENOTDIR}
	}
	return "", w.open(name, entry)
}

// open goes to a directory.
func (w *walker) open(name, path string) error {
	fd, err := unix.Openat(w.fd, name, openDir|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	unix.Close(w.fd)
	w.fd, w.at = fd, path
	if err := unix.Fstat(w.fd, &w.st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return nil
}

// look tells of an entry without following it.
func (w *walker) look(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(w.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func (w *walker) readLink(name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.fd, name, b)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: filepath.Join(w.at, name), Err: err}
	}
	if link := string(b[:n]); filepath.IsAbs(link) {
		return link, nil
	}
	return w.at + "/" + string(b[:n]), nil
}

// end checks the directory that the path leads to, which we write to.
func (w *walker) end() error {
	switch {
	case int(w.st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d, not to uid %d", w.at, w.st.Uid, os.Geteuid())
	case open(&w.st):
		return fmt.Errorf("others may write to %s (mode %#o): chmod go-w %s", w.at, w.st.Mode&0o777, w.at)
	}
	return nil
}

// owned makes sure that something is the user's or the system's.
func (w *walker) owned(path string, st *unix.Stat_t) error {
	if st.Uid == 0 || st.Uid == w.system || int(st.Uid) == os.Geteuid() {
		return nil
	}
	return fmt.Errorf("%s belongs to uid %d, not to uid %d or root", path, st.Uid, os.Geteuid())
}

// open reports whether others may write to a directory. A group with the same number as the user counts as the user: many systems give each
// user such a group, and let it write by default.
func open(st *unix.Stat_t) bool {
	group := st.Mode&0o020 != 0 && !(int(st.Gid) == os.Getegid() && os.Getegid() == os.Geteuid())
	return group || st.Mode&0o002 != 0
}
