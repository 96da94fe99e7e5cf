package ranks

import (
	"context"
	"testing"
	"time"

	"dipls/ranks/fakerank"
)

func TestShutdownLadder(t *testing.T) {
	for _, test := range []struct {
		name   string
		config fakerank.Config
		code   string // runs meanwhile
	}{
		{"idle", fakerank.Config{}, ""},
		{"busy", fakerank.Config{}, "print on\nwait"},
		{"deaf to interrupts", fakerank.Config{}, "print on\nstuck"},
		{"stubborn", fakerank.Config{Stubborn: []int{0, 1}}, ""},
		{"stubborn and busy", fakerank.Config{}, "print on\nstubborn\nstuck"},
	} {
		for _, processes := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				test.config.Processes = processes
				n := startFake(t, test.config)
				p := startPool(t, n, 2)
				var x *run
				if test.code != "" {
					x = start(p.Ranks()[0], test.code)
					await(t, "the execution to begin", func() bool { return x.output() != "" })
				}
				if err := p.Shutdown(testContext(t), quick); err != nil {
					t.Error(err)
				}
				waitFor(t, "the end of the pool", p.Done())
				if p.State() != Stopped {
					t.Errorf("pool is %v, %v", p.State(), p.Err())
				}
				for _, r := range p.Ranks() {
					if processes && running(r.ID()) {
						t.Errorf("%s (pid %d) is left", r.Name(), r.PID())
					}
				}
				if x != nil {
					x.wait(t)
				}
			})
		}
	}
}

func TestShutdownNow(t *testing.T) {
	n := startFake(t, fakerank.Config{Stubborn: []int{0}})
	p := startPool(t, n, 1)
	if err := p.Shutdown(testContext(t), Ladder{Kill: 10 * time.Second}); err != nil {
		t.Error(err)
	}
	if p.State() != Stopped {
		t.Errorf("pool is %v", p.State())
	}
}

// When the context ends, patience does.
func TestShutdownCancelled(t *testing.T) {
	n := startFake(t, fakerank.Config{Stubborn: []int{0}})
	p := startPool(t, n, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	patient := Ladder{Ask: time.Hour, Interrupt: time.Hour, Terminate: time.Hour, Kill: testTimeout}
	if err := p.Shutdown(ctx, patient); err != nil {
		t.Error(err)
	}
	if p.State() != Stopped {
		t.Errorf("pool is %v", p.State())
	}
}

// A node that ignores everything is killed, with what it runs.
func TestDeafNode(t *testing.T) {
	n := startFake(t, fakerank.Config{Deaf: true, Processes: true, Stubborn: []int{0}}, func(o *Options) {
		o.Ladder = quick
		o.Ladder.Kill = 2 * time.Second
	})
	p := startPool(t, n, 2)
	closeNode(t, n)
	for _, r := range p.Ranks() {
		if running(r.ID()) {
			t.Errorf("%s (pid %d) is left", r.Name(), r.PID())
		}
	}
}

// Whoever waits for a handler that never returns is told so, and the processes are gone all the same.
func TestShutdownWithStuckHandler(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	r := startPool(t, n, 1).Ranks()[0]
	gate := make(chan struct{})
	h := &gateHandler{run: newRun(), gate: gate, entered: make(chan struct{})}
	x := Prepare(execRequest("print a\nwait"))
	r.ExecutePrepared(x, h)
	waitFor(t, "the first output", h.entered)
	short := quick
	short.Kill = 200 * time.Millisecond
	if err := r.pool.Shutdown(testContext(t), short); err == nil {
		t.Error("Shutdown says that all is well")
	}
	close(gate)
	h.wait(t)
	waitFor(t, "the end", r.Done())
}
