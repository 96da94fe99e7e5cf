// Package registry is where the sessions of a user on this machine are that outlive their fronts: it finds them, starts them, and knows how they ended.
//
// # Where they are
//
// Below the directory that holds all sockets of the user (see [host.RuntimeRoots]) lies sessions/, and in it a directory for each session. Its name, the
// session's id, is new with each start. It holds the socket, api, and about.json, which tells whose it is. The session's process holds a lock on
// the directory while it lives, and nothing else says that it does: neither a pid nor a socket that is there. It makes the directory under another name, and
// renames it when its socket accepts connections; so what can be seen can be dialled.
//
// Whoever changes what is in sessions/ holds the lock of that directory, and first removes what dead sessions have left.
//
// # Last words
//
// Beside the journals a file tells of each session from its start on: TIME-ID.json, with its log, TIME-ID.log. A session that ends in order writes there why.
// For one that could not, whoever finds it dead writes what can be known: that its process was killed, that memory ran out, that the host was restarted. The
// next start in the same folder hands that out, once, unless the user has ended the session.
//
// # Choices
//
// A folder may be given another session than its own. Beside the last words, chosen/ has a file for each folder and program of which that is so. It names
// the session's id, so it neither has to follow a new name, nor means a later session.
//
// # Who may
//
// Only the user: the directories are closed to others, owner and mode of everything on the way are checked without following links, and both ends of a
// connection ask the kernel for the other's user.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"dipls/dipexec/journal"
	"dipls/internal/flock"
	"dipls/internal/private"
	"dipls/ranks/host"
	"dipls/session"
)

// Options configure a [Registry].
type Options struct {
	// Build is the version of dipls.
	Build string
	// Start starts a session, and returns when it accepts connections, or with the reason why it does not. [ErrTaken]: there is one already.
	// Nil: a process of this program is started, by its command "session".
	Start func(ctx context.Context, dir, name string, keep time.Duration) error
}

// Registry is where the sessions of the user on this machine are.
type Registry struct{ o Options }

// Open gives the registry. It does not fail: what is wrong with its directories is told by what is asked.
func Open(o Options) *Registry {
	r := &Registry{o}
	if o.Start == nil {
		r.o.Start = launch
	}
	return r
}

// ErrTaken says that a folder has a session of that name already.
var ErrTaken = errors.New("the folder has a session of that name already")

// CheckName checks that a session can have a name. The error's code is [session.CodeInvalid].
func CheckName(name string) error {
	hint := ""
	switch wrong := func(r rune) bool { return r == '/' || !unicode.IsPrint(r) }; {
	case name == "" || strings.TrimSpace(name) != name:
		hint = "a name is not empty, and neither begins nor ends with a space"
	case strings.HasPrefix(name, "-"):
		hint = `a name does not begin with "-", as flags do`
	case strings.ContainsFunc(name, wrong):
		hint = `a name has no "/" and no control characters`
	case len(name) > maxName:
		hint = fmt.Sprintf("a name has at most %d bytes", maxName)
	default:
		return nil
	}
	return &session.Error{Code: session.CodeInvalid, Text: fmt.Sprintf("a session cannot be called %q", name), Hint: hint}
}

// maxName is how many bytes the name of a session has at most.
const maxName = 100

// defaultName is the name of a folder's session that was given none.
func defaultName(dir string) string {
	name := filepath.Base(dir)
	if CheckName(name) != nil {
		return "session"
	}
	return name
}

// realDir is the path of a folder without links.
func realDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(real); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", real)
	}
	return real, nil
}

// places are the directories sessions/, that where new ones are made first; the others may not be there.
func places() ([]string, error) {
	roots, _, err := host.RuntimeRoots()
	for i, root := range roots {
		roots[i] = filepath.Join(root, "sessions")
	}
	return roots, err
}

// held are the directories sessions/ while their locks are held: nobody else changes what is in them.
type held struct {
	places []string // that where new ones are made first
	unlock []func()
}

// hold makes sessions/ and waits for the locks of all places, and removes what dead sessions have left.
func hold(ctx context.Context) (*held, error) {
	all, err := places()
	if err != nil {
		return nil, err
	}
	h := &held{places: all}
	sorted := slices.Clone(all)
	slices.Sort(sorted) // everybody locks in the same order
	for _, place := range sorted {
		unlock, err := lockPlace(ctx, place, place == all[0])
		if err != nil {
			h.release()
			return nil, err
		}
		h.unlock = append(h.unlock, unlock)
	}
	for _, place := range all {
		sweep(place)
	}
	return h, nil
}

// lockPlace locks one place. One that is not there is made if make is true, and else needs no lock.
func lockPlace(ctx context.Context, place string, make bool) (unlock func(), err error) {
	for {
		if make {
			if err := os.Mkdir(place, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, err
			}
		}
		err := private.Closed(place)
		if err == nil {
			unlock, err = flock.Dir(ctx, place)
		}
		if make && errors.Is(err, fs.ErrNotExist) {
			continue // who held the lock has removed it, since nothing was in it
		}
		if !make && err != nil && ctx.Err() == nil {
			return func() {}, nil
		}
		return unlock, err
	}
}

// release gives the locks back. A place with nothing in it is removed.
func (h *held) release() {
	for _, place := range h.places {
		_ = os.Remove(place) // fails if a session is in it
	}
	for _, unlock := range h.unlock {
		unlock()
	}
}

// stateDir is the directory with the logs and the last words.
func stateDir() (string, error) {
	runs, err := journal.DefaultDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(runs), "sessions"), nil
}
