package dipexec

import (
	"slices"
	"testing"

	"dipls/internal/ranklist"
)

// Processes that run something for a reader hear how wide the screen is, also when it changes, and those that do not are left alone.
func TestColumns(t *testing.T) {
	p, q := newFakeProcess(ranklist.Rank(0)), newFakeProcess(ranklist.Rank(1))
	var none *Columns
	none.follow([]Process{p})()

	c := &Columns{}
	c.Set(90)
	leave := c.follow([]Process{p, q})
	again := c.follow([]Process{p})
	c.Set(80)
	c.Set(0) // the front does not say so any more
	leave()
	c.Set(70)
	again()
	c.Set(60)
	if want := []string{"columns 90", "columns 90", "columns 80", "columns 70"}; !slices.Equal(p.said, want) {
		t.Errorf("%q, want %q", p.said, want)
	}
	if want := []string{"columns 90", "columns 80"}; !slices.Equal(q.said, want) {
		t.Errorf("%q, want %q", q.said, want)
	}
}
