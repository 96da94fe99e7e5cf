package ranks

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// farHost plays another machine: it has another name, and its sockets are reached through a relay.
type farHost struct{ host.Local }

func (farHost) Name() string { return "far" }

func (h farHost) StartNode(ctx context.Context, spec host.NodeSpec) (host.NodeProcess, error) {
	n, err := h.Local.StartNode(ctx, spec)
	if err != nil {
		return nil, err
	}
	return farNode{n}, nil
}

type farNode struct{ host.NodeProcess }

func (n farNode) Dial(ctx context.Context, socket string) (net.Conn, error) {
	there, err := n.NodeProcess.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	here, relay := net.Pipe()
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // until either end closes
		to.Close()
		from.Close()
	}
	go pass(there, relay)
	go pass(relay, there)
	return here, nil
}

// Nothing of a pool, a process or a link depends on which implementation of a host is under it.
func TestPoolOverHosts(t *testing.T) {
	near := startFake(t, fakerank.Config{})
	far := startFake(t, fakerank.Config{Processes: true}, func(o *Options) { o.Host = farHost{} })
	p, err := StartPool(testContext(t), PoolSpec{}, Share{Node: near, Ranks: 1}, Share{Node: far, Ranks: 2})
	if err != nil {
		t.Fatal(err)
	}
	for rank, want := range []string{host.Local{}.Name(), "far", "far"} {
		r := p.Ranks()[rank]
		if got := r.Host().Name(); got != want {
			t.Errorf("rank %d is on %s, want %s", rank, got, want)
		}
		if got := execute(t, r, "flood 300000\nprint on").output(); len(got) != 300000+len("on\n") {
			t.Errorf("rank %d: %d bytes of output", rank, len(got))
		}
	}

	req, err := PreparePush(wire.PushRequest{Names: []string{"x"}, Payload: wire.Payload(`{"host":"far","files":[]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ranks()[1].Push(testContext(t), req); err != nil {
		t.Errorf("a push on the host whose memory it is: %v", err)
	}
	want := "rank 0, on " + near.Host().Name() + ", cannot map what lies in the memory of far"
	if err := p.Ranks()[0].Push(testContext(t), req); err == nil || err.Error() != want {
		t.Errorf("a push from another host: %v, want %s", err, want)
	}

	x := execute(t, p.Ranks()[2], "print last words\nexit 3")
	if want = "rank 2 (far) exited with code 3 (os._exit?)"; x.output() != "last words\n" || x.err == nil || x.err.Error() != want {
		t.Errorf("output %q, error %v, want %s", x.output(), x.err, want)
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
}

// A start that fails on one of several hosts says on which.
func TestStartFailsOnHost(t *testing.T) {
	near := startFake(t, fakerank.Config{Processes: true})
	far := startFake(t, fakerank.Config{Processes: true, SpawnError: "no room"}, func(o *Options) { o.Host = farHost{} })
	_, err := StartPool(testContext(t), PoolSpec{}, Share{Node: near, Ranks: 1}, Share{Node: far, Ranks: 1})
	if err == nil || !strings.HasPrefix(err.Error(), "start 2 ranks: far: ") {
		t.Errorf("error %v does not name the host", err)
	}
}
