package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dipls/internal/clean"
	"dipls/session"
)

// sessionFinder finds and starts sessions that outlive their fronts. [registry.Registry] is one.
type sessionFinder interface {
	// Attach attaches to the session that is meant.
	Attach(ctx context.Context, r session.AttachRequest) (*session.Attachment, error)
	// List describes all sessions of this user on this host.
	List(ctx context.Context) ([]session.Listed, error)
	// Find describes the session that Attach would attach to, also one that cannot be talked to.
	Find(ctx context.Context, r session.AttachRequest) (session.Listed, error)
	// Stop ends a session in order, also one that can be asked nothing else. When it returns, nothing is left.
	Stop(ctx context.Context, l session.Listed, by string) error
}

// openSessions gives what finds sessions; tests have one of their own.
var openSessions = func() sessionFinder { return openRegistry() }

// sessionFlag says which session is meant: NAME, that session of the nearest folder upwards, or else of the only folder that has one; FOLDER, the session of
// that folder and of no other; FOLDER/NAME, likewise; or "", the session of the nearest folder upwards.
type sessionFlag struct{ text string }

// sessionUse says what a flag or an argument for a session takes.
const sessionUse = "a session: its NAME, its FOLDER, or FOLDER/NAME (default: the session of this folder, or of the nearest one above it)"

// add adds the flag.
func (f *sessionFlag) add(flags *pflag.FlagSet) {
	flags.StringVarP(&f.text, "session", "s", "", strings.Replace(sessionUse, "NAME", "`NAME`", 1))
}

// request is how to attach to the session. A folder that r names is the one from which names are looked for; else it is the working directory.
func (f *sessionFlag) request(r session.AttachRequest) (session.AttachRequest, error) {
	if r.Dir == "" {
		here, err := os.Getwd()
		if err != nil {
			return r, fmt.Errorf("the working directory: %w", err)
		}
		r.Dir = here
	}
	if !strings.Contains(f.text, "/") && f.text != "." && f.text != ".." {
		r.Name = f.text
		return r, nil
	}
	path, err := filepath.Abs(f.text)
	if err != nil {
		return r, fmt.Errorf("the working directory: %w", err)
	}
	r.Dir, r.Only = path, true
	if isFolder(path) {
		return r, nil
	}
	if r.Dir, r.Name = filepath.Split(path); !isFolder(r.Dir) {
		return r, usagef("%s: there is no folder %s", clean.Line(f.text), clean.Line(filepath.Clean(r.Dir)))
	}
	return r, nil
}

// openPatience is how long a session may take to answer, or to start, until the user is told.
const openPatience = 3 * time.Second

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// open attaches to the session. Its error is for the user, with the exit code; what else the user should know about the session is said on errOut.
func (f *sessionFlag) open(ctx context.Context, errOut io.Writer, r session.AttachRequest) (*session.Attachment, error) {
	r, err := f.request(r)
	if err != nil {
		return nil, err
	}
	slow := time.AfterFunc(openPatience, func() { fmt.Fprintln(errOut, "dipls: the session has not answered yet; Ctrl-C leaves") })
	defer slow.Stop()
	a, err := openSessions().Attach(ctx, r)
	if err != nil {
		return nil, choiceError(errOut, err)
	}
	for _, remark := range a.Remarks {
		fmt.Fprintln(errOut, "dipls: "+clean.Text(remark))
	}
	return a, nil
}

// find describes the session without attaching to it. Its error is as that of open.
func (f *sessionFlag) find(ctx context.Context, errOut io.Writer) (session.Listed, error) {
	r, err := f.request(session.AttachRequest{})
	if err != nil {
		return session.Listed{}, err
	}
	l, err := openSessions().Find(ctx, r)
	return l, choiceError(errOut, err)
}

// choiceError is the error of a choice of a session, with its exit code.
func choiceError(errOut io.Writer, err error) error {
	e, known := errors.AsType[*session.Error](err)
	if !known {
		return err
	}
	switch e.Code {
	case session.CodeNoSession, session.CodeAmbiguous, session.CodeInvalid:
		// The user has to say more, or something else; how flags are written is not the question.
		text := e.Error()
		if strings.Contains(e.Text, "\n") {
			text = e.Text + "\n" + e.Hint // after a list
		}
		fmt.Fprintln(errOut, "dipls: "+clean.Text(text))
		return &exitError{exitUsage, nil}
	}
	return err
}

// detach leaves a session, which goes on.
func detach(a *session.Attachment) {
	ctx, cancel := context.WithTimeout(context.Background(), viewPatience)
	defer cancel()
	_ = a.Detach(ctx) // if it does not answer any more, the connection ends with this program
}
