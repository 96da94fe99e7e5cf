package ranks

import (
	"context"
	"errors"
	"fmt"

	"dipls/ranks/wire"
)

// ErrBusy is what a lookup returns if the process has something else to do.
var ErrBusy = errors.New("it is busy")

// Complete asks what may stand at a place in code, as the process's namespace knows it. Like Inspect and Variables it is a lookup: a process
// that is not idle is not asked (ErrBusy), one that gets something to run meanwhile answers ErrBusy, and so does one whose time, the
// request's Timeout, is over. It changes nothing in the process's state, and holds up nothing.
func (p *Process) Complete(ctx context.Context, req wire.CompleteRequest) (*wire.CompleteReply, error) {
	reply := new(wire.CompleteReply)
	return reply, p.lookUp(ctx, wire.TypeCompleteRequest, req, reply)
}

// Inspect asks what the name is that stands at a place in code.
func (p *Process) Inspect(ctx context.Context, req wire.InspectRequest) (*wire.InspectReply, error) {
	reply := new(wire.InspectReply)
	return reply, p.lookUp(ctx, wire.TypeInspectRequest, req, reply)
}

// Variables asks for the variables of the namespace.
func (p *Process) Variables(ctx context.Context, req wire.VariablesRequest) (*wire.VariablesReply, error) {
	reply := new(wire.VariablesReply)
	return reply, p.lookUp(ctx, wire.TypeVariablesRequest, req, reply)
}

// lookUp makes a request that only an idle process serves.
func (p *Process) lookUp(ctx context.Context, msgType string, request, reply any) error {
	if state := p.State(); state != Ready {
		return fmt.Errorf("%s is %v: %w", p.name, state, ErrBusy)
	}
	err := p.call(ctx, msgType, request, reply)
	var refused *wire.ReplyError
	if errors.As(err, &refused) && refused.EName == "" { // aborted
		return fmt.Errorf("%s: %w", p.name, ErrBusy)
	}
	return err
}
