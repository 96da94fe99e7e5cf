package dipexec

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// Transfer is variables that go from the local namespace to ranks, or from ranks to the local namespace, all of them or none.
type Transfer struct {
	Pull  bool          `json:"pull,omitempty"` // from ranks; else to them
	Names []string      `json:"names"`          // of the variables
	Ranks ranklist.List `json:"ranks"`          // to or from these; zero: to all, or from rank 0. A variable pulled from several becomes a list by rank
}

// RequestForTransfer is the request to do what %dipush or %dipull does, by the same functions. Only its title is spelled as the magic.
func RequestForTransfer(t Transfer) Request {
	title := "%dipush"
	if t.Pull {
		title = "%dipull"
	}
	if !t.Ranks.IsZero() {
		title += " -r " + t.Ranks.String()
	}
	return operation(Request{Title: title + " " + strings.Join(t.Names, " "), Transfer: &t})
}

// RequestForPool is the request to do what %makedip does, by the same function. Only its title is spelled as the magic.
func RequestForPool(cmd wire.MakeCommand) Request {
	title := "%makedip"
	if cmd.GPUs != nil {
		title += " -g " + *cmd.GPUs
	}
	if cmd.Ranks != 0 {
		title += fmt.Sprintf(" -n %d", cmd.Ranks)
	}
	if cmd.App != "" {
		title += fmt.Sprintf(" -a %q", cmd.App)
	}
	if cmd.Restart {
		title += " -r"
	}
	if cmd.Timeout != 0 {
		title += fmt.Sprintf(" -t %g", cmd.Timeout)
	}
	return operation(Request{Title: title, Pool: &cmd})
}

// File is variables that processes write to a file, or one variable that they read from it. The end of its name says in which format.
type File struct {
	Path  string   `json:"path"` // absolute
	Names []string `json:"names"`
	Write bool     `json:"write,omitzero"` // else it is read
}

// RequestForFile is the request to write or read a file, on the processes of a target.
func RequestForFile(f File, on cells.Target) Request {
	title := fmt.Sprintf("%s from %s", strings.Join(f.Names, " "), filepath.Base(f.Path))
	if f.Write {
		title = fmt.Sprintf("%s to %s", strings.Join(f.Names, " "), filepath.Base(f.Path))
	}
	req := operation(Request{Title: title, File: &f})
	req.Target = on
	return req
}

// RequestForMemory is the request to give back GPU memory that torch has cached, on the processes of a target. Each prints how much that was.
func RequestForMemory(on cells.Target) Request {
	req := operation(Request{Title: "free GPU memory", FreeMemory: true})
	req.Target, req.See = on, ranklist.All
	return req
}

// operation is a request without code. Unless it says otherwise, it takes its turn like a cell of the local namespace whose text is its title.
func operation(req Request) Request {
	req.Code, req.Line = req.Title, 1 // for the journal
	req.NoAutodip, req.Target = true, cells.Target{Where: cells.Local}
	return req
}

// isCode reports whether the request is for code, and not an operation.
func (q Request) isCode() bool {
	return q.Transfer == nil && q.Pool == nil && q.File == nil && !q.FreeMemory
}

// commands reports whether the run does what a magic's command does, which may need the ranks besides the process that runs it.
func (r *run) commands() bool { return r.req.Transfer != nil || r.req.Pool != nil }

// wired is the transfer as it is sent to the local namespace.
func (t *Transfer) wired() *wire.Transfer {
	w := &wire.Transfer{Pull: t.Pull, Names: t.Names, Ranks: t.Ranks.String()}
	switch {
	case !t.Ranks.IsZero():
	case t.Pull:
		w.Ranks = "0"
	default:
		w.Ranks = ranklist.All.String()
	}
	return w
}

// makePool does the part's work without its process: it gives the command that a %makedip there would give. The reply ends the part.
func (pt *part) makePool() {
	cmd := *pt.r.req.Pool
	pt.command = &command{e: pt.proc.e, proc: pt.proc, id: -int(pt.r.at.run), giver: pt.r, last: pt.r, reply: pt.madePool}
	h := commandHandler{turn: true, serve: func(c *command, _ json.RawMessage) (any, error) { return c.makePool(cmd) }}
	if err := pt.proc.e.begin(pt.command, h, nil); err != nil {
		pt.madePool(pt.command.failed(err))
	}
}

// madePool ends the part as a %makedip with this reply would.
func (pt *part) madePool(reply any) {
	var status wire.Status
	switch reply := reply.(type) {
	case wire.MakeCommandReply:
		status = reply.Status
		if reply.Text != "" {
			pt.says(func() { pt.stream(event.Stdout, []byte(reply.Text+"\n")) })
		}
	case wire.CommandStatus:
		status = reply.Status
	}
	if death, ok := errors.AsType[*ranks.ExitError](pt.proc.p.Err()); ok {
		pt.Done(nil, death)
		return
	}
	if status.Status == "error" {
		failure := ranks.Failure{EName: status.EName, EValue: status.EValue, Traceback: []string{status.EName + ": " + status.EValue}}
		pt.says(func() { pt.exception(failure) })
	}
	pt.Done(&wire.ExecuteReply{Status: status}, nil)
}
