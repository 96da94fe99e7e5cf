package wire

import (
	"fmt"
	"strings"
)

// Text is the thread's stack as Python prints one.
func (t Thread) Text() string {
	if len(t.Frames) == 0 {
		return "waiting for a cell\n"
	}
	var b strings.Builder
	for _, f := range t.Frames {
		fmt.Fprintf(&b, "  File \"%s\", line %d, in %s\n", f.File, f.Line, f.Name)
		if f.Source != "" {
			fmt.Fprintf(&b, "    %s\n", f.Source)
		}
	}
	return b.String()
}
