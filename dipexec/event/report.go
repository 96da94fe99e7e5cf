package event

import "time"

// Report is how a run ended.
type Report struct {
	Run     string
	Status  Status
	Reason  string        // as in [RunFinished]
	Elapsed time.Duration // 0 if it never started
	Journal string        // directory of its journal, where there is none if there was nothing to keep; "" if no journal is kept
	// ExitCode is the highest with which sys.exit has failed the code of a process; 0 if none has.
	ExitCode int
	Parts    []PartReport // of the processes that were asked to run it: the local namespace first, then the ranks in order
}

// PartReport is how one process did.
type PartReport struct {
	Rank           int // -1: the local namespace
	Status         Status
	Elapsed        time.Duration
	ExecutionCount int
	Seed           *int64        // with which the process has begun; nil: none
	GroupTimeout   time.Duration // of its collectives; 0: nobody has chosen one
	ExitCode       int           // with which sys.exit has failed the code; 0: it has not
	Failure        *Failure      // the exception, if there was one
}
