package dipexec

import (
	"context"
	"errors"
	"time"

	"dipls/ranks"
	"dipls/ranks/wire"
)

// Process is a process that runs code, as the executor needs it; *[ranks.Process] is one.
type Process interface {
	Name() string           // "rank 3" or "local"
	Rank() (n int, ok bool) // ok is false for the local namespace
	PID() int               //
	ExecutePrepared(req *ranks.PreparedRequest, h ranks.Handler) (id string)
	Interrupt(ctx context.Context, id string) error
	SetBackground(f func(*wire.Message))
	Done() <-chan struct{}
}

// Pool gives the executor the processes to run on. The executor asks when a run first needs them, and again for every
// run: the answer may be to start them, which may take long, or new ones after the old ones died. An error ends the run as
// [StatusDied] with the error as its reason, so it should be a sentence that says what to do next.
type Pool interface {
	Local(ctx context.Context) (Process, error)
	Ranks(ctx context.Context) ([]Process, error) // all ranks, in order
}

// Options configure an Executor.
type Options struct {
	Pool           Pool
	Journal        *Journal      // nil: no journal is kept
	InterruptGrace time.Duration // how long an interrupt may go unanswered before the user is told; 0 is 5 s
	DeathGrace     time.Duration // how long the other ranks may go on once one has died, before they are interrupted; 0 is 3 s
	QueueBytes     int           // how much output waits for a subscriber; 0 is 4 MiB
	StallAfter     time.Duration // how long a subscriber that takes nothing is waited for; 0 is 1 s
}

// Request is one cell to run: an immutable snapshot of it, and where it goes.
type Request struct {
	Path      string        // file of the cell; "" if it has none
	Cell      int           // index of the cell
	Title     string        // title of the cell
	Code      string        // rewritten for execution; line numbers as in the file
	Line      int           // 1-based line of Path on which Code starts
	Target    Target        // the command's own; zero if it has none
	Directive Target        // the cell's
	See       See           // whose output a view shows
	Timeout   time.Duration // for the code to run, from when it starts to; 0: none
}

// Report is how a run ended.
type Report struct {
	Run     string
	Status  Status
	Reason  string        // as in [RunFinished]
	Elapsed time.Duration // 0 if it never started
	Journal string        // directory of its journal; "" if none
	Parts   []PartReport  // the local namespace first, then the ranks in order; those that were started
}

// PartReport is how one process did.
type PartReport struct {
	Rank           int // -1: the local namespace
	Status         Status
	Elapsed        time.Duration
	ExecutionCount int
	Failure        *Failure // the exception, if there was one
}

// Sentinel errors.
var (
	ErrClosed = errors.New("dipexec: the executor is closed")
	ErrNoRun  = errors.New("dipexec: no such run")
)

// Executor runs requests.
type Executor struct{}

// New returns an executor; Close ends it.
func New(o Options) *Executor { panic("todo") }

// Start queues a request and returns the run's id at once.
func (e *Executor) Start(r Request) (run string, err error) { panic("todo") }

// Cancel takes a run out of the queue, or interrupts it where it runs. Its end is told by RunFinished.
func (e *Executor) Cancel(run string) error { panic("todo") }

// CancelAll cancels every run that has not ended.
func (e *Executor) CancelAll() { panic("todo") }

// Wait waits for a run to end.
func (e *Executor) Wait(ctx context.Context, run string) (Report, error) { panic("todo") }

// SetAutodip says where cells go that say nothing themselves; the zero Target turns autodip off.
func (e *Executor) SetAutodip(t Target) { panic("todo") }

// Subscribe returns a subscription to all events from now on.
func (e *Executor) Subscribe() *Subscription { panic("todo") }

// Publish tells the subscribers of something that is not the executor's own doing.
func (e *Executor) Publish(ev Event) { panic("todo") }

// StateChanged tells the executor of a change of state, for [ranks.Options.OnState]: it publishes what the subscribers
// should know of it.
func (e *Executor) StateChanged(c ranks.StateChange) { panic("todo") }

// Close cancels all runs and waits for them; when ctx ends it gives up those that still run, as [StatusDied]. Then every
// subscription ends once it is drained.
func (e *Executor) Close(ctx context.Context) error { panic("todo") }
