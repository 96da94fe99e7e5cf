package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"dipls/internal/flock"
	"dipls/ranks/host"
	"dipls/session"
	"dipls/session/remote"
)

var (
	// helloPatience is how long a session may take to answer a hello.
	helloPatience = 15 * time.Second
	// goingPatience is how long a session may take to end, until another one can be started.
	goingPatience = 40 * time.Second
)

// goingPause is between two looks at a session that ends.
const goingPause = 10 * time.Millisecond

// Attach gives a way to the session that is wanted. It starts one if there is none and the request says so; of clients that do that at the same time one
// starts it, and the others find it. It waits for one that is ending, and starts another one then.
func (r *Registry) Attach(ctx context.Context, q session.AttachRequest) (*session.Attachment, error) {
	dir, err := realDir(q.Dir)
	if err != nil {
		return nil, err
	}
	if q.Name != "" {
		if err := CheckName(q.Name); err != nil {
			return nil, err
		}
	}
	var choice *choice
	if q.Chosen && q.Name == "" && !q.Only {
		choice = chosen(dir, q.Program)
	}
	for started := false; ; {
		all, err := living()
		if err != nil {
			return nil, err
		}
		var e *entry
		if choice != nil {
			e = choice.find(all)
		}
		isChosen := e != nil
		if e == nil {
			e, err = find(all, dir, q.Name, q.Start, q.Only)
		}
		if err != nil {
			return nil, err
		}
		if e == nil {
			if !q.Start {
				return nil, noSession(q, dir)
			}
			if started {
				return nil, errors.New("the session has ended as soon as it was started; its log may say why: " + lastLog(dir))
			}
			name := q.Name
			if name == "" {
				name = defaultName(dir)
			}
			if err := r.o.Start(ctx, dir, name, q.Keep); err == nil {
				started = true
			} else if !errors.Is(err, ErrTaken) {
				return nil, fmt.Errorf("session %s cannot be started: %w", name, err)
			}
			continue
		}
		a, err := r.dial(ctx, e, q)
		switch {
		case err == nil:
			if a.Started = started; started {
				a.Ended = tellEnded(dir)
				a.Remarks = append(a.Remarks, PassedOver()...)
				a.Remarks = append(a.Remarks, Elsewhere(dir)...)
			}
			if choice != nil && !isChosen {
				a.Remarks = append(a.Remarks, choice.forget()...)
			}
			return a, nil
		case !isGone(err) || ctx.Err() != nil:
			return nil, err
		}
		if err := awaitEnd(ctx, e, goingPatience); err != nil {
			return nil, err
		}
	}
}

// dial says hello to a session.
func (r *Registry) dial(ctx context.Context, e *entry, q session.AttachRequest) (*session.Attachment, error) {
	if e.problem != nil {
		return nil, fmt.Errorf("session %s is not to be trusted: %w", e, e.problem)
	}
	hello := remote.Hello{Build: r.o.Build, Program: q.Program, Keep: q.Keep, History: q.History, Looks: q.Looks}
	hello.Python = cmp.Or(q.Python, os.Getenv("DIPLS_PYTHON")) // as where interpreters are looked for
	hello.Cwd, _ = os.Getwd()                                  // "" is unknown
	patient, cancel := context.WithTimeout(ctx, helloPatience)
	defer cancel()
	client, welcome, err := remote.Dial(patient, e.socket(), hello)
	if err != nil {
		if patient.Err() != nil && ctx.Err() == nil {
			return nil, &session.Error{Code: session.CodeBusy, Text: fmt.Sprintf("session %s does not answer", e), Hint: e.remedy()}
		}
		return nil, err
	}
	return &session.Attachment{API: client, About: welcome.About, Remarks: welcome.Remarks, AwaitChange: client.AwaitChange}, nil
}

// PassedOver says why the user's runtime directory is not used, if others could change what is in it: a sentence, if any.
func PassedOver() []string {
	roots, passed, err := host.RuntimeRoots()
	if err != nil || passed == nil || errors.Is(passed, fs.ErrNotExist) {
		return nil
	}
	return []string{fmt.Sprintf("the sockets of sessions are in %s, since %v", roots[0], passed)}
}

// isGone reports whether an error of a dial means that the session has ended, or is ending.
func isGone(err error) bool {
	if known, ok := errors.AsType[*session.Error](err); ok {
		return known.Code == session.CodeClosed
	}
	for _, gone := range []error{syscall.ECONNREFUSED, syscall.ENOENT, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// awaitEnd waits until a session that is ending has ended, for so long.
func awaitEnd(ctx context.Context, e *entry, d time.Duration) error {
	patience, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		if held, err := flock.Held(e.path); err != nil || !held {
			return nil
		}
		select {
		case <-patience.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &session.Error{Code: session.CodeBusy, Text: fmt.Sprintf("session %s is ending, and does not come to its end", e), Hint: e.remedy()}
		case <-time.After(goingPause):
		}
	}
}

// lastLog is the log of a folder's last session.
func lastLog(dir string) (log string) {
	for _, r := range records() {
		if r.Dir == dir {
			log = r.Log
		}
	}
	return log
}
