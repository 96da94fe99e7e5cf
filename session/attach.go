package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dipls/dipexec/event"
)

// How long a session lives with nobody attached and nothing running.
const (
	KeepNever   time.Duration = 0  // it ends with its front
	KeepForever time.Duration = -1 // until somebody stops it
	KeepDefault               = 4 * time.Hour
)

// Unattended begins the text of a log event about a question that was answered by its default, since nobody was attached. It is kept until a front says that
// it was shown.
const Unattended = "while nobody was attached: "

// IsUnattended reports whether an event is such a log event.
func IsUnattended(ev event.Event) bool {
	l, ok := ev.(*event.Log)
	return ok && l.Run == "" && strings.HasPrefix(l.Text, Unattended)
}

// ParseKeep reads how long a session is kept, as users write it: "4h", "90m", "0", "forever".
func ParseKeep(text string) (time.Duration, error) {
	switch text {
	case "forever":
		return KeepForever, nil
	case "0":
		return KeepNever, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf(`want a time such as "4h" or "90m", "forever", or "0" for a session that ends with the editor`)
	}
	return d, nil
}

// FormatKeep is the inverse of [ParseKeep].
func FormatKeep(d time.Duration) string {
	switch {
	case d < 0:
		return "forever"
	case d == 0:
		return "0"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// About describes a session as a whole.
type About struct {
	Name      string        `json:"name,omitempty"` // "": it belongs to its front, and ends with it
	Dir       string        `json:"dir"`            // its folder
	PID       int           `json:"pid"`            // of its process
	Version   string        `json:"version,omitempty"`
	Since     time.Time     `json:"since"`                // when it was started
	Python    string        `json:"python,omitempty"`     // the interpreter that runs; "": none does
	Used      bool          `json:"used"`                 // something has run in it; to import ahead of time does not count
	Keep      time.Duration `json:"keep"`                 // how long it lives with nobody attached and nothing running; see KeepForever
	Ends      *time.Time    `json:"ends,omitempty"`       // when it ends if nothing happens; nil: somebody is attached, something runs, or it is kept for ever
	Clients   []Client      `json:"clients,omitempty"`    // who is attached, the earliest first
	Runs      []AboutRun    `json:"runs,omitempty"`       // that have not ended, in the order of their starts
	State     string        `json:"state"`                // of the pool, as in [event.PoolState]
	Ranks     int           `json:"ranks"`                // of the pool
	Devices   []string      `json:"devices,omitempty"`    // of the ranks: "cuda:0", "cpu"
	PoolSince *time.Time    `json:"pool_since,omitempty"` // since when the pool has these; nil: there are no ranks
	Memory    int64         `json:"memory,omitzero"`      // bytes of GPU memory that its processes hold, if asked for
	Journal   string        `json:"journal,omitempty"`    // the directory with the journals of its runs; "": none are kept
	Log       string        `json:"log,omitempty"`        // the file in which it tells who did what; "": it is the front's
}

// Client is who is attached to a session.
type Client struct {
	Program string    `json:"program"` // "VS Code", "dipls attach"
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
}

// AboutRun is a run that has not ended.
type AboutRun struct {
	ID    string     `json:"id"`
	Title string     `json:"title,omitempty"`
	Path  string     `json:"path,omitempty"`  // file of the cell
	Line  int        `json:"line,omitzero"`   // 1-based
	Since *time.Time `json:"since,omitempty"` // when its turn came; nil: it waits
	By    string     `json:"by,omitempty"`    // who has started it
}

// AttachRequest says which session is wanted, and by whom.
type AttachRequest struct {
	Dir     string        // the folder
	Name    string        // "": the only session of the folder, or the one that has the folder's name
	Only    bool          // that of the folder itself, and of no folder above it or elsewhere
	Chosen  bool          // without a name: the one that the user of Program has chosen for the folder, if it lives; see registry.Registry.Choose
	Start   bool          // start it if there is none; else the error's code is CodeNoSession
	Keep    time.Duration // of a session that is started
	Program string        // who wants it, for others to read: "VS Code", "dipls exec"
	Python  string        // the interpreter that the caller's settings choose; "": the usual search
	History bool          // subscriptions may ask for history
	Looks   bool          // it only looks: it does not count as attached, keeps the session from nothing, and nobody is told of it
}

// Attachment is a front's way to a session.
type Attachment struct {
	API
	Started bool     // it was started for this request
	About   About    // as it was when the front came
	Remarks []string // what the user should know, sentences: that the session's environment differs, for example
	// AwaitChange waits until the session has changed more often than seen in what About says of its clients, its name and its keep, and returns how often it
	// has. Its error means that nobody will tell. Nil: nobody does.
	AwaitChange func(ctx context.Context, seen uint64) (now uint64, err error)
	Ended       *Ended // how the folder's last session ended, if that was not told to anybody yet; only with Started
}

// Ended tells how a session ended.
type Ended struct {
	Name    string    `json:"name"`
	Dir     string    `json:"dir"`
	At      time.Time `json:"at"`      // when; for one that was killed, when that was found out
	Why     string    `json:"why"`     // a sentence: "it was idle for 4 h", "its process was killed, perhaps for lack of memory"
	Journal string    `json:"journal"` // the directory with the journals of its runs
	Log     string    `json:"log"`     // the file in which it has told who did what
}

// Listed is a session that was found.
type Listed struct {
	About
	Problem string `json:"problem,omitempty"` // why it cannot be asked, and what to do, a sentence; then only what its directory tells is known
}
