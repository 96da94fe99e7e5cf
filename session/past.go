package session

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
)

// PastRequest says which runs are wanted. Its zero value wants all.
type PastRequest struct {
	Run    string       `json:"run,omitzero"`    // this one
	Path   string       `json:"path,omitzero"`   // of these files: an absolute path of one, or of a folder above them; or a name without a folder
	Cell   string       `json:"cell,omitzero"`   // a cell's number in its file, or a part of its title, in any case
	Status []PastStatus `json:"status,omitzero"` // how they have ended; none: any
	Since  time.Time    `json:"since,omitzero"`  // began then or later
	Server int          `json:"server,omitzero"` // ran in the process with this pid; 0: in any
	Loud   bool         `json:"loud,omitzero"`   // have put something out
	Limit  int          `json:"limit,omitzero"`  // so many of the latest ones; 0: all
}

// PastStatus is a status of a run ([event.Status]), or what is said in place of one that it has not.
type PastStatus string

// The statuses of runs of the past.
const (
	PastOK          PastStatus = "ok"
	PastError       PastStatus = "error"
	PastInterrupted PastStatus = "interrupted"
	PastDied        PastStatus = "died"
	PastRunning     PastStatus = "running"
	PastKilled      PastStatus = "killed" // the process that ran it was
)

// PastStatuses are all of them.
var PastStatuses = []PastStatus{PastOK, PastError, PastInterrupted, PastDied, PastRunning, PastKilled}

// PastRun is a run of this or an earlier session, of an editor or of the command line.
type PastRun struct {
	Run        string     `json:"run"`
	Parent     string     `json:"parent,omitzero"` // the run whose cell has asked for it
	Path       string     `json:"path,omitzero"`   // file of the cell
	Line       int        `json:"line,omitzero"`   // of the file on which the code starts, from 1
	Cell       int        `json:"cell"`            // its number, from 1; 0: it was none of a file
	Title      string     `json:"title"`
	Target     string     `json:"target"`
	Status     PastStatus `json:"status"` // one of PastStatuses
	Reason     string     `json:"reason,omitzero"`
	Started    time.Time  `json:"started"`
	Seconds    float64    `json:"seconds"`              // that it took; 0 while it goes on, and if it was killed
	PeakMemory int64      `json:"peak_memory,omitzero"` // bytes of GPU memory that torch had allocated at most on one of its processes; absent: not known
	Journal    string     `json:"journal,omitzero"`     // directory of what it has put out; absent: it was silent
	Code       string     `json:"code,omitzero"`        // that ran; absent: of a silent run it was too long to keep
	Server     int        `json:"server"`               // pid of the process that ran it
}

// PastRuns lists runs that the directory of a journal knows, the latest first; "": the usual directory. No session has to live for that. Runs that have
// put nothing out appear a second after their end.
func PastRuns(dir string, r PastRequest) ([]PastRun, error) {
	dir, err := journalDir(dir)
	if err != nil {
		return nil, err
	}
	past, err := journal.ReadPast(dir, r.Since, r.Limit, r.takes)
	runs := make([]PastRun, len(past))
	for i, p := range past {
		runs[i] = pastRun(p)
	}
	return runs, err
}

// journalDir is the directory of a journal; "": the usual one.
func journalDir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return journal.DefaultDir()
}

func pastRun(p journal.Past) PastRun {
	run := PastRun{
		Run: p.Run, Parent: p.Parent, Path: string(p.Path), Line: p.Line, Cell: p.Cell, Title: p.Title, Target: p.Target, Status: pastStatus(p), Reason: p.Reason,
		Started: p.Started, PeakMemory: p.PeakMemory(), Journal: p.Dir, Code: p.Code, Server: p.Server,
	}
	if !p.Finished.IsZero() {
		run.Seconds = event.Seconds(p.Finished.Sub(p.Started))
	}
	return run
}

func pastStatus(p journal.Past) PastStatus {
	switch {
	case p.Going:
		return PastRunning
	case p.Killed():
		return PastKilled
	}
	return PastStatus(p.Status)
}

// takes reports whether a run is one of those that are wanted.
func (r PastRequest) takes(p journal.Past) bool {
	return (r.Run == "" || r.Run == p.Run) && (!r.Loud || p.Dir != "") && (r.Server == 0 || r.Server == p.Server) &&
		(len(r.Status) == 0 || slices.Contains(r.Status, pastStatus(p))) &&
		r.takesPath(string(p.Path)) && r.takesCell(p.Cell, p.Title)
}

func (r PastRequest) takesPath(path string) bool {
	switch {
	case r.Path == "" || path == r.Path:
		return true
	case !filepath.IsAbs(r.Path):
		return filepath.Base(path) == r.Path
	}
	return strings.HasPrefix(path, strings.TrimSuffix(r.Path, "/")+"/")
}

func (r PastRequest) takesCell(number int, title string) bool {
	if n, err := strconv.Atoi(r.Cell); err == nil && n == number {
		return true
	}
	return strings.Contains(strings.ToLower(title), strings.ToLower(r.Cell))
}

// PastEvents calls take with what a run of the past has told, in order, and when that was, counted from the run's start. A silent run tells nothing. It
// ends with take's error.
func PastEvents(run PastRun, take func(event.Event, time.Duration) error) error {
	if run.Journal == "" {
		return nil
	}
	r, err := journal.Read(run.Journal)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		ev, at, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = take(ev, at)
		}
		if err != nil {
			return err
		}
	}
}
