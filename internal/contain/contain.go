// Package contain turns a panic into an error of the one message, event or run that it struck. The processes that hold a user's variables
// end with the server's process, so a fault of ours must not end it.
//
// A mutex that is held where a panic may come must be unlocked by defer, or the next one to lock it waits for ever.
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
