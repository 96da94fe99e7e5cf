package lsp_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dipls/internal/lsptest"
)

type processStack struct {
	Rank        int
	Local       bool
	Text, Error string
	Frames      []struct {
		Thread string
		Main   bool
		Frames []struct {
			File, Name, Run, Source string
			Line                    int
		}
	}
}

// stacksOf asks where processes are.
func stacksOf(e *lsptest.Editor, args lsptest.Object) []processStack {
	var reply struct{ Stacks []processStack }
	e.Command("dip.stack", args, &reply)
	return reply.Stacks
}

// answeredBy asks where processes are until those that can tell do, which may take several times on a busy machine.
func answeredBy(t *testing.T, e *lsptest.Editor, able ...int) (stacks []processStack) {
	t.Helper()
	await(t, "stacks", func() bool {
		stacks = stacksOf(e, nil)
		return !slices.ContainsFunc(stacks, func(s processStack) bool { return slices.Contains(able, s.Rank) && s.Text == "" })
	})
	return stacks
}

// awaitStopped waits until a signal to stop has reached all threads of a process.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	await(t, "the stop", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool { return processState(path) != "T" })
	})
}

// rankStatus is what dip.status tells of a rank, or of the local namespace.
type rankStatus struct {
	Rank, PID           int
	Device, State, Host string
	HostBytes           *int64 `json:"host_bytes"`
	GPUBytes            *int64 `json:"gpu_bytes"`
	Run                 *struct {
		Run, URI, Title string
		Cell            int
		Seconds         float64
	}
}

type poolStatus struct {
	State, App, Backend, Autodip string
	Size                         int
	Ranks                        []rankStatus
	Local                        *rankStatus
}

// statusOf asks for the state of the only workspace.
func statusOf(t *testing.T, e *lsptest.Editor, args lsptest.Object) poolStatus {
	t.Helper()
	var reply struct{ Workspaces []struct{ Pool poolStatus } }
	e.Command("dip.status", args, &reply)
	if len(reply.Workspaces) != 1 {
		t.Fatalf("%d workspaces", len(reply.Workspaces))
	}
	return reply.Workspaces[0].Pool
}

// dip.stack says where busy processes are, and why one does not answer.
func TestStackAndStatus(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events, Settings: lsptest.Object{"ranks": 3, "app": "none", "prewarm": false}})
	e.Open("ä b.py", "# %% Wait target=\"remote\"\nimport time\ndef forever():\n    print('held', flush=True)\n    while True: time.sleep(0.05)\n"+
		"forever()\n# %% Local\nx = 1\n")
	uri := e.URI("ä b.py")
	for args, want := range map[string]string{
		"": "no process lives", "-1": "the local namespace does not live", "0": "there are no ranks", "-2": "there is no rank -2",
	} {
		object := lsptest.Object{}
		if args != "" {
			object["rank"] = lsptest.Object{"-1": -1, "0": 0, "-2": -2}[args]
		}
		if err := e.TryCommand("dip.stack", object, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rank %s: %v, want %s", args, err, want)
		}
	}
	if pool := statusOf(t, e, lsptest.Object{"memory": true}); pool.State != "none" || pool.Ranks == nil || pool.Local != nil {
		t.Errorf("%+v", pool)
	}
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 2}), "ok")
	run := e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 1})
	for rank := range 3 {
		e.Await("a rank", lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Has("rank", rank), lsptest.Contains("text", "held"))
	}

	await(t, "the loop", func() bool { // a line may be here before print has returned
		return !slices.ContainsFunc(stacksOf(e, nil), func(s processStack) bool { return s.Rank >= 0 && !strings.Contains(s.Text, "line 5, in forever") })
	})
	stacks := answeredBy(t, e, -1, 0, 1, 2)
	if len(stacks) != 4 || !stacks[0].Local || stacks[0].Rank != -1 || stacks[0].Text == "" {
		t.Fatalf("%+v", stacks)
	}
	for i, s := range stacks[1:] {
		if s.Rank != i || s.Local || s.Error != "" || !strings.Contains(s.Text, "ä b.py\", line 6, in <module>") || !strings.Contains(s.Text, "line 5, in forever") {
			t.Errorf("%+v", s)
		}
		if len(s.Frames) == 0 || !s.Frames[0].Main || len(s.Frames[0].Frames) < 2 {
			t.Fatalf("%+v", s.Frames)
		}
		if f := s.Frames[0].Frames[0]; f.Line != 6 || f.Run != run || f.Source != "forever()" || filepath.Base(f.File) != "ä b.py" {
			t.Errorf("%+v", f)
		}
		if f := s.Frames[0].Frames[1]; f.Line != 5 || f.Name != "forever" {
			t.Errorf("%+v", f)
		}
	}
	var folded struct{ Folded string }
	e.Command("dip.stack", lsptest.Object{"native": true}, &folded)
	const want = "local\n  waits for a cell\n\nranks 0-2\n  ä b.py:6"
	if !strings.HasPrefix(folded.Folded, want) || !strings.Contains(folded.Folded, "ä b.py:5 in forever") {
		t.Errorf("%q", folded.Folded)
	}
	if local := stacksOf(e, lsptest.Object{"rank": -1, "uri": uri}); len(local) != 1 || !strings.Contains(local[0].Text, "waiting for a cell") {
		t.Errorf("%+v", local)
	}
	if err := e.TryCommand("dip.stack", lsptest.Object{"rank": 7}, nil); err == nil || !strings.Contains(err.Error(), "there is no rank 7: the pool has 3") {
		t.Error(err)
	}

	pool := statusOf(t, e, nil)
	if pool.State != "busy" || pool.Size != 3 || pool.App != "none" || len(pool.Ranks) != 3 || pool.Local == nil {
		t.Fatalf("%+v", pool)
	}
	for i, r := range pool.Ranks {
		if r.Rank != i || r.PID <= 1 || r.State != "busy" || r.Host == "" || r.HostBytes != nil || r.GPUBytes != nil {
			t.Errorf("%+v", r)
		}
		if r.Run == nil || r.Run.Run != run || r.Run.URI != uri || r.Run.Cell != 1 || r.Run.Title != "Wait" || r.Run.Seconds <= 0 {
			t.Errorf("rank %d runs %+v", i, r.Run)
		}
	}
	if l := pool.Local; l.PID <= 1 || l.State != "ready" || l.Run != nil || l.HostBytes != nil {
		t.Errorf("%+v", l)
	}
	weighed := statusOf(t, e, lsptest.Object{"memory": true})
	for _, r := range append(weighed.Ranks, *weighed.Local) {
		if r.HostBytes == nil || *r.HostBytes < 1<<20 || r.GPUBytes != nil {
			t.Errorf("%d takes %v", r.PID, r.HostBytes)
		}
	}

	must(t, syscall.Kill(pool.Ranks[1].PID, syscall.SIGSTOP))
	awaitStopped(t, pool.Ranks[1].PID)
	silent := answeredBy(t, e, -1, 0, 2)
	must(t, syscall.Kill(pool.Ranks[1].PID, syscall.SIGCONT))
	if s := silent[2]; s.Rank != 1 || s.Text != "" || !strings.Contains(s.Error, "rank 1 has not answered within 2s") {
		t.Errorf("%+v", s)
	}
	if s := silent[3]; s.Rank != 2 || s.Error != "" || s.Text == "" {
		t.Errorf("%+v", s)
	}
	must(t, syscall.Kill(pool.Ranks[2].PID, syscall.SIGKILL))
	finished(e, run, "died")
	if dead := stacksOf(e, lsptest.Object{"rank": 2}); len(dead) != 1 || !strings.Contains(dead[0].Error, "rank 2 was killed by SIGKILL") {
		t.Errorf("%+v", dead)
	}
	if pool := statusOf(t, e, nil); pool.State != "dead" || pool.Ranks[2].State != "dead" || pool.Ranks[2].Run != nil {
		t.Errorf("%+v", pool)
	}
}
