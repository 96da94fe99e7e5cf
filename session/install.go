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
	log, err := host.InstallLog(missing.Python)
	if err != nil {
		q.over(err.Error())
		return err
	}
	defer log.Close()
	q.working(fmt.Sprintf("Installing %s; what pip says goes to %s", names, log.Name()))
	if err := host.InstallMissing(q.ctx, missing.Python, missing.Missing, log); err != nil {
		err = fmt.Errorf("%w; all that pip said is in %s", err, log.Name())
		if cause := context.Cause(q.ctx); cause != nil {
			err = cause
		}
		q.over(err.Error())
		return err
	}
	q.over("installed")
	return nil
}
