package ranks

import (
	"strconv"
	"strings"
	"testing"

	"dipls/ranks/wire"
)

// A cell that prints nothing takes one message to each rank, one that prints a little takes two, of which one acknowledges the output. What comes
// back the agent's tests count.
func TestMessagesOfACell(t *testing.T) {
	p := startPool(t, startPython(t), 2)
	for _, rank := range p.Ranks() {
		// sent is the number of the message by which a cell is run, of those that were ever sent to the rank.
		sent := func(code string) int {
			h := newRun()
			id := rank.Execute(wire.ExecuteRequest{Code: code, Path: "/t.py", Line: 3, StoreHistory: true}, h)
			h.wait(t)
			n, err := strconv.Atoi(id[strings.LastIndexByte(id, '_')+1:])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		first := sent("x = 1")
		for i := range 3 {
			if n := sent("x = 1") - first; n != i+1 {
				t.Errorf("%s: %d messages for %d silent cells", rank.Name(), n, i+1)
			}
		}
		printed := sent("print(x)")
		if n := sent("x = 1") - printed; n != 2 {
			t.Errorf("%s: %d messages for a cell that prints", rank.Name(), n)
		}
	}
}
