package wire

import "fmt"

// ReplyError is an error that a process answered with.
type ReplyError struct {
	Name      string // who answered: "rank 2", "node"
	Request   string // the request: "hello", "spawn_request"
	EName     string
	EValue    string
	Traceback []string
	Variable  string // the variable that a push or pull failed at; "" if none in particular
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("%s: %s failed: %s: %s", e.Name, e.Request, e.EName, e.EValue)
}
