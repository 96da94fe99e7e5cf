package event

import (
	"time"

	"dipls/internal/ranklist"
)

// Report is how a run ended.
type Report struct {
	Run     string
	Status  Status
	Reason  string        // as in [RunFinished]
	Elapsed time.Duration // 0 if it never started
	Journal string        // directory of its journal, which does not exist if there was nothing to keep; "" if no journal is kept
	// ExitCode is the highest argument of sys.exit by which the code has failed on a process; 0 if it has on none.
	ExitCode int
	Parts    []PartReport // of the processes that had part in it: the local namespace first, then the ranks in order
}

// PartReport is how one process did.
type PartReport struct {
	Who            ranklist.Who
	Status         Status
	Elapsed        time.Duration
	ExecutionCount int
	Seed           *int64        // that the process began with; nil: none
	GroupTimeout   time.Duration // of its collectives; 0: nobody has chosen one
	ExitCode       int           // argument of sys.exit, if the code failed by that; 0: it did not
	Failure        *Failure      // the exception, if there was one
}
