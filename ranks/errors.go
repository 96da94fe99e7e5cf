package ranks

import (
	"fmt"
	"strings"
)

// ExitError says how a process ended.
type ExitError struct {
	Name   string // "rank 2", "local", "node"
	Rank   *int   // nil: not a rank
	PID    int
	Code   *int       // exit code; nil if it was killed, or if nobody knows
	Signal string     // "SIGKILL"; "" if it exited by itself
	OOM    bool       // the kernel counted an out-of-memory kill
	Asked  bool       // we had told it to go
	Node   *ExitError // the end of its node, if that took it along
	Lost   error      // why the connection broke, if that is all that is known
	Detail string     // what else is known: the last lines that a node printed
}

// signalMeaning is what a person should read into a signal.
var signalMeaning = map[string]string{
	"SIGSEGV": "segmentation fault",
	"SIGBUS":  "bus error: a memory-mapped file or shared memory ran out?",
	"SIGABRT": "abort: an assertion in native code?",
	"SIGFPE":  "arithmetic error in native code",
	"SIGILL":  "illegal instruction: a library built for another CPU?",
}

func (e *ExitError) Error() string {
	var b strings.Builder
	switch {
	case e.Node != nil:
		fmt.Fprintf(&b, "%s ended with its node: %s", e.Name, e.Node.Error())
		return b.String()
	case e.Signal != "":
		fmt.Fprintf(&b, "%s was killed by %s", e.Name, e.Signal)
		switch {
		case e.OOM:
			b.WriteString(" (out of memory)")
		case signalMeaning[e.Signal] != "":
			fmt.Fprintf(&b, " (%s)", signalMeaning[e.Signal])
		}
	case e.Code != nil:
		fmt.Fprintf(&b, "%s exited with code %d", e.Name, *e.Code)
		if !e.Asked && e.Name != nodeName {
			b.WriteString(" (os._exit?)")
		}
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

// Unwrap gives what ended the process or the connection, if something else did.
func (e *ExitError) Unwrap() error {
	if e.Node != nil {
		return e.Node
	}
	return e.Lost
}

// MissingPackagesError says which of the packages that the agent needs an interpreter does not have.
type MissingPackagesError struct {
	Python  string   // path of the interpreter
	Missing []string // distribution names, as pip takes them
}

func (e *MissingPackagesError) Error() string {
	return fmt.Sprintf("%s lacks %s: install with '%s -m pip install %s', or let dipls install into a directory of its own with --yes",
		e.Python, strings.Join(e.Missing, ", "), e.Python, strings.Join(e.Missing, " "))
}
