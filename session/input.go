package session

import (
	"context"
	"errors"

	"dipls/dipexec"
)

// hasTypists reports whether any front's user can be asked for what code wants to be typed.
func (s *Session) hasTypists() bool { return s.typists.Load() > 0 }

// AnswerInput implements [API].
func (s *Session) AnswerInput(_ context.Context, a InputAnswer) error {
	err := s.executor.AnswerInput(a)
	switch {
	case errors.Is(err, dipexec.ErrNoRun):
		return noRun(a.Run)
	case errors.Is(err, dipexec.ErrNoInput):
		return errorf(CodeInvalid, "nobody waits for that answer any more")
	}
	return err
}
