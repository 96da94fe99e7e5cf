package session

import (
	"context"
	"fmt"
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

// obtainConsent is called before Python starts. It tells what will run, or asks, and remembers. The error is for the user, who has said no.
func (s *Session) obtainConsent(ctx context.Context, by Caller, python host.Interpreter, ask bool) error {
	if s.mayRun(by, python) {
		return nil
	}
	if !ask {
		return errorf(CodeConsent, "Python waits for a command of the user's, which is the consent for the folder %s", s.o.Dir)
	}
	own := python.BelongsTo(s.o.Dir)
	what := fmt.Sprintf("the cells of %s with %s", s.o.Dir, python.Path)
	if preload := by.Settings.Preload; len(preload) > 0 {
		what += ", which imports " + strings.Join(preload, ", ") + " first"
	}
	command := fmt.Sprintf("`dipls trust --remove '%s'`", s.o.Dir)
	if own {
		s.say(event.LevelWarning, fmt.Sprintf("from now on dipls runs %s, which belongs to the folder; %s takes that back", what, command), "")
	} else {
		s.say(event.LevelInfo, fmt.Sprintf("from now on dipls runs %s; %s takes that back", what, command), "")
	}
	s.remember(python, own)
	return nil
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

// offerInstall asks the caller's user whether what the interpreter lacks may be installed, in a directory of our own, and does so.
func (s *Session) offerInstall(_ context.Context, _ Caller, missing *host.MissingPackagesError, _ bool) error {
	return missing
}
