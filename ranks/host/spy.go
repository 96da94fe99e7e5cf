package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

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

// Spy implements [Host]: it runs the py-spy beside the interpreter, or the one on the PATH.
func (o Observer) Spy(ctx context.Context, python string, p Process) ([]SpiedThread, error) {
	const program = "py-spy"
	programs := []string{program}
	if python != "" {
		programs = []string{filepath.Join(filepath.Dir(python), program), program}
	}
	printed, err := o.Run(ctx, programs, "dump", "--native", "--json", "--pid", fmt.Sprint(p.PID))
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("py-spy has not answered: %w", ctx.Err())
	case errors.Is(err, ErrNoProgram):
		return nil, ErrNoSpy
	case err != nil:
		return nil, err
	case printed.Status != "" && bytes.Contains(bytes.ToLower(printed.Err), []byte("permission")):
		return nil, errors.New("py-spy may not read them; it needs the right to trace (root, CAP_SYS_PTRACE, or 0 in /proc/sys/kernel/yama/ptrace_scope)")
	case printed.Status != "":
		text, _, _ := strings.Cut(strings.TrimSpace(string(printed.Err)), "\n")
		return nil, fmt.Errorf("py-spy: %s", cmp.Or(clean.Line(text), printed.Status))
	}
	var threads []SpiedThread
	if err := json.Unmarshal(printed.Out, &threads); err != nil {
		return nil, fmt.Errorf("py-spy's answer cannot be read: %w", err)
	}
	return threads, nil
}
