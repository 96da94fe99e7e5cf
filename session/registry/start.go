package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dipls/ranks/host"
	"dipls/session"
)

// A session's process is nobody's child: whoever ends an editor's server with all its children, as VS Code does with one that does not end by itself, must
// not end the session. So three processes start one: the client starts "dipls session", which starts "dipls session --stay" in a login session of its own,
// passes on what that answers, and ends.

// Answer is what a session's process says when it has started, or could not: a line of JSON.
type Answer struct {
	Taken bool   `json:"taken,omitempty"` // see ErrTaken
	Error string `json:"error,omitempty"` // why it does not run; "": it does
}

// err is the answer as an error.
func (a Answer) err() error {
	switch {
	case a.Taken:
		return ErrTaken
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// programName is what lists of processes show, whatever the path is.
const programName = "dipls"

// StayFlag is the flag of "dipls session" for the process that is the session.
const StayFlag = "stay"

// answerFD is where a session's process answers.
const answerFD = 3

// startPatience bounds the start of a session, which takes a fraction of a second.
const startPatience = 30 * time.Second

// launch starts a session's process, and waits until it accepts connections. Where logind kills the user's processes at the logout, the process gets a scope
// of its own, if that works.
func launch(ctx context.Context, dir, name string, keep time.Duration) error {
	self, err := program()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("nothing was heard of it for %v", startPatience))
	defer cancel()
	argv := []string{self, "session", "--dir", dir, "--name", name, "--keep", session.FormatKeep(keep)}
	if l, _ := LookAtLogout(ctx); l.Kills {
		if a, err := start(ctx, dir, append(slices.Clone(inScope), argv...)); err == nil {
			return a.err()
		}
	}
	a, err := start(ctx, dir, argv)
	if err != nil {
		return err
	}
	return a.err()
}

// start runs "dipls session". It is an error if that does not answer.
func start(ctx context.Context, dir string, argv []string) (a Answer, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if len(argv) > 1 && argv[1] == "session" {
		cmd.Args[0] = programName
	}
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	err = host.WithoutOrphans(cmd.Run)
	if json.Unmarshal(out.Bytes(), &a) == nil {
		return a, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return a, errors.Join(err, said(errOut.Bytes()))
}

// said is what a process has said before it ended; nil: nothing.
func said(text []byte) error {
	if trimmed := strings.TrimSpace(string(text)); trimmed != "" {
		return errors.New(trimmed)
	}
	return nil
}

// program is the path of this program, also after an update has removed its file.
func program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(self); err != nil {
		if _, err := os.Stat("/proc/self/exe"); err == nil {
			return "/proc/self/exe", nil
		}
	}
	return self, nil
}

// Detach starts the process that is the session, by the arguments of "dipls session", and writes its answer to w. The process goes on by itself.
func Detach(args []string, w io.Writer) error {
	self, err := program()
	if err != nil {
		return err
	}
	keepDescriptors()
	answers, answer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer answers.Close()
	defer answer.Close()
	words, last, err := os.Pipe() // what it says before it has a log
	if err != nil {
		return err
	}
	defer words.Close()
	defer last.Close()
	cmd := exec.Command(self, append([]string{"session", "--" + StayFlag}, args...)...)
	cmd.Args[0] = programName
	cmd.Stdout, cmd.Stderr = last, last
	cmd.ExtraFiles = []*os.File{answer} // answerFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	answer.Close()
	last.Close()
	var a Answer
	if err := json.NewDecoder(answers).Decode(&a); err != nil {
		text, _ := io.ReadAll(words)
		a.Error = errors.Join(fmt.Errorf("its process has ended: %v", cmd.Wait()), said(text)).Error()
	}
	return json.NewEncoder(w).Encode(a)
}

// keepDescriptors lets no process that is started inherit what this one has inherited itself: a lock that flock has taken, or the end of a pipe, would be
// held for hours.
func keepDescriptors() {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// Reply answers whoever has started this process, which is the session, once. err is why it does not run; nil: it accepts connections.
func Reply(err error) {
	f := os.NewFile(answerFD, "answer")
	a := Answer{Taken: errors.Is(err, ErrTaken)}
	if err != nil && !a.Taken {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(f).Encode(a) // who has asked may be gone
	f.Close()
}
