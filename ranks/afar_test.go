package ranks

import (
	"testing"

	"dipls/ranks/host/afar"
	"dipls/ranks/host/afar/afartest"
)

func afarHost(t testing.TB, name string) *afar.Host {
	t.Helper()
	h, err := afar.New(testContext(t), afartest.Relay(t), afar.Options{Name: name, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A pool of real ranks over two hosts computes together.
func TestPoolAfar(t *testing.T) {
	var shares []Share
	for _, name := range []string{"gpu1", "gpu2"} {
		n := startPython(t, func(o *Options) { o.Host = afarHost(t, name) })
		shares = append(shares, Share{Node: n, Ranks: 2})
	}
	p, err := StartPool(testContext(t), PoolSpec{}, shares...)
	if err != nil {
		t.Fatal(err)
	}
	var runs []*run
	for _, r := range p.Ranks() {
		runs = append(runs, start(r, "import torch, torch.distributed as d; x = torch.ones(1) * d.get_rank(); d.all_reduce(x); print(x.item())"))
	}
	for rank, r := range runs {
		if r.wait(t); r.output() != "6.0\n" {
			t.Errorf("rank %d printed %q, %+v, %v", rank, r.output(), r.reply, r.err)
		}
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
}
