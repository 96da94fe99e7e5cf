package session

import (
	"context"
	"fmt"
	"strings"

	"dipls/dipexec/event"
	"dipls/ranks/host"
)

// choiceInstall installs the missing packages.
const choiceInstall = "Install"

// offerInstall asks a caller's user whether missing packages may be installed into a directory of our own, and installs them.
func (s *Session) offerInstall(ctx context.Context, by Caller, missing *host.MissingPackagesError, ask bool) error {
	if !ask {
		return missing
	}
	private, err := host.PrivatePackages(missing.Python)
	if err != nil {
		return err
	}
	names := strings.Join(missing.Missing, ", ")
	settled := func(by Caller) (string, bool) { return "", s.meansAnother(by, missing.Python) }
	q := s.pose(ctx, by, settled, event.Question{
		Level: event.LevelWarning, Choices: []string{choiceInstall},
		Text: fmt.Sprintf("%s lacks %s.\nInstall into %s, leaving your environment as it is?", missing.Python, names, private),
	})
	refused := &Error{
		Code: CodePackages, Text: fmt.Sprintf("%s lacks %s", missing.Python, names),
		Hint: fmt.Sprintf("install with %s, or %s", missing.Remedy(), by.instead()),
	}
	if q == nil {
		return refused
	}
	switch choice, err := q.await(); {
	case err != nil:
		q.over(err.Error())
		return err
	case choice != choiceInstall:
		q.over("")
		return refused
	}
	q.working("Installing " + names)
	if err := host.InstallMissing(q.ctx, missing.Python, missing.Missing, progress{q}); err != nil {
		if cause := context.Cause(q.ctx); cause != nil {
			err = cause
		}
		q.over(err.Error())
		return err
	}
	q.over("installed")
	return nil
}

// progress passes on lines of output as the progress of the work.
type progress struct{ q *question }

// Write implements [io.Writer].
func (p progress) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			p.q.working(line)
		}
	}
	return len(b), nil
}
