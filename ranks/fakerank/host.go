package fakerank

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"dipls/ranks/host"
)

// memoryOfAll is how much memory each process takes.
const memoryOfAll = 10 << 20

// Host is a machine whose nodes and ranks are goroutines of this process. Where a test has one, no process is started.
type Host struct {
	config Config

	mu    sync.Mutex
	nodes map[*node]bool // those that live
	gates map[string]bool
	lost  error // nil: it is there
}

var _ host.Host = (*Host)(nil)

// NewHost returns a machine whose nodes behave like that. Its ranks are goroutines also where Processes is set.
func NewHost(c Config) *Host {
	c.Processes = false
	return &Host{config: c, nodes: map[*node]bool{}, gates: map[string]bool{}}
}

// Open lets everything pass that waits at a gate, now or later.
func (h *Host) Open(gate string) {
	h.mu.Lock()
	h.gates[gate] = true
	nodes := make([]*node, 0, len(h.nodes))
	for n := range h.nodes {
		nodes = append(nodes, n)
	}
	h.mu.Unlock()
	for _, n := range nodes {
		for _, r := range n.goroutines() {
			r.wake()
		}
	}
}

// Lose ends all nodes as if the machine were gone, for that reason.
func (h *Host) Lose(why error) {
	h.mu.Lock()
	h.lost = why
	nodes := make([]*node, 0, len(h.nodes))
	for n := range h.nodes {
		nodes = append(nodes, n)
	}
	h.mu.Unlock()
	for _, n := range nodes {
		n.quit(9)
	}
}

func (h *Host) isOpen(gate string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gates[gate]
}

// Name is that of the configuration.
func (h *Host) Name() string { return cmp.Or(h.config.Name, "fake") }

// Address is the loopback address.
func (h *Host) Address() string { return "127.0.0.1" }

// Clock is 0.
func (h *Host) Clock() time.Duration { return 0 }

// WallClock is 0, too.
func (h *Host) WallClock() time.Duration { return 0 }

// Environ is this program's environment.
func (h *Host) Environ() []string { return os.Environ() }

// StartNode starts goroutines.
func (h *Host) StartNode(ctx context.Context, spec host.NodeSpec) (host.NodeProcess, error) {
	c := h.config
	switch {
	case c.StartHang:
		<-ctx.Done()
		return nil, fmt.Errorf("node is not ready: %w", context.Cause(ctx))
	case c.StartExit != 0:
		return nil, fmt.Errorf("node exited with code %d", c.StartExit)
	case len(c.Missing) > 0:
		return nil, host.MissingPackages(spec.Python, c.Missing)
	case c.StartError != "":
		return nil, fmt.Errorf("node could not start: %s", c.StartError)
	}
	base := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "dipls")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, "f")
	if err != nil {
		return nil, err
	}
	spec.Line.RuntimeDir, spec.Line.Host = dir, h.Name()
	n := &node{
		config: c, start: spec.Line, pid: int(lastPID.Add(1)), open: h.isOpen, gone: make(chan struct{}), ranks: make(map[string]child),
	}
	l, err := n.listen()
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	p := &nodeProcess{n: n}
	n.exit = func(code int) {
		l.Close()
		h.mu.Lock()
		delete(h.nodes, n)
		p.code, p.lost = code, h.lost
		h.mu.Unlock()
		close(n.gone)
	}
	h.mu.Lock()
	h.nodes[n] = true
	h.mu.Unlock()
	go func() { _ = n.run(l) }() // an error means that the server has gone
	return p, nil
}

// GPUs are those of this machine, unless CUDA_VISIBLE_DEVICES hides them or a test has put an nvidia-smi of its own on PATH.
func (h *Host) GPUs(ctx context.Context, mask *string) ([]host.GPU, error) {
	return host.Local{}.GPUs(ctx, mask)
}

// GPUMemory is that of this machine.
func (h *Host) GPUMemory(ctx context.Context) (map[int]int64, error) {
	return host.Local{}.GPUMemory(ctx)
}

// GPULoad is that of this machine.
func (h *Host) GPULoad(ctx context.Context) (map[string]int, error) {
	return host.Local{}.GPULoad(ctx)
}

// Memory is the same for all.
func (h *Host) Memory(context.Context, host.Process) (bytes int64, ok bool) { return memoryOfAll, true }

// Vitals are not known.
func (h *Host) Vitals(context.Context, host.Process) (v host.Vitals, ok bool) { return v, false }

// Condition is not known.
func (h *Host) Condition(context.Context, host.Process, host.Vitals, host.Vitals, bool, int) (c host.Condition) {
	return c
}

// Spy finds no py-spy.
func (h *Host) Spy(context.Context, string, host.Process) ([]host.SpiedThread, error) {
	return nil, host.ErrNoSpy
}

// Keep is as on this machine.
func (h *Host) Keep(ctx context.Context, sizes []int64, r io.Reader) (files []host.SharedFile, free func(), err error) {
	return host.Local{}.Keep(ctx, sizes, r)
}

// Fetch is as on this machine.
func (h *Host) Fetch(ctx context.Context, files []host.SharedFile, w io.Writer) error {
	return host.Local{}.Fetch(ctx, files, w)
}

// Ended looks for the goroutine.
func (h *Host) Ended(p host.Process) bool { return h.find(p) == nil }

// Kill ends the goroutine.
func (h *Host) Kill(_ context.Context, p host.Process) (gone bool) {
	if r := h.find(p); r != nil {
		r.signal(syscall.SIGKILL)
	}
	return true
}

// find finds the rank that a process is; nil: there is none.
func (h *Host) find(p host.Process) *rank {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := range h.nodes {
		for _, r := range n.goroutines() {
			if r.pid == p.PID {
				return r
			}
		}
	}
	return nil
}

// goroutines are the node's ranks that are none but goroutines.
func (n *node) goroutines() (ranks []*rank) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.ranks {
		if r, ok := c.(*rank); ok {
			ranks = append(ranks, r)
		}
	}
	return ranks
}

// nodeProcess is a node of goroutines as its host sees it.
type nodeProcess struct {
	n    *node
	code int   // set before the node is gone
	lost error // likewise: its machine is
}

var _ host.NodeProcess = (*nodeProcess)(nil)

func (p *nodeProcess) Process() host.Process       { return host.Process{PID: p.n.pid} }
func (p *nodeProcess) Session() string             { return filepath.Base(p.n.start.RuntimeDir) }
func (p *nodeProcess) Renew(context.Context) error { return nil }
func (p *nodeProcess) Resume()                     {}
func (p *nodeProcess) HangUp()                     { p.n.hangUp() }
func (p *nodeProcess) Kill()                       { p.n.quit(9) }
func (p *nodeProcess) Output() string              { return "" }
func (p *nodeProcess) CleanUp([]host.Process)      {}

func (p *nodeProcess) Dial(ctx context.Context, socket string) (net.Conn, error) {
	select {
	case <-p.n.gone:
		return nil, errors.New("the node has ended")
	default:
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join(p.n.start.RuntimeDir, socket))
}

func (p *nodeProcess) Wait() host.NodeExit {
	if <-p.n.gone; p.lost != nil {
		return host.NodeExit{PID: p.n.pid, Failed: p.lost}
	}
	return host.NodeExit{PID: p.n.pid, Exit: host.Exit{Code: &p.code}}
}
