package session

// What follows is for the fronts that still start processes by themselves. It goes with the last of them.

type (
	// Processes are what the fronts start and end.
	Processes = processes
	// ProcessOptions say how.
	ProcessOptions = processOptions
)

// NewProcesses returns processes of which none is started yet.
func NewProcesses(o ProcessOptions) *Processes { return newProcesses(o) }
