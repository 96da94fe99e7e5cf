package event

import (
	"time"

	"dipls/internal/ranklist"
)

// Report is how a run ended.
type Report struct {
	Run     string        `json:"run"`
	Status  Status        `json:"status"`
	Reason  string        `json:"reason,omitempty"`  // as in [RunFinished]
	Elapsed time.Duration `json:"elapsed"`           // 0 if it never started
	Journal string        `json:"journal,omitempty"` // directory of its journal, which does not exist if there was nothing to keep; "" if no journal is kept
	// ExitCode is the highest argument of sys.exit by which the code has failed on a process; 0 if it has on none.
	ExitCode int          `json:"exit_code,omitempty"`
	Parts    []PartReport `json:"parts,omitempty"` // of the processes that had part in it: the local namespace first, then the ranks in order
}

// PartReport is how one process did.
type PartReport struct {
	Who            ranklist.Who  `json:"rank"`
	Status         Status        `json:"status"`
	Elapsed        time.Duration `json:"elapsed"`
	ExecutionCount int           `json:"execution_count,omitempty"`
	Seed           *int64        `json:"seed,omitempty"`          // that the process began with; nil: none
	GroupTimeout   time.Duration `json:"group_timeout,omitempty"` // of its collectives; 0: nobody has chosen one
	ExitCode       int           `json:"exit_code,omitempty"`     // argument of sys.exit, if the code failed by that; 0: it did not
	PeakMemory     int64         `json:"peak_memory,omitempty"`   // bytes of GPU memory that torch had allocated at most meanwhile; 0: there is no GPU
	Failure        *Failure      `json:"failure,omitempty"`       // the exception, if there was one
}
