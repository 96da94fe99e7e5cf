package ranks

import (
	"context"

	"dipls/ranks/wire"
)

// Handler receives what belongs to one execution.
type Handler interface {
	// Message is called on the process's reader goroutine, in socket order. The output that it brings is acknowledged to
	// the process when it returns, so a handler that waits slows that process down, and no other. It must not wait for
	// an answer of the same process.
	Message(m *wire.Message)
	// Done ends the execution; it is called exactly once, last. reply is nil if the process died (err is an *ExitError)
	// or was dead when it was asked. It may be called before Execute has returned.
	Done(reply *wire.ExecuteReply, err error)
}

// Process is one Python process that runs code: a rank or the local namespace.
type Process struct{}

// PreparedRequest is an execute_request that is encoded once for many processes.
type PreparedRequest struct{}

// Prepare encodes an execute_request.
func Prepare(req wire.ExecuteRequest) *PreparedRequest { return nil }

// Name is the process's name for people: "rank 3" or "local".
func (p *Process) Name() string { return "" }

// Rank is the rank; ok is false for the local namespace.
func (p *Process) Rank() (n int, ok bool) { return 0, false }

// PID is the process id.
func (p *Process) PID() int { return 0 }

// StartTime is the start time that together with the pid names the process for ever; 0 where unknown.
func (p *Process) StartTime() uint64 { return 0 }

// State is where the process stands.
func (p *Process) State() State { return Dead }

// Device is "cpu" or "cuda:0", as the app chose; "" if none was.
func (p *Process) Device() string { return "" }

// Execute queues one execution and returns its id at once.
func (p *Process) Execute(req wire.ExecuteRequest, h Handler) (id string) {
	return p.ExecutePrepared(Prepare(req), h)
}

// ExecutePrepared is Execute for a request that goes to many processes.
func (p *Process) ExecutePrepared(req *PreparedRequest, h Handler) (id string) { return "" }

// SetBackground names the function that receives what is printed between executions.
func (p *Process) SetBackground(f func(*wire.Message)) {}

// Interrupt interrupts the execution id, or whatever runs if id is empty.
func (p *Process) Interrupt(ctx context.Context, id string) error { return errTODO }

// Stack returns the stacks of all threads, also while busy.
func (p *Process) Stack(ctx context.Context) (*wire.StackReply, error) { return nil, errTODO }

// Status asks the process what it is doing, also while busy.
func (p *Process) Status(ctx context.Context) (*wire.ProcessStatus, error) { return nil, errTODO }

// Done is closed when the process has ended and every handler has been told.
func (p *Process) Done() <-chan struct{} { return nil }

// Err says how the process ended: an *ExitError; nil while it lives.
func (p *Process) Err() error { return nil }
