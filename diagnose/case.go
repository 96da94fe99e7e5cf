package diagnose

import (
	"time"

	"dipls/ranks/wire"
)

// Case is what is known of the ranks of a pool during a run.
type Case struct {
	Run   string    `json:"run,omitempty"`  // id of the run
	Path  wire.Path `json:"path,omitempty"` // file of its code; "": none
	Ranks []Rank    `json:"ranks"`          // all of the pool
}

// Rank is what is known of one of them.
type Rank struct {
	Rank      int               `json:"rank"`
	Host      string            `json:"host,omitempty"`   // of a pool that is on several; else ""
	Before    *wire.GroupsReply `json:"before,omitempty"` // what it told at the first moment; nil: nothing
	Now       *wire.GroupsReply `json:"now,omitempty"`    // and at the second
	Condition Condition         `json:"condition"`        // at the second
	Still     bool              `json:"still,omitempty"`  // it has certainly done next to nothing in between
	Works     bool              `json:"works,omitempty"`  // any thread of its has computed in between
	Waits     string            `json:"waits,omitempty"`  // what its main thread waits in, if it is still, by what the system knows: "in a lock"
	Stood     time.Duration     `json:"stood,omitempty"`  // for how long it has been seen at this place
	Moved     bool              `json:"moved,omitempty"`  // its main thread or a child of its has run in between, as far as the system knows
	Looks     int               `json:"looks,omitempty"`  // how many looks in a row before this one found it at this place
	Idle      int               `json:"idle,omitempty"`   // in how many of those its main thread had not run since the look before
	Part      Part              `json:"part"`
}

// Condition is what keeps a process from going on, according to the system.
type Condition struct {
	State State  `json:"state,omitempty"`
	How   string `json:"how,omitempty"` // the rest of a sentence about the process: "was killed by SIGKILL"
}

// State is the kind of a condition.
type State string

// The conditions of a process.
const (
	Sound    State = ""         // nothing is known that keeps it from going on
	Stopped  State = "stopped"  // by a signal
	Traced   State = "traced"   // stopped by a debugger
	Swapping State = "swapping" // most of the time it waits for its memory
	Native   State = "native"   // native code holds Python's global lock (GIL)
	Dead     State = "dead"
)

// Part is what is known of the rank's part in the run.
type Part struct {
	State PartState `json:"state,omitempty"`
	Error string    `json:"error,omitempty"` // class of what it raised
	Path  wire.Path `json:"path,omitempty"`  // where that was
	Line  int       `json:"line,omitempty"`
}

// PartState says how far a part is.
type PartState string

// The states of a part.
const (
	NoTarget PartState = ""         // the run does not go to the rank
	Running  PartState = "running"  //
	Asking   PartState = "asking"   // it waits for somebody to type
	Finished PartState = "finished" // to its end
	Raised   PartState = "raised"   //
	// Interrupted says that the interrupt has ended it.
	Interrupted PartState = "interrupted"
	GivenUp     PartState = "given up" // the rank has not come back from an earlier run
)

// Variant says what kind of finding it is.
type Variant string

// The variants: what is missing in an operation in which ranks wait.
const (
	MissingFinished    Variant = "finished"    // a rank that has finished the run's code
	MissingRaised      Variant = "raised"      // one that has raised an exception
	MissingInterrupted Variant = "interrupted" // one that an interrupt has ended
	MissingElsewhere   Variant = "elsewhere"   // one that stands at another place
	MissingSlow        Variant = "slow"        // one that does something else
	MissingAsking      Variant = "asking"      // one that waits for somebody to type
	MissingDifferent   Variant = "different"   // one that waits in another operation
	MissingNoTarget    Variant = "untargeted"
	MissingGivenUp     Variant = "given up"
	MissingStopped     Variant = "stopped" // by a signal or a debugger
	MissingSwapping    Variant = "swapping"
	MissingNative      Variant = "native" // one whose lock native code holds
	MissingDead        Variant = "dead"
	MissingSilent      Variant = "silent"   // one that does not answer, and nobody knows why
	MissingSeveral     Variant = "several"  // ones of different kinds, or at different places
	MissingPartner     Variant = "unpaired" // the other side of a send or receive
	Mismatch           Variant = "mismatch" // nobody: sizes or types differ
	Circle             Variant = "circle"   // nobody: ranks wait for each other in different groups
	Nobody             Variant = "nobody"   // nobody: the network, or a GPU
	Unknown            Variant = "unknown"  // nobody knows
	Outside            Variant = "outside"  // nobody is named: ranks wait in something else than collectives
)

// Finding tells of ranks that wait.
type Finding struct {
	Variant    Variant `json:"variant"`
	Alarm      bool    `json:"alarm,omitempty"` // it may not end by itself; else ranks are slow, as far as is known
	Group      string  `json:"group,omitempty"` // "default group", or what names another one; "": not known, or several
	GroupRanks []int   `json:"group_ranks,omitempty"`
	Operation  string  `json:"operation,omitempty"`
	Sequence   uint64  `json:"sequence,omitempty"` // of the collective, from 1 on; 0: not known
	Count      uint64  `json:"count,omitempty"`    // of the group, which tells one collective from another; 0: not known
	Tensors    string  `json:"tensors,omitempty"`
	Waiting    []Place `json:"waiting,omitempty"`
	Missing    []Place `json:"missing,omitempty"`
	Text       string  `json:"text"`

	Stood time.Duration `json:"-"` // for how long they have waited, at least, in an [Outside]
}

// Place is where ranks are, and why.
type Place struct {
	Ranks []int     `json:"ranks"`
	Path  wire.Path `json:"path,omitempty"`
	Line  int       `json:"line,omitempty"`
	Run   string    `json:"run,omitempty"`
	Name  string    `json:"name,omitempty"`
	Why   string    `json:"why"`
}
