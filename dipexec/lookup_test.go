package dipexec

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// inspected is the answers to a lookup in words.
func inspected(e *Executor, t *testing.T, where string) string {
	t.Helper()
	var words []string
	for _, a := range e.Inspect(context.Background(), target(t, where), wire.InspectRequest{Code: "x"}) {
		switch {
		case a.Busy:
			words = append(words, fmt.Sprintf("%v busy", a.Who))
		case a.Reply == nil:
			words = append(words, fmt.Sprintf("%v nothing", a.Who))
		default:
			words = append(words, a.Reply.Data.Text)
		}
	}
	return strings.Join(words, ", ")
}

// Lookups go where the code runs, to processes that something has run on, and start none.
func TestLookups(t *testing.T) {
	pool := newFakePool(3)
	e := New(Options{Pool: pool})
	defer e.Close(context.Background())
	if got := inspected(e, t, "everywhere"); got != "" {
		t.Errorf("before anything has run: %s", got)
	}
	if _, err := e.Complete(context.Background(), target(t, "local"), wire.CompleteRequest{}); !errors.Is(err, ErrNobody) {
		t.Error(err)
	}
	id := mustStart(t, e, Request{Target: target(t, "everywhere")})
	pool.local.next().ok()
	for _, p := range pool.ranks {
		p.next().ok()
	}
	mustWait(t, e, id)

	pool.ranks[1].look = func(context.Context) error { return fmt.Errorf("rank 1: %w", ranks.ErrBusy) }
	pool.ranks[2].look = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } // that is deaf
	for where, want := range map[string]string{
		"local": "x on local", "remote": "x on rank 0, rank 1 busy, rank 2 busy", "ranks:0": "x on rank 0", "everywhere:1": "x on local, rank 1 busy", "ranks:7": "",
	} {
		if got := inspected(e, t, where); got != want {
			t.Errorf("%s: %s, want %s", where, got, want)
		}
	}
	for where, want := range map[string]string{"everywhere": "y on local", "ranks:0-1": "y on rank 0"} {
		reply, err := e.Complete(context.Background(), target(t, where), wire.CompleteRequest{Code: "y"})
		if err != nil || reply.Matches[0] != want {
			t.Errorf("%s: %+v, %v", where, reply, err)
		}
	}
	if _, err := e.Complete(context.Background(), target(t, "ranks:1"), wire.CompleteRequest{}); !errors.Is(err, ErrNobody) {
		t.Error(err)
	}
	close(pool.ranks[0].ended)
	if got := inspected(e, t, "ranks:0"); got != "" {
		t.Errorf("of the dead: %s", got)
	}
	if v := e.Variables(context.Background(), target(t, "local")); len(v) != 1 || v[0].Reply.Variables[0].Name != "on local" {
		t.Errorf("%+v", v)
	}
}

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
