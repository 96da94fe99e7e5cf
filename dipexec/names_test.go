package dipexec

import (
	"maps"
	"slices"
	"testing"

	"dipls/internal/ranklist"
)

// Who has run something is asked which names it binds; who has died is left out.
func TestBound(t *testing.T) {
	pool := newFakePool(2)
	e, _ := start(t, Options{Pool: pool})
	if got := e.Bound(t.Context(), []string{"x"}); len(got) != 0 {
		t.Errorf("%v before anything ran", got)
	}
	id := mustStart(t, e, Request{Target: target(t, "everywhere")})
	pool.local.next().ok()
	pool.ranks[0].next().die()
	pool.ranks[1].next().ok()
	mustWait(t, e, id)
	pool.local.names, pool.ranks[1].names = []string{"x", "y"}, []string{"y"}
	got := e.Bound(t.Context(), []string{"x", "y", "z"})
	want := map[ranklist.Who][]string{ranklist.Local: {"x", "y"}, ranklist.Rank(1): {"y"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
}
