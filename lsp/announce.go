package lsp

import (
	"time"

	"go.lsp.dev/uri"
)

// methodSession is the notification that tells which session a folder has; see docs/language-server.md.
const methodSession = "dip/session"

// sessionState is how a folder is tied to its session.
type sessionState string

// The states.
const (
	sessionOwn        sessionState = "own"        // it belongs to the editor, and ends with it
	sessionAttached   sessionState = "attached"   // it was started for this editor, and outlives it
	sessionReattached sessionState = "reattached" // it was there before
	sessionGone       sessionState = "gone"       // it has ended, or cannot be reached; the next command that needs one starts another
)

// sessionParams tell which session a workspace folder has.
type sessionParams struct {
	Folder  uri.URI      `json:"folder"`
	State   sessionState `json:"state"`
	Name    string       `json:"name" doc:"empty: it belongs to the editor"`
	Keep    float64      `json:"keep" doc:"how long it lives with nobody attached and nothing running, in seconds; -1: until it is stopped; 0: it ends with the editor"`
	Since   time.Time    `json:"since" doc:"when it was started"`
	Clients []string     `json:"clients" doc:"the programs that are attached, this one included"`
	Ranks   int          `json:"ranks" doc:"of the pool"`
	Devices []string     `json:"devices" doc:"of the ranks"`
	Memory  int64        `json:"memory" doc:"bytes of GPU memory that its processes hold; 0: none, or unknown"`
	Text    string       `json:"text" doc:"all of it, sentences for the user"`
	Journal string       `json:"journal" doc:"the directory with the journals of its runs; empty: none are kept"`
	Log     string       `json:"log" doc:"the file in which it tells who did what; empty: there is none"`
}
