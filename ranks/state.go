package ranks

import "fmt"

// State is the state of a process or a pool.
type State uint8

// The states of a process. A pool has the same ones; see [Pool.State] for how they follow from its ranks'.
const (
	Starting     State = iota // being started; its app is joining
	Ready                     // idle
	Busy                      // runs executions, or serves a request for its main thread
	Interrupting              // busy, and was interrupted
	Dead                      // ended by itself or by somebody else's signal, or cannot be reached
	Stopped                   // ended because it was told to
)

var stateNames = [...]string{
	Starting:     "starting",
	Ready:        "ready",
	Busy:         "busy",
	Interrupting: "interrupting",
	Dead:         "dead",
	Stopped:      "stopped",
}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Final reports whether the state never changes again.
func (s State) Final() bool { return s == Dead || s == Stopped }

// transitions is the table of legal transitions. Something else may kill a process that was told to stop, so every live state leads to both ends.
var transitions = [...][]State{
	Starting:     {Ready, Dead, Stopped},
	Ready:        {Busy, Dead, Stopped},
	Busy:         {Ready, Interrupting, Dead, Stopped},
	Interrupting: {Ready, Busy, Dead, Stopped},
	Dead:         nil,
	Stopped:      nil,
}

// legal reports whether a process or pool may go from one state to the other.
func legal(from, to State) bool {
	if int(from) >= len(transitions) {
		return false
	}
	for _, s := range transitions[from] {
		if s == to {
			return true
		}
	}
	return false
}

// StateChange is one transition. The first one of a pool is from Starting to Starting: its start has begun.
type StateChange struct {
	Process *Process // nil: the change is the pool's
	Pool    *Pool    // the pool, or the one that Process belongs to; nil for the local namespace
	From    State
	To      State
	Err     error // why, if To is Dead
}
