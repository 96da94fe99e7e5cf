package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Machine answers what only the machine itself can tell. An [Observer] makes sense of the answers.
type Machine interface {
	// Files are the contents of files below /proc, the targets of the links to what a process has open (PID/fd/N), and the ids of a process's threads,
	// with spaces between them (PID/task). What cannot be read is nil.
	Files(ctx context.Context, names ...string) [][]byte
	// Run runs the first of some programs that is there, and waits until it has ended. One without a slash in its name is looked for on the PATH. The
	// error is [ErrNoProgram] if none is there, and ctx's if that ends first.
	Run(ctx context.Context, programs []string, args ...string) (Printed, error)
}

// ErrNoProgram says that a program is not there.
var ErrNoProgram = errors.New("there is no such program")

// Printed is what a program has printed, and how it has ended.
type Printed struct {
	Out, Err []byte
	Status   string // such as "exit status 9"; "" if it has succeeded
}

// failure is why a program has failed; nil: it has succeeded.
func (p Printed) failure() error {
	if p.Status == "" {
		return nil
	}
	return errors.New(p.Status)
}

// Observer tells of processes and GPUs of a machine. It is the part of a [Host] that is the same for every machine that runs Linux.
type Observer struct {
	Machine
	Architecture string // as "uname -m" has it
	PageSize     int    // in bytes
}

// thisMachine is the machine that this program runs on.
type thisMachine struct{}

// here observes it.
var here = sync.OnceValue(func() Observer { return Observer{thisMachine{}, architecture(), os.Getpagesize()} })

// Files reads them. On systems other than Linux there are none.
func (thisMachine) Files(_ context.Context, names ...string) [][]byte {
	contents := make([][]byte, len(names))
	for i, name := range names {
		name = "/proc/" + name
		switch {
		case strings.Contains(name, "/fd/"):
			if target, err := os.Readlink(name); err == nil {
				contents[i] = []byte(target)
			}
		case strings.HasSuffix(name, "/task"):
			threads, _ := os.ReadDir(name)
			for _, thread := range threads {
				contents[i] = append(append(contents[i], thread.Name()...), ' ')
			}
		default:
			contents[i], _ = os.ReadFile(name)
		}
	}
	return contents
}

// Run runs a program without a terminal.
func (thisMachine) Run(ctx context.Context, programs []string, args ...string) (Printed, error) {
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		var out, errOut bytes.Buffer
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errOut, time.Second
		err = cmd.Run()
		printed := Printed{Out: out.Bytes(), Err: errOut.Bytes()}
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return printed, ctx.Err()
		case errors.As(err, &exit):
			printed.Status = exit.String()
		case err != nil:
			return printed, fmt.Errorf("run %s: %w", path, err)
		}
		return printed, nil
	}
	return Printed{}, ErrNoProgram
}
