package session

import (
	"errors"
	"slices"
	"testing"

	"dipls/internal/leaktest"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// What was prepared is there when it is needed, and nothing else was started.
func TestPrepare(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	if err := f.Prepare(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if left := leaktest.Sockets("r*"); len(left) > 0 || f.local != nil {
		t.Errorf("started: %v", left)
	}
	node := f.node.value
	f.ranks()
	if f.node.value != node || f.Unusable() != nil {
		t.Error("the node is another one")
	}
}

// A session whose node could not be started says so.
func TestUnusable(t *testing.T) {
	f := newFixture(t, fakerank.Config{Missing: []string{"zmq"}})
	if err := f.Unusable(); err != nil {
		t.Error(err)
	}
	var missing *host.MissingPackagesError
	if err := f.Prepare(testContext(t)); !errors.As(err, &missing) || !errors.As(f.Unusable(), &missing) {
		t.Errorf("%v, %v", err, f.Unusable())
	}
}

// Another choice counts for the pool that is made with it, however the last one came to be, and for one that is begun.
func TestChoose(t *testing.T) {
	f := newFixture(t, fakerank.Config{}, choose(Choice{Ranks: 2}))
	f.making(wire.MakeCommand{Ranks: 4})
	before := f.pids()
	f.ChooseFirst(Choice{Ranks: 3, App: "none"})
	if !slices.Equal(f.pids(), before) {
		t.Error("the pool is another one")
	}
	f.making(wire.MakeCommand{Restart: true})
	if got := len(f.ranks()); got != 4 {
		t.Errorf("%d ranks", got)
	}
	if _, err := f.MakeFor(testContext(t), Choice{Ranks: 3, App: "none"}, wire.MakeCommand{Restart: true}); err != nil {
		t.Error(err)
	}
	if got := len(f.ranks()); got != 3 {
		t.Errorf("%d ranks", got)
	}
}

// A start that is cancelled leaves nothing, and nothing takes its place until somebody asks.
func TestCancelStart(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinHang: []int{0}}, choose(Choice{Ranks: 2}))
	f.CancelStart() // of nothing
	if err := f.Begin(testContext(t), true, false); err != nil {
		t.Fatal(err)
	}
	await(t, "the start of the ranks", func() bool { return len(leaktest.Sockets("r0-*")) > 0 })
	f.CancelStart()
	for range 2 {
		_, err := f.processes.Ranks(testContext(t))
		wantError(t, err, "the start of the pool was cancelled; make one with %makedip")
	}
	if left := leaktest.Sockets("r*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	f.CancelStart() // of what has ended
}
