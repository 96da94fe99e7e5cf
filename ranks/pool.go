package ranks

import (
	"context"
	"time"
)

// PoolSpec says what pool to start.
type PoolSpec struct {
	Ranks   int           // how many
	GPUs    []GPU         // one per rank, in rank order; empty: CPU ranks
	App     string        // "torch", "none"; "" lets the agent choose
	Timeout time.Duration // for the whole start; 0 is 120 s
}

// Ladder says how long each step of a shutdown may take; a step of zero length is skipped.
type Ladder struct {
	Ask       time.Duration // shutdown_request: leave the app, run atexit, exit
	Interrupt time.Duration // SIGINT
	Terminate time.Duration // SIGTERM
	Kill      time.Duration // SIGKILL
}

// DefaultLadder is patient enough for a process group to be left in order.
var DefaultLadder = Ladder{Ask: 5 * time.Second, Interrupt: 2 * time.Second, Terminate: 2 * time.Second, Kill: 5 * time.Second}

// KillNow is the ladder of somebody who has lost patience.
var KillNow = Ladder{Kill: 5 * time.Second}

// Pool is the ranks that live and die together.
type Pool struct{}

// Ranks returns the ranks in order.
func (p *Pool) Ranks() []*Process { return nil }

// Size is the world size.
func (p *Pool) Size() int { return 0 }

// State is the pool's state.
func (p *Pool) State() State { return Dead }

// Backend is torch's backend, "gloo" or "nccl"; "" if no process group was joined.
func (p *Pool) Backend() string { return "" }

// Notices are sentences about the pool that its user should see.
func (p *Pool) Notices() []string { return nil }

// Shutdown ends all ranks.
func (p *Pool) Shutdown(ctx context.Context, l Ladder) error { return errTODO }

// Done is closed when every rank has ended.
func (p *Pool) Done() <-chan struct{} { return nil }

// Err says why the pool is dead; nil otherwise.
func (p *Pool) Err() error { return nil }
