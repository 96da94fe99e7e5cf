package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/internal/clean"
	"dipls/internal/contain"
	"dipls/ranks/wire"
)

// nativePatience is how long py-spy may take for a process.
const nativePatience = 5 * time.Second

// AddNative adds to stacks what native code the threads are in below Python's frames, and gives those of processes that have not answered, if py-spy
// is there, on the PATH or beside the interpreter, and may read them. problem is a sentence where it may not.
func (s *processes) AddNative(ctx context.Context, stacks []Stack) (problem string) {
	program := s.pySpy()
	if program == "" {
		return ""
	}
	ctx, stop := context.WithTimeout(ctx, nativePatience)
	defer stop()
	slots := make(chan struct{}, parallelReads)
	failed := make([]error, len(stacks))
	var work sync.WaitGroup
	for i := range stacks {
		stack := &stacks[i]
		if stack.pid == 0 || stack.Err != nil && !errors.Is(stack.Err, context.DeadlineExceeded) {
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			defer contain.AsError(&failed[i])
			var threads []spiedThread
			if threads, failed[i] = spy(ctx, program, stack.pid); failed[i] == nil {
				stack.addNative(threads)
			}
		})
	}
	work.Wait()
	var ranks FoldedStack
	for i, err := range failed {
		if err != nil {
			ranks.Ranks = append(ranks.Ranks, stacks[i].Rank)
		}
	}
	if len(ranks.Ranks) == 0 {
		return ""
	}
	first := failed[slices.IndexFunc(failed, func(err error) bool { return err != nil })]
	return fmt.Sprintf("no native frames of %s: %v", ranks.Who(), first)
}

// pySpy is the path of py-spy; "" if there is none.
func (s *processes) pySpy() string {
	if path, err := exec.LookPath(filepath.Join(filepath.Dir(s.o.Node.Python), "py-spy")); err == nil && s.o.Node.Python != "" {
		return path
	}
	path, err := exec.LookPath("py-spy")
	if err != nil {
		return ""
	}
	return path
}

// spiedThread is a thread in what "py-spy dump --json" prints (https://github.com/benfred/py-spy).
type spiedThread struct {
	ID     uint64       `json:"thread_id"` // as threading.get_ident has it
	Name   string       `json:"thread_name"`
	Frames []spiedFrame `json:"frames"` // innermost first
}

type spiedFrame struct {
	Name   string  `json:"name"`
	File   string  `json:"filename"`
	Module *string `json:"module"` // the native library; null for Python's frames
	Line   int     `json:"line"`
}

// spy asks py-spy for the threads of a process.
func spy(ctx context.Context, program string, pid int) ([]spiedThread, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "dump", "--native", "--json", "--pid", fmt.Sprint(pid))
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errOut, time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("py-spy has not answered within %v", nativePatience)
	case err != nil && strings.Contains(strings.ToLower(errOut.String()), "permission"):
		return nil, errors.New("py-spy may not read them; it needs the right to trace (root, CAP_SYS_PTRACE, or 0 in /proc/sys/kernel/yama/ptrace_scope)")
	case err != nil:
		text, _, _ := strings.Cut(strings.TrimSpace(errOut.String()), "\n")
		return nil, fmt.Errorf("py-spy: %s", cmp.Or(clean.Line(text), err.Error()))
	}
	var threads []spiedThread
	if err := json.Unmarshal(out.Bytes(), &threads); err != nil {
		return nil, fmt.Errorf("py-spy's answer cannot be read: %w", err)
	}
	return threads, nil
}

// addNative adds what py-spy has seen.
func (s *Stack) addNative(spied []spiedThread) {
	if s.Err != nil {
		s.Err = nil
		for _, t := range spied {
			thread := wire.Thread{ID: t.ID, Name: t.Name, Main: t.Name == "MainThread"}
			for _, f := range slices.Backward(t.Frames) {
				if f.Module == nil {
					thread.Frames = append(thread.Frames, wire.StackFrame{Frame: wire.Frame{File: wire.Path(f.File), Line: f.Line, Name: f.Name}})
				}
			}
			s.Threads = append(s.Threads, thread)
		}
	}
	s.Threads = slices.Clone(s.Threads)
	for i := range s.Threads {
		thread := &s.Threads[i]
		at := slices.IndexFunc(spied, func(t spiedThread) bool { return t.ID == thread.ID })
		if at < 0 || len(thread.Frames) == 0 { // without any it waits for a cell, in code of ours
			continue
		}
		thread.Frames = append(slices.Clone(thread.Frames), nativeFrames(spied[at].Frames)...)
	}
}

// nativeFrames are the native ones among frames below the innermost of Python's, outermost first, without those of the interpreter.
func nativeFrames(frames []spiedFrame) []wire.StackFrame {
	var found []wire.StackFrame
	for _, f := range frames {
		if f.Module == nil {
			break
		}
		library := filepath.Base(*f.Module)
		if strings.HasPrefix(library, "libpython") || strings.HasPrefix(library, "python") {
			continue
		}
		name := f.Name
		if strings.HasPrefix(name, "0x") {
			name = library // without a symbol, an address says nothing
		}
		if n := len(found); n > 0 && found[n-1].Name == name {
			continue
		}
		found = append(found, wire.StackFrame{Frame: wire.Frame{File: wire.Path(*f.Module), Name: name}})
	}
	slices.Reverse(found)
	return found
}
