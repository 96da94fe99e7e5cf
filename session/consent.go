package session

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/ranks/host"
)

// mayRun reports whether an interpreter may run the folder's code without a word.
func (s *Session) mayRun(by Caller, python host.Interpreter) bool {
	switch by.Settings.Trust {
	case TrustYes:
		return true
	case TrustNo:
		return false
	}
	own := python.BelongsTo(s.o.Dir)
	s.mu.Lock()
	known := s.trusted
	s.mu.Unlock()
	if known != nil && (!own || known.Path == python.Path) {
		return true
	}
	if s.o.Trust == nil {
		return false
	}
	e, remembered := s.o.Trust.Find(s.o.Dir)
	return remembered && (!own || e.Python == python.Path)
}

// obtainConsent is called before Python starts. It says what will run, or asks, and remembers the answer. The error is for a user who has said no.
func (s *Session) obtainConsent(ctx context.Context, by Caller, python host.Interpreter, ask bool) error {
	if s.mayRun(by, python) {
		return nil
	}
	if !ask {
		return errorf(CodeConsent, "Python waits for a command of the user's, which is the consent for the folder %s", s.o.Dir)
	}
	own := python.BelongsTo(s.o.Dir)
	what := "the cells of " + s.o.Dir
	if file := s.envFile(by.Settings); file != "" {
		if _, err := os.Stat(file); err == nil {
			what += ", with the variables of " + file + ","
		}
	}
	what += " with " + python.Path
	if preload := by.Settings.Preload; len(preload) > 0 {
		what += ", which imports " + strings.Join(preload, ", ") + " first"
	}
	command := fmt.Sprintf("`dipls trust --remove '%s'`", s.o.Dir)
	if !own {
		s.tellCaller(by, event.LevelInfo, fmt.Sprintf("from now on dipls runs %s; %s takes that back", what, command))
		s.remember(python, own)
		return nil
	}
	unasked := fmt.Sprintf("from now on dipls runs %s, which belongs to the folder; %s takes that back", what, command)
	q := s.pose(ctx, by, s.settlesConsent(python), event.Question{
		Level: event.LevelWarning, Choices: []string{choiceRun}, Default: choiceRun, Unasked: unasked,
		Text: fmt.Sprintf("Run %s? That interpreter belongs to the folder, so whoever made the folder chooses what it does. %s takes that back.", what, command),
	})
	switch {
	case q == nil && by.Front != "": // the front that would have been asked has gone, so nobody has let it run
		return errFrontGone
	case q == nil:
		s.say(event.LevelWarning, unasked, "")
		s.remember(python, own)
		return nil
	}
	switch choice, err := q.await(); {
	case err != nil:
		q.over(err.Error())
		return err
	case choice != choiceRun:
		q.over("")
		return &Error{
			Code: CodeConsent, Text: fmt.Sprintf("nothing was run: %s belongs to the folder and you have not let it run", python.Path),
			Hint: fmt.Sprintf("run the cell again to be asked again, trust the folder with 'dipls trust %s', or choose another interpreter by the setting %s",
				s.o.Dir, by.setting("python")),
		}
	}
	s.remember(python, own)
	q.over("")
	return nil
}

// choiceRun lets an interpreter run.
const choiceRun = "Run"

// settlesConsent is how the settings of a call answer the question whether an interpreter may run.
func (s *Session) settlesConsent(python host.Interpreter) func(Caller) (string, bool) {
	return func(by Caller) (string, bool) {
		switch by.Settings.Trust {
		case TrustYes:
			return choiceRun, true
		case TrustNo:
			return "", true
		}
		return "", s.meansAnother(by, python.Path)
	}
}

// meansAnother reports whether a caller's settings choose another interpreter.
func (s *Session) meansAnother(by Caller, path string) bool {
	now, err := s.interpreter(by)
	return err == nil && now.Path != path
}

// remember notes a consent for the next time, until the user takes it back.
func (s *Session) remember(python host.Interpreter, own bool) {
	path := ""
	if own {
		path = python.Path
	}
	if s.o.Trust != nil {
		err := s.o.Trust.Add(s.o.Dir, path)
		if err == nil {
			return
		}
		s.log.Warn("that the folder may run cannot be remembered", zap.String("folder", s.o.Dir), zap.Error(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trusted = &python
}
