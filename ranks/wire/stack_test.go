package wire_test

import (
	"testing"

	"dipls/ranks/wire"
)

func TestThreadText(t *testing.T) {
	frame := func(file wire.Path, line int, name, source string) wire.StackFrame {
		return wire.StackFrame{Frame: wire.Frame{File: file, Line: line, Name: name}, Source: source}
	}
	busy := wire.Thread{Frames: []wire.StackFrame{frame("/é t/train.py", 7, "<module>", "step()"), frame("/lib/gone.py", 3, "step", "")}}
	want := "  File \"/é t/train.py\", line 7, in <module>\n    step()\n  File \"/lib/gone.py\", line 3, in step\n"
	if got := busy.Text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := (wire.Thread{Main: true}).Text(), "waiting for a cell\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
