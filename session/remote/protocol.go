package remote

import (
	"encoding/json"
	"fmt"
	"time"

	"dipls/dipexec/event"
	"dipls/session"
)

// The version of the protocol.
const (
	Major = 1
	Minor = 0
)

// Hello is what a client tells when it attaches.
type Hello struct {
	Major   int               `json:"major"` // set by Dial
	Minor   int               `json:"minor"` // likewise
	Build   string            `json:"build,omitempty"`
	Program string            `json:"program"`       // "VS Code", "dipls exec"
	PID     int               `json:"pid"`           // set by Dial; the server asks the kernel
	Cwd     string            `json:"cwd,omitempty"` // working directory
	Env     map[string]string `json:"env,omitempty"` // those of VIRTUAL_ENV and CUDA_VISIBLE_DEVICES that are set; filled in by Dial if nil
	Python  string            `json:"python"`        // the interpreter that the client's settings choose; "": the usual search
	Keep    time.Duration     `json:"keep"`          // as the client's settings have it
	History bool              `json:"history"`       // the client's subscriptions may ask for history
}

// Welcome answers it.
type Welcome struct {
	Major   int           `json:"major"`
	Minor   int           `json:"minor"`
	Build   string        `json:"build,omitempty"`
	About   session.About `json:"about"`
	Remarks []string      `json:"remarks,omitempty"` // what the user should know, sentences
	End     uint64        `json:"end"`               // position of the last event before
}

// The methods that are none of the API's.
const (
	methodHello  = "hello"
	methodAbout  = "about"
	methodStop   = "stop"
	methodCancel = "$/cancelRequest"

	methodEvents   = "events"
	methodQuestion = "question"
	methodEnded    = "ended"
)

// cancelParams names a request.
type cancelParams struct {
	ID int64 `json:"id"`
}

// aboutParams are those of "about".
type aboutParams struct {
	Memory bool `json:"memory,omitempty"`
}

// stopParams are those of "stop".
type stopParams struct {
	By string `json:"by,omitempty"`
}

// eventsParams are those of "events".
type eventsParams struct {
	Events []json.RawMessage `json:"events"`
	At     []uint64          `json:"at"`  // their positions
	End    uint64            `json:"end"` // up to which everything was sent
}

// parsed are the events. One that cannot be understood, as of a newer session, is left out.
func (p *eventsParams) parsed() (events []event.Event, at []uint64) {
	for i, raw := range p.Events {
		ev, err := event.ParseJSON(raw)
		if err != nil || i >= len(p.At) {
			continue
		}
		events, at = append(events, ev), append(at, p.At[i])
	}
	return events, at
}

// questionParams are those of "question".
type questionParams struct {
	Front    string          `json:"front"`
	Question *event.Question `json:"question"`
}

// endedParams are those of "ended".
type endedParams struct {
	Reason string `json:"reason"`
}

// versionError is the error about a session that cannot be talked to.
func versionError(w Welcome) *session.Error {
	build := w.Build
	if build == "" {
		build = "another version"
	}
	return &session.Error{
		Code: session.CodeVersion,
		Text: fmt.Sprintf("session %s runs dipls %s, which this dipls cannot talk to", w.About.Name, build),
		Hint: fmt.Sprintf(`attach with that dipls, or end the session with "dipls stop %s": its variables, and what is in GPU memory, are lost then; `+
			`the journals stay`, w.About.Name),
	}
}
