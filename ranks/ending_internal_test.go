package ranks

import (
	"slices"
	"testing"
)

// What the local namespace says and what ranks say in the same words are two things.
func TestGather(t *testing.T) {
	procs := []*Process{{rank: -1}, {rank: 0}, {rank: 1}, {rank: 2}}
	got := gather(procs, []string{"1 thread", "1 thread", "", "1 thread"})
	if want := []string{"1 thread", "1 thread on ranks 0,2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
