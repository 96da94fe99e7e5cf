package ranks

import (
	"fmt"
	"strings"

	"dipls/ranks/host"
)

// ExitError says how a process ended.
type ExitError struct {
	Name string // "rank 2", "local", "node"
	Rank *int   // nil: not a rank
	PID  int
	host.Exit
	Asked  bool       // we had told it to end
	Node   *ExitError // how its node ended, if it ended with that
	Lost   error      // why the connection broke, if nothing else is known; of a node: what became of its host
	Detail string     // what else is known, such as the last lines that a node printed
}

func (e *ExitError) Error() string {
	var b strings.Builder
	switch {
	case e.Node != nil && e.Node.Lost != nil:
		fmt.Fprintf(&b, "%s died: %v", e.Name, e.Node.Lost)
		return b.String()
	case e.Node != nil:
		fmt.Fprintf(&b, "%s ended with its node: %s", e.Name, e.Node.Error())
		return b.String()
	case e.Exit.String() != "":
		fmt.Fprintf(&b, "%s %v", e.Name, e.Exit)
		if e.Code != nil && !e.Asked && e.Name != nodeName {
			b.WriteString(" (os._exit?)")
		}
	case e.Lost != nil && e.Name == nodeName:
		b.WriteString(e.Lost.Error())
	case e.Lost != nil:
		fmt.Fprintf(&b, "lost the connection to %s (pid %d): %v", e.Name, e.PID, e.Lost)
	default:
		fmt.Fprintf(&b, "%s did not start", e.Name)
	}
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	return b.String()
}

// Unwrap gives the end of the node, or why the connection broke.
func (e *ExitError) Unwrap() error {
	if e.Node != nil {
		return e.Node
	}
	return e.Lost
}
