package ranks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/ranks/wire"
)

// What a namespace holds is told while its process is idle, and changes nothing about that.
func TestPythonLookups(t *testing.T) {
	local, err := startPython(t).Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	execute(t, local, "größe = [1, 2]\ndef grow(x): 'Grows.'\nimport time")
	complete, err := local.Complete(testContext(t), wire.CompleteRequest{Code: "ä = gr", CursorPos: 6, Timeout: 60})
	if err != nil || !slices.Equal(complete.Matches, []string{"grow", "größe"}) || complete.CursorStart != 4 || complete.CursorEnd != 6 ||
		complete.Metadata.Types[0] != (wire.MatchType{Text: "grow", Type: "function"}) {
		t.Errorf("%+v, %v", complete, err)
	}
	inspect, err := local.Inspect(testContext(t), wire.InspectRequest{Code: "grow", Timeout: 60})
	if err != nil || !inspect.Found || inspect.Data.Object.Signature != "(x)" || inspect.Data.Object.Doc != "Grows." {
		t.Errorf("%+v, %v", inspect, err)
	}
	if inspect, err = local.Inspect(testContext(t), wire.InspectRequest{Code: "nix", Timeout: 60}); err != nil || inspect.Found {
		t.Errorf("%+v, %v", inspect, err)
	}
	variables, err := local.Variables(testContext(t), wire.VariablesRequest{Timeout: 60})
	if err != nil || len(variables.Variables) != 3 || *variables.Variables[1].Length != 2 || variables.Variables[1].Shape != nil {
		t.Errorf("%+v, %v", variables, err)
	}
	if state := local.State(); state != Ready {
		t.Errorf("the process is %v", state)
	}

	r := start(local, "print('on', flush=True)\ntime.sleep(600)")
	if _, err := local.Inspect(testContext(t), wire.InspectRequest{Code: "grow"}); !errors.Is(err, ErrBusy) {
		t.Errorf("while busy: %v", err)
	}
	await(t, "the cell to begin", func() bool { return strings.Contains(r.output(), "on") })
	if err := local.Interrupt(testContext(t), ""); err != nil {
		t.Fatal(err)
	}
	r.wait(t)
}

// A lookup that goes on for ever ends at its time, when there is a cell to run, and for who has asked when that one wants.
func TestPythonLookupThatHangs(t *testing.T) {
	local, err := startPython(t).Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	execute(t, local, "import time\nclass Slow:\n  def __repr__(self):\n    while True: time.sleep(0.01)\nslow = Slow()")
	if _, err := local.Inspect(testContext(t), wire.InspectRequest{Code: "slow", Timeout: 0.01}); !errors.Is(err, ErrBusy) {
		t.Errorf("at its time: %v", err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond)
	defer cancel()
	if _, err := local.Inspect(ctx, wire.InspectRequest{Code: "slow", Timeout: 600}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
	wantPrinted(t, local, "print('cell')", "cell\n")
}
