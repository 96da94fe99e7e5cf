package diagnose

import (
	"testing"

	"dipls/ranks/wire"
)

func TestLibraryOf(t *testing.T) {
	for _, c := range []struct {
		frame wire.StackFrame
		name  string
		ok    bool
	}{
		{wire.StackFrame{Frame: wire.Frame{File: "/home/u/train.py"}}, "", false},
		{wire.StackFrame{Frame: wire.Frame{File: "/v/lib/python3.11/site-packages/torch/nn/x.py"}}, "torch", true},
		{wire.StackFrame{Frame: wire.Frame{File: "/usr/lib/python3.11/threading.py"}}, "threading", true},
		{wire.StackFrame{Frame: wire.Frame{File: "<frozen importlib._bootstrap>"}}, "importlib._bootstrap", true},
		{wire.StackFrame{Frame: wire.Frame{File: "<string>"}}, "string", true},
		{wire.StackFrame{Frame: wire.Frame{File: "<string>", Run: "r"}}, "", false},
		{wire.StackFrame{Frame: wire.Frame{File: "<ipython-input-1-56a72c916fc8>"}}, "", false}, // what a cell has run on the ranks
	} {
		if name, ok := LibraryOf(c.frame); name != c.name || ok != c.ok {
			t.Errorf("%s: %q, %t", c.frame.File, name, ok)
		}
	}
}
