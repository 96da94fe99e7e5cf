package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dipls/internal/flock"
	"dipls/internal/private"
	"dipls/ranks/wire"
	"dipls/session"
)

// maxRecords is how many ended sessions of a machine are remembered, with their logs.
const maxRecords = 20

// maxUntold is how many are remembered at most if nobody was told of them, since nobody has come back to their folders.
const maxUntold = 100

const recordTime = "2006-01-02T15-04-05" // then "-" and the session's id

// record is what is kept of a session beside the journals: at first that it has begun, at its end why it ended.
type record struct {
	ID      string    `json:"id"`
	Dir     string    `json:"dir"`
	Name    string    `json:"name"`
	Path    string    `json:"path"` // its directory
	Host    string    `json:"host"` // a home may be shared by machines
	Boot    string    `json:"boot"` // which start of the machine
	Since   time.Time `json:"since"`
	Journal string    `json:"journal,omitempty"`
	Log     string    `json:"log,omitempty"`
	Memory  kills     `json:"memory"` // as it was when the session began

	Ended *session.Ended `json:"ended,omitempty"`
	By    string         `json:"by,omitempty"`   // who has ended it
	Told  bool           `json:"told,omitempty"` // nobody has to be told how it ended

	file string // "": there is no place for it
}

// newRecord is the record of a session that begins.
func newRecord(a about) *record {
	r := &record{
		ID: a.ID, Dir: a.Dir, Name: a.Name, Host: hostname(), Boot: bootID(), Since: a.Since, Journal: a.Journal, Memory: killsNow(kills{}),
	}
	if dir, err := stateDir(); err == nil && private.Dir(dir) == nil {
		base := filepath.Join(dir, a.Since.UTC().Format(recordTime)+"-"+a.ID)
		r.file, r.Log = base+".json", base+".log"
	}
	return r
}

type (
	plainRecord record
	recordJSON  struct {
		plainRecord
		Dir     wire.Path `json:"dir"`
		Path    wire.Path `json:"path"`
		Journal wire.Path `json:"journal,omitempty"`
		Log     wire.Path `json:"log,omitempty"`
	}
)

// MarshalJSON implements [json.Marshaler].
func (r record) MarshalJSON() ([]byte, error) {
	return json.Marshal(recordJSON{plainRecord(r), wire.Path(r.Dir), wire.Path(r.Path), wire.Path(r.Journal), wire.Path(r.Log)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *record) UnmarshalJSON(data []byte) error {
	read := recordJSON{plainRecord: plainRecord(*r)}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*r = record(read.plainRecord)
	r.Dir, r.Path, r.Journal, r.Log = string(read.Dir), string(read.Path), string(read.Journal), string(read.Log)
	if r.Ended != nil { // which has the same names as text
		r.Ended.Dir, r.Ended.Journal, r.Ended.Log = r.Dir, r.Journal, r.Log
	}
	return nil
}

func hostname() string {
	name, _ := os.Hostname() // "" is unknown
	return name
}

// save writes the record, if that is possible: a full disk ends no session. A new file has no place there, but the old one's block has room for a few words
// more.
func (r *record) save() {
	if r.file == "" || writeJSON(r.file, r) == nil {
		return
	}
	data, err := json.Marshal(r)
	if err != nil {
		return
	}
	if f, err := os.OpenFile(r.file, os.O_WRONLY, 0); err == nil {
		n, _ := f.Write(append(data, '\n'))
		_ = f.Truncate(int64(n))
		f.Close()
	}
}

// end notes how the session has ended.
func (r *record) end(why, by string) {
	r.By, r.Told = by, why == ""
	r.Ended = &session.Ended{Name: r.Name, Dir: r.Dir, At: time.Now(), Why: why, Journal: r.Journal, Log: r.Log}
	r.save()
}

// lives reports whether the session of a record lives.
func (r *record) lives() bool {
	held, err := flock.Held(r.Path)
	return err == nil && held && r.Boot == bootID()
}

// close writes the last words of a session that is dead and could not write them.
func (r *record) close() {
	if r.Ended == nil {
		r.end(r.autopsy(), "")
	}
}

// autopsy says why a session has ended that could not tell.
func (r *record) autopsy() string {
	if r.Boot != bootID() {
		return "the machine was restarted"
	}
	now := killsNow(r.Memory)
	switch {
	case crashed(r.Log):
		return "its process crashed; the log says where"
	case now.Group != "" && now.InGroup > r.Memory.InGroup:
		return fmt.Sprintf("its process was killed, since memory had run out (for that %s of its control group)", killed(now.InGroup-r.Memory.InGroup))
	case now.All > r.Memory.All:
		return fmt.Sprintf("its process was killed, perhaps since memory had run out (for that %s on this machine meanwhile)",
			killed(now.All-r.Memory.All))
	}
	return "its process was killed"
}

func killed(n int) string {
	if n == 1 {
		return "the kernel has killed 1 process"
	}
	return fmt.Sprintf("the kernel has killed %d processes", n)
}

// crashed reports whether a log ends as that of a program that has crashed.
func crashed(log string) bool {
	data, err := tail(log, 256<<10)
	return err == nil && (bytes.Contains(data, []byte("\npanic: ")) || bytes.Contains(data, []byte("\nfatal error: ")))
}

// closeRecord writes the last words of a dead session.
func closeRecord(id string) {
	for _, r := range records() {
		if r.ID == id {
			r.close()
		}
	}
}

// records are those of this machine's sessions, the earliest first.
func records() (all []*record) {
	dir, err := stateDir()
	if err != nil || private.Check(dir) != nil {
		return nil
	}
	files, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.json")) // sorted, and names begin with the time
	for _, file := range files {
		data, err := os.ReadFile(file)
		r := &record{file: file}
		if err == nil && json.Unmarshal(data, r) == nil && r.Host == hostname() {
			all = append(all, r)
		}
	}
	return all
}

// tellEnded is how the last session of a folder ended that somebody should learn of; nil: there is none, or the user has ended it. What was told is not told
// again. Old records go.
func tellEnded(dir string) (last *session.Ended) {
	all := records()
	for _, r := range all {
		if r.Told || r.Dir != dir || r.lives() {
			continue
		}
		r.close()
		last = r.Ended  // the latest wins
		if r.By != "" { // all programs are the same user's
			last = nil
		}
		r.Told = true
		r.save()
	}
	ended := slices.DeleteFunc(all, func(r *record) bool { return r.Ended == nil })
	for i, r := range ended {
		if later := len(ended) - 1 - i; later >= maxUntold || later >= maxRecords && r.Told {
			_ = os.Remove(r.file)
			_ = os.Remove(r.Log)
		}
	}
	return last
}

// escapeGlob makes a pattern of a path.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// tail reads the end of a file.
func tail(path string, bytes int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(info.Size(), bytes))
	_, err = f.ReadAt(data, info.Size()-int64(len(data)))
	return data, err
}
