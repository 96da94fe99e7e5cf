package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dipls/dipexec"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
)

// Code says what kind of error it is.
type Code string

// The codes.
const (
	CodeClosed   Code = "closed"   // the session is closed, or closing
	CodeNoRun    Code = "no-run"   // there is no such run, or it ended long ago
	CodeBusy     Code = "busy"     // no process can answer now, or the session's own does not
	CodeInvalid  Code = "invalid"  // the call's arguments contradict each other, or name something that does not exist
	CodeConsent  Code = "consent"  // the user has not let the folder's code run
	CodePackages Code = "packages" // the interpreter lacks packages
	CodePool     Code = "pool"     // there are no ranks, or they could not be made
	CodePython   Code = "python"   // Python, or the local namespace, could not be started
	CodeVersion  Code = "version"  // the session's process is of another dipls, which cannot be talked to

	CodeNoSession Code = "no-session" // there is no such session
	CodeAmbiguous Code = "ambiguous"  // several sessions could be meant
)

// Error is an error that a front can act on.
type Error struct {
	Code Code          `json:"code"`
	Text string        `json:"text"`           // a sentence
	Rank *ranklist.Who `json:"rank,omitempty"` // the process that it is about
	Hint string        `json:"hint,omitempty"` // what to do next, if the text does not say so
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Text
	}
	return e.Text + ": " + e.Hint
}

// errorf makes an error of a code.
func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

var errClosed = &Error{Code: CodeClosed, Text: "the session is closed"}

// NoAnswer is the error about a session whose process stands still. name may be "".
func NoAnswer(name string) *Error {
	return &Error{
		Code: CodeBusy, Text: strings.TrimSpace("session "+name) + " does not answer",
		Hint: fmt.Sprintf("what was asked of it may still be done once it does; if it stays like that, `%s` ends it", strings.TrimSpace("dipls stop "+name)),
	}
}

// noRun is the error about an unknown run.
func noRun(run string) error { return errorf(CodeNoRun, "there is no run %s", run) }

// coded gives an error of the packages below a code; otherwise is the code where they do not say. Nil, and an error that has a
// code already, stay as they are.
func coded(err error, otherwise Code) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	code := otherwise
	switch {
	case errors.Is(err, dipexec.ErrClosed):
		return errClosed
	case is[*host.MissingPackagesError](err):
		code = CodePackages
	case is[*ChoiceError](err):
		code = CodeInvalid
	case is[*noPoolError](err), is[*dipexec.BrokenPoolError](err), is[*ranks.StartTimeoutError](err):
		code = CodePool
	}
	e := &Error{Code: code, Text: err.Error()}
	if death, ok := errors.AsType[*ranks.ExitError](err); ok && death.Rank != nil {
		e.Rank = new(ranklist.Rank(*death.Rank))
	}
	return e
}

// waited is coded for a call that waits: if its context has ended the wait, the error is the context's.
func waited(ctx context.Context, err error, otherwise Code) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return coded(err, otherwise)
}

// is reports whether an error is of a type.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
