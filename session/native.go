package session

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// nativePatience is how long py-spy may take for a process.
const nativePatience = 5 * time.Second

// placed says on which host a process runs; pid is 0 if that is not known.
type placed struct {
	on host.Host
	of host.Process
}

// addNative adds native frames below the Python frames of stacks, and stacks of processes that have not answered. It needs py-spy, on the PATH or
// beside the interpreter, and the right to read the processes. problem is a sentence if something is missing.
func (s *processes) addNative(ctx context.Context, stacks []Stack, places []placed) (problem string) {
	ctx, stop := context.WithTimeout(ctx, nativePatience)
	defer stop()
	slots := make(chan struct{}, parallelReads)
	failed := make([]error, len(stacks))
	var work sync.WaitGroup
	for i := range stacks {
		stack, place := &stacks[i], places[i]
		if place.of.PID == 0 || stack.Error != "" && !stack.Silent {
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			defer contain.AsError(&failed[i])
			threads, err := place.on.Spy(ctx, s.o.Node.Python, place.of)
			switch {
			case err == nil:
				stack.addNative(threads)
			case ctx.Err() != nil:
				failed[i] = fmt.Errorf("py-spy has not answered within %v", nativePatience)
			case !errors.Is(err, host.ErrNoSpy):
				failed[i] = err
			}
		})
	}
	work.Wait()
	var who []ranklist.Who
	for i, err := range failed {
		if err != nil {
			who = append(who, stacks[i].Who)
		}
	}
	if len(who) == 0 {
		return ""
	}
	first := failed[slices.IndexFunc(failed, func(err error) bool { return err != nil })]
	return fmt.Sprintf("no native frames of %s: %v", ranklist.NameEach(who), first)
}

// addNative adds frames that py-spy has seen.
func (s *Stack) addNative(spied []host.SpiedThread) {
	if s.Silent {
		s.Silent, s.Error = false, ""
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
		at := slices.IndexFunc(spied, func(t host.SpiedThread) bool { return t.ID == thread.ID })
		if at < 0 || len(thread.Frames) == 0 { // without frames it waits for a cell, in our own code
			continue
		}
		thread.Frames = append(slices.Clone(thread.Frames), nativeFrames(spied[at].Frames)...)
	}
}

// nativeFrames are the native frames below the innermost Python frame, outermost first, without those of the interpreter.
func nativeFrames(frames []host.SpiedFrame) []wire.StackFrame {
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
