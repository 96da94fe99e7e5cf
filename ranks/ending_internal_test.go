package ranks

import (
	"slices"
	"testing"

	"dipls/internal/ranklist"
)

// What the local namespace says and what ranks say in the same words are two things.
func TestGather(t *testing.T) {
	procs := []*Process{{}, {who: ranklist.Rank(0)}, {who: ranklist.Rank(1)}, {who: ranklist.Rank(2)}}
	got := gather(procs, []string{"1 thread", "1 thread", "", "1 thread"})
	if want := []string{"1 thread", "1 thread on ranks 0,2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
