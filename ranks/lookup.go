package ranks

import (
	"context"
	"errors"
	"fmt"

	"dipls/ranks/wire"
)

// ErrBusy is the error of a lookup if the process has something else to do.
var ErrBusy = errors.New("it is busy")

// Complete asks for completions at a place in code, from the process's namespace.
//
// Complete, Inspect, Variables and Table are lookups. They do not change the process's state, and delay nothing. The error is ErrBusy if the process is not
// idle, gets something to run meanwhile, or does not answer within the request's Timeout.
func (p *Process) Complete(ctx context.Context, req wire.CompleteRequest) (*wire.CompleteReply, error) {
	reply := new(wire.CompleteReply)
	return reply, p.lookUp(ctx, wire.TypeCompleteRequest, req, reply)
}

// Inspect asks what the name at a place in code is.
func (p *Process) Inspect(ctx context.Context, req wire.InspectRequest) (*wire.InspectReply, error) {
	reply := new(wire.InspectReply)
	return reply, p.lookUp(ctx, wire.TypeInspectRequest, req, reply)
}

// Variables asks for the variables of the process's namespace.
func (p *Process) Variables(ctx context.Context, req wire.VariablesRequest) (*wire.VariablesReply, error) {
	reply := new(wire.VariablesReply)
	return reply, p.lookUp(ctx, wire.TypeVariablesRequest, req, reply)
}

// Table asks for a page of a table or an array.
func (p *Process) Table(ctx context.Context, req wire.TableRequest) (*wire.TableReply, error) {
	reply := new(wire.TableReply)
	return reply, p.lookUp(ctx, wire.TypeTableRequest, req, reply)
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

// Check asks what is wrong with cells, which are compiled and not run. It takes its turn as an execution does.
func (p *Process) Check(ctx context.Context, req wire.CheckRequest) (*wire.CheckReply, error) {
	reply := new(wire.CheckReply)
	return reply, p.call(ctx, wire.TypeCheckRequest, req, reply)
}
