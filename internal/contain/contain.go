// Package contain keeps a panic to what it struck. The processes that hold a user's variables end with the server's process, so no fault of ours in
// one message, event or run may end that.
//
// A mutex that is held where a panic may come is let go by defer: else whoever needs it next waits for ever.
package contain

import (
	"fmt"
	"runtime/debug"
)

// Fault is a panic that was contained.
type Fault struct {
	Value any
	Stack []byte
}

// Error implements error, without the stack.
func (f *Fault) Error() string { return fmt.Sprintf("a fault of dipls, please report it: %v", f.Value) }

// Do runs f and returns the panic that ended it; nil: none did.
func Do(f func()) (fault *Fault) {
	defer func() {
		if r := recover(); r != nil {
			fault = &Fault{r, debug.Stack()}
		}
	}()
	f()
	return nil
}

// AsError is deferred by a function whose error becomes the *[Fault] of a panic in it.
func AsError(err *error) {
	if r := recover(); r != nil {
		*err = &Fault{r, debug.Stack()}
	}
}
