package ranks

import (
	"fmt"
	"testing"

	"dipls/ranks/fakerank"
)

func serverMain() {}

func TestPool(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	p := startPool(t, n, 3)
	for i, r := range p.Ranks() {
		got := execute(t, r, "rank\nprint hello\nresult 42")
		if want := fmt.Sprintf("%d\nhello\n", i); got.output() != want {
			t.Errorf("rank %d printed %q, want %q", i, got.output(), want)
		}
		if got.reply == nil || got.reply.Status.Status != "ok" {
			t.Errorf("rank %d: reply %+v, error %v", i, got.reply, got.err)
		}
	}
	t.Log(p.Notices(), n.Info())
}
