package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// at is a frame of a cell, in is one of a library or a file.
func at(line int, name, source string) wire.StackFrame {
	return wire.StackFrame{Frame: wire.Frame{File: "/p/train.py", Line: line, Name: name, Run: "r-1"}, Source: source}
}

func in(file string, line int, name string) wire.StackFrame {
	return wire.StackFrame{Frame: wire.Frame{File: wire.Path(file), Line: line, Name: name}}
}

const torchFile = "/e/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py"

func mainThread(frames ...wire.StackFrame) wire.Thread {
	return wire.Thread{ID: 1, Name: "MainThread", Main: true, Frames: frames}
}

func stacksOfFour() []Stack {
	waits := mainThread(at(52, "<module>", "step(batch)"), at(41, "step", "dist.all_reduce(grad)"),
		in(torchFile, 47, "wrapper"), in(torchFile, 1536, "all_reduce"))
	loader := wire.Thread{ID: 2, Name: "Thread-1 (pin)", Frames: []wire.StackFrame{in("/usr/lib/python3.11/threading.py", 1, "run"), in("/p/data.py", 8, "pin")}}
	other := loader
	other.Name = "Thread-9 (pin)"
	return []Stack{
		{Who: ranklist.Local, Threads: []wire.Thread{mainThread()}},
		{Who: ranklist.Rank(0), Threads: []wire.Thread{waits, loader, {ID: 3, Name: "dipls-io"}}},
		{Who: ranklist.Rank(1), Threads: []wire.Thread{waits, other}},
		{Who: ranklist.Rank(2), Threads: []wire.Thread{mainThread(
			at(50, "<module>", "for batch in loader:"), in("/p/data.py", 88, "__next__"), in("/usr/lib/python3.11/queue.py", 171, "get"),
		)}},
		{Who: ranklist.Rank(3), Threads: []wire.Thread{waits, {ID: 4, Name: "watch", Frames: []wire.StackFrame{in("/usr/lib/python3.11/threading.py", 3, "wait")}}}},
		{Who: ranklist.Rank(4), Error: "it has not answered", Silent: true},
		{Who: ranklist.Rank(5), Error: "rank 5 was killed by SIGKILL"},
	}
}

// The words agree with the number of ranks that wait for a cell.
func TestIdleStacks(t *testing.T) {
	for n, want := range map[int]string{1: "rank 0\n  waits for a cell", 3: "ranks 0-2\n  wait for a cell"} {
		stacks := make([]Stack, n)
		for i := range stacks {
			stacks[i] = Stack{Who: ranklist.Rank(i), Threads: []wire.Thread{mainThread()}}
		}
		if got := DescribeStacks(FoldStacks(stacks), 0); got != want {
			t.Errorf("%d ranks: %q", n, got)
		}
	}
}

func TestFoldStacks(t *testing.T) {
	got := DescribeStacks(FoldStacks(stacksOfFour()), 0)
	want := `local
  waits for a cell
ranks 0-1,3
  train.py:52          step(batch)
  train.py:41 in step  dist.all_reduce(grad)
  … 2 frames in torch, at last in all_reduce
rank 2
  train.py:50  for batch in loader:
  data.py:88 in __next__
  … 1 frame in queue, at last in get
rank 4
  no answer: stopped, or in native code that keeps Python's lock
rank 5
  was killed by SIGKILL
ranks 0-1, thread "Thread (pin)"
  … 1 frame in threading
  data.py:8 in pin
rank 3, thread "watch"
  … 1 frame in threading, at last in wait`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// Where the ranks are on several hosts, it is said which.
	stacks := stacksOfFour()
	for i, s := range stacks {
		if rank, ok := s.Who.Rank(); ok {
			stacks[i].Host = fmt.Sprintf("gpu%d", 1+rank/2)
		}
	}
	got = DescribeStacks(FoldStacks(stacks), 0)
	for _, title := range []string{"local", "ranks 0-1,3", "rank 2 (gpu2)", "rank 4 (gpu3)", `ranks 0-1 (gpu1), thread "Thread (pin)"`} {
		if !slices.Contains(strings.Split(got, "\n"), title) {
			t.Errorf("there is no %s in\n%s", title, got)
		}
	}
}

// With little room, the innermost of the user's lines are left.
func TestFoldStacksShort(t *testing.T) {
	deep := FoldedStack{Who: []ranklist.Who{ranklist.Rank(0)}}
	for line := range 30 {
		deep.Frames = append(deep.Frames, at(line+1, "f", "f()"))
	}
	got := DescribeStacks([]FoldedStack{deep, {Who: []ranklist.Who{ranklist.Rank(1), ranklist.Rank(2)}}}, 12)
	if lines := strings.Count(got, "\n") + 1; lines > 12 || !strings.Contains(got, "train.py:30 in f  f()") || !strings.Contains(got, "… 26 more above") {
		t.Errorf("%d lines:\n%s", lines, got)
	}
	many := make([]FoldedStack, 30)
	for rank := range many {
		many[rank] = FoldedStack{Who: []ranklist.Who{ranklist.Rank(rank)}, Frames: []wire.StackFrame{at(rank+1, "g", "")}}
	}
	got = DescribeStacks(many, 12)
	if lines := strings.Count(got, "\n") + 1; lines > 13 || !strings.HasSuffix(got, "… 24 more") {
		t.Errorf("%d lines:\n%s", lines, got)
	}
}

// A stack may contain control characters: in a file's name, in a line of code.
func TestFoldStacksIsClean(t *testing.T) {
	bad := FoldedStack{Who: []ranklist.Who{ranklist.Rank(0)}, Thread: "\x1b]0;x\a", Frames: []wire.StackFrame{
		{Frame: wire.Frame{File: "/p/a\x1b[2Jb.py", Line: 1, Name: "f\n", Run: "r"}, Source: "x = '\x1b[31m'\ny"},
		in("/x/site-packages/t\x1borch/a.py", 1, "g\x1b[1m"), in("lib\x1b.so", 0, "h\x1b"),
	}}
	if got := DescribeStacks([]FoldedStack{bad}, 0); strings.ContainsAny(got, "\x1b\a") {
		t.Errorf("%q", got)
	}
}

// addNative works with whatever py-spy there is: here a program that answers as it does.
func TestAddNative(t *testing.T) {
	bin := t.TempDir()
	write := func(script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, "py-spy"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &processes{}
	s.o.Node.Python = filepath.Join(bin, "python")
	ctx := testContext(t)
	places := []placed{{host.Local{}, host.Process{PID: 7}}, {host.Local{}, host.Process{PID: 8}}, {}}
	stacks := func() []Stack {
		return []Stack{
			{Who: ranklist.Rank(0), Threads: []wire.Thread{mainThread(at(41, "<module>", "work(x)")), {ID: 2, Name: "idle"}}},
			{Who: ranklist.Rank(1), Error: "it has not answered", Silent: true},
			{Who: ranklist.Rank(2), Error: "rank 2 was killed by SIGKILL"},
		}
	}

	write(`[ "$1 $2 $3 $4" = "dump --native --json --pid" ] || exit 1
cat <<'END'
[{"thread_id": 1, "thread_name": "MainThread", "frames": [
 {"name": "__poll", "filename": "libc.so.6", "module": "/lib/libc.so.6", "line": 0},
 {"name": "0x7fef", "filename": "libgloo.so", "module": "/lib/libgloo.so", "line": 0},
 {"name": "0x7ffe", "filename": "libgloo.so", "module": "/lib/libgloo.so", "line": 0},
 {"name": "_PyEval", "filename": "libpython3.11.so", "module": "/lib/libpython3.11.so.1.0", "line": 0},
 {"name": "work", "filename": "/p/data.py", "module": null, "line": 3},
 {"name": "<module>", "filename": "/p/train.py", "module": null, "line": 41}]}]
END
`)
	got := stacks()
	if problem := s.addNative(ctx, got, places); problem != "" {
		t.Error(problem)
	}
	want := `rank 0
  train.py:41  work(x)
  … native: __poll < libgloo.so
rank 1
  train.py:41
  data.py:3 in work
  … native: __poll < libgloo.so
rank 2
  was killed by SIGKILL`
	if told := DescribeStacks(FoldStacks(got), 0); told != want {
		t.Errorf("got\n%s\nwant\n%s", told, want)
	}

	write("echo 'Error: Permission Denied: Try running again with elevated permissions' >&2; exit 1")
	got = stacks()
	if problem := s.addNative(ctx, got, places); !strings.HasPrefix(problem, "no native frames of ranks 0-1: py-spy may not read them") || !got[1].Silent {
		t.Errorf("%q, %v", problem, got[1].Error)
	}
	write("echo 'not json'")
	if problem := s.addNative(ctx, stacks(), places); !strings.Contains(problem, "cannot be read") {
		t.Errorf("%q", problem)
	}
	if err := os.Remove(filepath.Join(bin, "py-spy")); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("py-spy"); err == nil {
		return
	}
	if problem := s.addNative(ctx, stacks(), places); problem != "" {
		t.Errorf("without py-spy: %q", problem)
	}
}
