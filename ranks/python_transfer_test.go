package ranks

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"dipls/ranks/wire"
)

// moving pulls variables from one process and pushes them to another.
func moving(t *testing.T, from, to *Process, names ...string) error {
	t.Helper()
	payload, release, err := from.Pull(testContext(t), names)
	if err != nil {
		return err
	}
	defer release()
	req, err := PreparePush(wire.PushRequest{Names: names, Payload: payload})
	if err != nil {
		return err
	}
	if err := to.Push(testContext(t), req); err != nil {
		return err
	}
	to.EndPush(true)
	return nil
}

func TestPythonTransfer(t *testing.T) {
	n := startPython(t)
	ranks := startPool(t, n, 2).Ranks()
	execute(t, ranks[0], "größe = 42\ndef f(x): return x + größe\nclass C: pass\ntext = 'ä' * 10")
	if err := moving(t, ranks[0], ranks[1], "größe", "f", "C", "text"); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, ranks[1], "print(f(größe), C().__class__.__name__, text)", "84 C ääääääääää\n")

	_, _, err := ranks[0].Pull(testContext(t), []string{"größe", "nix"})
	var refusal *wire.ReplyError
	if !errors.As(err, &refusal) || refusal.Variable != "nix" {
		t.Errorf("error %v", err)
	}
}

// bad is a value whose pickling does as code says.
func bad(code string) string {
	return "class Bad:\n  def __reduce__(self):\n    import os, time\n    print('on', flush=True)\n    " + code + "\n    return (int, ())\nbad = Bad()"
}

// pulling pulls a bad variable, and returns when that has begun.
func pulling(t *testing.T, ctx context.Context, p *Process) <-chan error {
	t.Helper()
	r := start(p, "pass").wait(t) // what is printed between cells is the last one's
	background := newRun()
	p.SetBackground(background.Happened)
	failed := make(chan error, 1)
	go func() {
		_, _, err := p.Pull(ctx, []string{"bad"})
		failed <- err
	}()
	await(t, "the pickling to begin", func() bool { return strings.Contains(background.output()+r.output(), "on") })
	return failed
}

func TestPythonTransferInterrupted(t *testing.T) {
	r := startPool(t, startPython(t), 1).Ranks()[0]
	execute(t, r, bad("time.sleep(600)"))
	ctx, cancel := context.WithCancel(testContext(t))
	failed := pulling(t, ctx, r)
	cancel()
	var refusal *wire.ReplyError
	if err := waitError(t, failed); !errors.As(err, &refusal) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantPrinted(t, r, "print('fine')", "fine\n")
}

func TestPythonTransferDeath(t *testing.T) {
	r := startPool(t, startPython(t), 1).Ranks()[0]
	execute(t, r, bad("os._exit(5)"))
	_, _, err := r.Pull(testContext(t), []string{"bad"})
	wantError(t, err, "rank 0 exited with code 5")
}

// A rank that waits for others need not come back before its variables are there.
func TestPythonPullBeside(t *testing.T) {
	n := startPython(t)
	if n.Info().Packages["torch"] == "" {
		t.Skip("no torch")
	}
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, App: "torch"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := p.Ranks()[0], p.Ranks()[1]
	execute(t, second, "import torch, torch.distributed as dist")
	waiting := start(first, "import torch, torch.distributed as dist\nn = 4\ndist.barrier()\nn = 5")
	var before *wire.GroupsReply
	await(t, "the barrier", func() bool {
		now, err := first.Groups(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		still := len(now.Operations) > 0 && reflect.DeepEqual(now, before)
		before = now
		return still
	})
	payload, release, err := first.PullBeside(testContext(t), []string{"n"})
	if err != nil {
		t.Fatal(err)
	}
	req, err := PreparePush(wire.PushRequest{Names: []string{"n"}, Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Push(testContext(t), req); err != nil {
		t.Fatal(err)
	}
	second.EndPush(true)
	release()
	if st, err := first.Status(testContext(t)); err != nil || st.ExecutionState != "busy" {
		t.Errorf("status %+v, %v", st, err)
	}
	wantPrinted(t, second, "print(n)\ndist.barrier()", "4\n")
	if waiting.wait(t); waiting.err != nil || waiting.reply.Status.Status != "ok" {
		t.Errorf("reply %+v, %v", waiting.reply, waiting.err)
	}
	if err := moving(t, first, second, "n"); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, second, "print(n)", "5\n")
}

// A shutdown need not wait for a variable.
func TestPythonTransferShutdown(t *testing.T) {
	p := startPool(t, startPython(t), 1)
	r := p.Ranks()[0]
	execute(t, r, bad("time.sleep(600)"))
	failed := pulling(t, testContext(t), r)
	if err := p.Shutdown(testContext(t), Ladder{Ask: testTimeout, Kill: time.Second}); err != nil {
		t.Error(err)
	}
	if err := waitError(t, failed); err == nil {
		t.Error("the pull succeeded")
	}
	if r.State() != Stopped {
		t.Errorf("rank is %v, %v", r.State(), r.Err())
	}
}

// An app changes while the pool lives, and says what is wrong with it.
func TestPythonSetApp(t *testing.T) {
	p := startPool(t, startPython(t), 2)
	before := p.App()
	missing := "no_such_app"
	notices, err := p.SetApp(testContext(t), wire.AppRequest{App: &missing})
	if err != nil || len(notices) != 1 || !strings.Contains(notices[0], missing) || p.App() != before {
		t.Errorf("app %s, notices %q, %v", p.App(), notices, err)
	}
}

// A pool that has no app may join later, and then says over what.
func TestPythonSetAppJoins(t *testing.T) {
	n := startPython(t)
	if n.Info().Packages["torch"] == "" {
		t.Skip("no torch")
	}
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, App: "none"})
	if err != nil {
		t.Fatal(err)
	}
	app := "torch"
	if _, err := p.SetApp(testContext(t), wire.AppRequest{App: &app}); err != nil {
		t.Fatal(err)
	}
	if p.App() != "torch" || p.Backend() == "" || p.Ranks()[1].Device() == "" {
		t.Errorf("app %s over %q on %q", p.App(), p.Backend(), p.Ranks()[1].Device())
	}
}
