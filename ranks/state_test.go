package ranks

import (
	"slices"
	"strings"
	"testing"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

func execRequest(code string) wire.ExecuteRequest { return wire.ExecuteRequest{Code: code} }

func TestTransitions(t *testing.T) {
	if len(transitions) != len(stateNames) {
		t.Fatalf("%d rows for %d states", len(transitions), len(stateNames))
	}
	for from := range State(len(stateNames)) {
		if from.Final() != (len(transitions[from]) == 0) {
			t.Errorf("%v: final %v, but leads to %v", from, from.Final(), transitions[from])
		}
		if !from.Final() && (!legal(from, Dead) || !legal(from, Stopped)) {
			t.Errorf("%v does not lead to an end", from)
		}
		if legal(from, from) {
			t.Errorf("%v leads to itself", from)
		}
	}
	if legal(State(99), Ready) || State(99).String() != "State(99)" {
		t.Error("an unknown state is legal")
	}
	if slices.Contains(stateNames[:], "") {
		t.Error("a state has no name")
	}
}

func TestStartMethod(t *testing.T) {
	for _, m := range []StartMethod{StartAuto, StartFork, StartSpawn} {
		if got, err := ParseStartMethod(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := ParseStartMethod("thread"); err == nil {
		t.Error("thread is a start method")
	}
}

func TestExitError(t *testing.T) {
	three, rank := 3, 2
	for _, test := range []struct {
		err  ExitError
		want string
	}{
		{ExitError{Name: "rank 2", Rank: &rank, Exit: host.Exit{Signal: "SIGKILL"}}, "rank 2 was killed by SIGKILL"},
		{ExitError{Name: "rank 2", Exit: host.Exit{Signal: "SIGKILL", OOM: true}}, "rank 2 was killed by SIGKILL (out of memory)"},
		{ExitError{Name: "rank 2", Exit: host.Exit{Signal: "SIGKILL"}, Asked: true}, "rank 2 was killed by SIGKILL"},
		{ExitError{Name: "rank 0", Exit: host.Exit{Signal: "SIGSEGV"}}, "rank 0 was killed by SIGSEGV (segmentation fault)"},
		{ExitError{Name: "rank 1", Exit: host.Exit{Code: &three}}, "rank 1 exited with code 3 (os._exit?)"},
		{ExitError{Name: "rank 1", Exit: host.Exit{Code: &three}, Detail: "Traceback"}, "rank 1 exited with code 3 (os._exit?): Traceback"},
		{ExitError{Name: "node", Exit: host.Exit{Code: &three}}, "node exited with code 3"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		if strings.Contains(test.want, "\n") {
			t.Errorf("%q has more than one line", test.want)
		}
	}
}
