package registry

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"dipls/internal/flock"
	"dipls/internal/private"
	"dipls/ranks/wire"
	"dipls/session"
)

// What is in a session's directory. Its path must leave room for "/r999999-999999"; see [host.RuntimeRoots].
const (
	socketName = "api"
	aboutName  = "about.json"
)

// hidden begins the name of a directory that is being made.
const hidden = "."

// idPattern is what ids of sessions look like, also of those that are being made.
var idPattern = regexp.MustCompile(`^\.?[0-9a-f]{8}$`)

func newID() string {
	var id [4]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// about is what a session's directory tells. Names of files are bytes, which JSON cannot have: [wire.Path] says how they are written.
type about struct {
	ID      string    `json:"id"`
	Dir     string    `json:"dir"`
	Name    string    `json:"name"`
	PID     int       `json:"pid"`
	Version string    `json:"version,omitempty"`
	Since   time.Time `json:"since"`
	Journal string    `json:"journal,omitempty"`
	Log     string    `json:"log,omitempty"`
}

type (
	plainAbout about
	aboutJSON  struct {
		plainAbout
		Dir     wire.Path `json:"dir"`
		Journal wire.Path `json:"journal,omitempty"`
		Log     wire.Path `json:"log,omitempty"`
	}
)

// MarshalJSON implements [json.Marshaler].
func (a about) MarshalJSON() ([]byte, error) {
	return json.Marshal(aboutJSON{plainAbout(a), wire.Path(a.Dir), wire.Path(a.Journal), wire.Path(a.Log)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *about) UnmarshalJSON(data []byte) error {
	var read aboutJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*a = about(read.plainAbout)
	a.Dir, a.Journal, a.Log = string(read.Dir), string(read.Journal), string(read.Log)
	return nil
}

// session is the same for others.
func (a about) session() session.About {
	return session.About{Name: a.Name, Dir: a.Dir, PID: a.PID, Version: a.Version, Since: a.Since, Journal: a.Journal, Log: a.Log, Used: true}
}

// entry is a living session that was found.
type entry struct {
	path string // its directory
	about
	problem error // why it is not to be dialled; nil: it may be
}

func (e *entry) socket() string { return filepath.Join(e.path, socketName) }

// String names it: "train in /home/u/project".
func (e *entry) String() string { return fmt.Sprintf("%s in %s", e.Name, e.Dir) }

// living are the sessions that live. Nothing has to be locked for it.
func living() ([]*entry, error) {
	all, err := places()
	if err != nil {
		return nil, err
	}
	var found []*entry
	for _, place := range all {
		if private.Closed(place) != nil {
			continue // it is not there, or was made by somebody else; whoever wants to make one is told
		}
		names, _ := os.ReadDir(place)
		for _, name := range names {
			if !idPattern.MatchString(name.Name()) || name.Name()[:1] == hidden {
				continue
			}
			path := filepath.Join(place, name.Name())
			if lives, err := flock.Held(path); err == nil && !lives || errors.Is(err, os.ErrNotExist) {
				continue
			}
			found = append(found, read(path))
		}
	}
	return found, nil
}

// read reads what a session's directory tells.
func read(path string) *entry {
	e := &entry{path: path}
	if e.problem = private.Closed(path); e.problem != nil {
		return e
	}
	data, err := os.ReadFile(filepath.Join(path, aboutName))
	if err == nil {
		err = json.Unmarshal(data, &e.about)
	}
	if err != nil {
		e.problem = fmt.Errorf("what its directory tells cannot be read: %w", err)
		return e
	}
	e.problem = private.ClosedSocket(e.socket())
	return e
}

// sweep removes what dead sessions have left in a place, whose lock is held, and writes their last words.
func sweep(place string) {
	if private.Closed(place) != nil {
		return
	}
	names, _ := os.ReadDir(place)
	for _, name := range names {
		path := filepath.Join(place, name.Name())
		if !idPattern.MatchString(name.Name()) || private.Closed(path) != nil {
			continue
		}
		lock, err := flock.TryDir(path)
		if lock == nil || err != nil {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(path, aboutName)); err == nil {
			var a about
			if json.Unmarshal(data, &a) == nil {
				closeRecord(a.ID)
			}
		}
		_ = os.RemoveAll(path) // else the next one does
		lock.Close()
	}
}
