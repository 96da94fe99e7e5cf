package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"dipls/internal/clean"
)

// ErrNoSpy says that a host has no py-spy.
var ErrNoSpy = errors.New("there is no py-spy")

// SpiedThread is a thread in what "py-spy dump --json" prints (https://github.com/benfred/py-spy).
type SpiedThread struct {
	ID     uint64       `json:"thread_id"` // as threading.get_ident has it
	Name   string       `json:"thread_name"`
	Frames []SpiedFrame `json:"frames"` // innermost first
}

// SpiedFrame is a frame of Python's, or of native code.
type SpiedFrame struct {
	Name   string  `json:"name"`
	File   string  `json:"filename"`
	Module *string `json:"module"` // the native library; null for Python's frames
	Line   int     `json:"line"`
}

// Spy runs the py-spy beside the interpreter, or the one on the PATH.
func (Local) Spy(ctx context.Context, python string, p Process) ([]SpiedThread, error) {
	program := pySpy(python)
	if program == "" {
		return nil, ErrNoSpy
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "dump", "--native", "--json", "--pid", fmt.Sprint(p.PID))
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errOut, time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("py-spy has not answered: %w", ctx.Err())
	case err != nil && strings.Contains(strings.ToLower(errOut.String()), "permission"):
		return nil, errors.New("py-spy may not read them; it needs the right to trace (root, CAP_SYS_PTRACE, or 0 in /proc/sys/kernel/yama/ptrace_scope)")
	case err != nil:
		text, _, _ := strings.Cut(strings.TrimSpace(errOut.String()), "\n")
		return nil, fmt.Errorf("py-spy: %s", cmp.Or(clean.Line(text), err.Error()))
	}
	var threads []SpiedThread
	if err := json.Unmarshal(out.Bytes(), &threads); err != nil {
		return nil, fmt.Errorf("py-spy's answer cannot be read: %w", err)
	}
	return threads, nil
}

// pySpy is the path of py-spy; "" if there is none.
func pySpy(python string) string {
	if path, err := exec.LookPath(filepath.Join(filepath.Dir(python), "py-spy")); err == nil && python != "" {
		return path
	}
	path, err := exec.LookPath("py-spy")
	if err != nil {
		return ""
	}
	return path
}
