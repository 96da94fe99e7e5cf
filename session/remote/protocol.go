package remote

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"dipls/dipexec/event"
	"dipls/session"
)

// The version of the protocol.
const (
	Major = 1
	Minor = 5

	// minorOtherwise is the first one in which a cell may say where it goes otherwise, and a caller which arguments its cells find.
	minorOtherwise = 3
	// minorProcesses is the first one in which a caller surely may say what its processes find, that modules are reloaded, and that the pool is waited for.
	minorProcesses = 5
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
	Python  string            `json:"python"`        // the interpreter that the client's settings, or DIPLS_PYTHON, choose; "": the usual search
	Keep    time.Duration     `json:"keep"`          // as the client's settings have it
	History bool              `json:"history"`       // the client's subscriptions may ask for history
	Looks   bool              `json:"looks"`         // it only looks: it does not count as attached
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
	methodPing   = "ping"
	methodCancel = "$/cancelRequest"

	methodEvents   = "events"
	methodQuestion = "question"
	methodChanged  = "changed"
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
	At     []uint64          `json:"at"`              // their positions
	End    uint64            `json:"end"`             // up to which everything was sent
	Sizes  []int             `json:"sizes,omitempty"` // of the events, in bytes, if they come last with nothing but commas between them
}

// eventsFollow is what comes before the events if they come last.
const eventsFollow = `],"events":[`

// readEvents reads the parameters. Where the sizes are known it need not look for the ends of the events.
func readEvents(params []byte) (p eventsParams, err error) {
	if p, ok := readSized(params); ok {
		return p, nil
	}
	err = json.Unmarshal(params, &p)
	return p, err
}

// readSized is readEvents where the sizes are known; ok is false if they are not, or do not fit.
func readSized(params []byte) (p eventsParams, ok bool) {
	head, rest, found := bytes.Cut(params, []byte(eventsFollow))
	if !found || json.Unmarshal(append(bytes.Clone(head), "]}"...), &p) != nil || len(p.Sizes) != len(p.At) {
		return p, false
	}
	for i, size := range p.Sizes {
		if size < 0 || size+1 > len(rest) || rest[size] != ',' && i+1 < len(p.Sizes) {
			return p, false
		}
		p.Events, rest = append(p.Events, rest[:size]), rest[size+1:]
	}
	return p, true
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

// tooOld is the error of a call that an older session would misunderstand; otherwise is what else its user can do.
func (c *Client) tooOld(what, otherwise string) error {
	return &session.Error{
		Code: session.CodeVersion, Text: fmt.Sprintf("session %s runs dipls %s, which knows no %s", c.name, cmp.Or(c.build, "of another version"), what),
		Hint: fmt.Sprintf("end it with \"dipls stop %s\" when its variables are not needed any more, or %s", c.name, otherwise),
	}
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
