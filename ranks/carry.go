package ranks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"dipls/internal/contain"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Bring copies variables that a process of one host has shared to another host, where processes can map the copy until free is called. If they are there
// already, it is the payload itself.
func Bring(ctx context.Context, payload wire.Payload, from, to host.Host, told func(moved, total int64)) (there wire.Payload, free func(), err error) {
	if name := payload.Host(); name == "" || name == to.Name() {
		return payload, func() {}, nil
	}
	copies, free, err := carry(ctx, payload, from, []host.Host{to}, told)
	if err != nil {
		return nil, nil, err
	}
	return copies[0], free, nil
}

// carry copies variables from one host to others, all of them or none. told hears how much there is on the host that has least; nil: nobody does.
func carry(ctx context.Context, payload wire.Payload, from host.Host, to []host.Host, told func(moved, total int64)) (
	copies []wire.Payload, free func(), err error,
) {
	c := &carriage{from: from, kept: make([]host.Kept, len(to)), has: make([]int64, len(to)), told: told}
	if err = json.Unmarshal(payload, &c.object); err == nil {
		err = json.Unmarshal(c.object["files"], &c.files)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("variables of %s: %w", from.Name(), err)
	}
	for _, f := range c.files {
		c.sizes = append(c.sizes, f.Size)
		c.total += f.Size
	}
	if err := c.keep(ctx, to); err != nil {
		c.free()
		return nil, nil, err
	}
	for i, h := range to {
		there, err := c.on(h, c.kept[i].Files)
		if err != nil {
			c.free()
			return nil, nil, err
		}
		copies = append(copies, there)
	}
	return copies, c.free, nil
}

// carriage is the way of a payload's files to other hosts.
type carriage struct {
	from   host.Host
	object map[string]json.RawMessage // the payload
	files  []host.SharedFile
	sizes  []int64
	total  int64
	kept   []host.Kept // by host

	mu   sync.Mutex
	has  []int64 // bytes, by host
	told func(moved, total int64)
}

// keep has all hosts keep the files. Those that can pass them on to each other do.
func (c *carriage) keep(ctx context.Context, to []host.Host) error {
	var chained []int
	g, ctx := errgroup.WithContext(ctx)
	for i, h := range to {
		if _, ok := h.(host.Chained); ok {
			chained = append(chained, i)
			continue
		}
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			return c.explain(h.Name(), c.keepAlone(ctx, i, h))
		})
	}
	if len(chained) > 0 {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			name := to[chained[0]].Name()
			if n := len(chained); n > 1 {
				name = fmt.Sprintf("%d hosts", n)
			}
			return c.explain(name, c.keepChained(ctx, chained, to))
		})
	}
	return g.Wait()
}

func (c *carriage) explain(to string, err error) error {
	if err != nil {
		err = fmt.Errorf("copy variables from %s to %s: %w", c.from.Name(), to, err)
	}
	return err
}

func (c *carriage) keepChained(ctx context.Context, which []int, to []host.Host) error {
	first := to[which[0]].(host.Chained)
	var others []host.Host
	for _, i := range which[1:] {
		others = append(others, to[i])
	}
	kept, err := first.KeepAlong(ctx, others, c.sizes, c.source, func(has int64) { c.count(has, which...) })
	for n, one := range kept {
		c.kept[which[n]] = one
	}
	return err
}

func (c *carriage) keepAlone(ctx context.Context, i int, to host.Host) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r, w := io.Pipe()
	var sending sync.WaitGroup
	sending.Go(func() {
		err := io.ErrUnexpectedEOF
		defer func() { w.CloseWithError(err) }()
		defer contain.AsError(&err)
		if err = c.source(ctx, io.MultiWriter(w, &counter{func(sent int64) { c.count(sent, i) }, 0}), 0); err == nil {
			err = io.EOF
		}
	})
	files, free, err := to.Keep(ctx, c.sizes, r)
	if err != nil {
		stop(err)
	}
	r.CloseWithError(io.ErrClosedPipe)
	sending.Wait()
	if err == nil {
		c.kept[i] = host.Kept{Files: files, Free: free}
	}
	return err
}

// source is a [host.Source].
func (c *carriage) source(ctx context.Context, w io.Writer, skip int64) error {
	if skip > 0 {
		w = &skipper{w, skip}
	}
	return c.from.Fetch(ctx, c.files, w)
}

// count tells how much hosts have.
func (c *carriage) count(has int64, which ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range which {
		c.has[i] = has
	}
	if c.told != nil {
		c.told(slices.Min(c.has), c.total)
	}
}

// on is the payload for the processes of a host.
func (c *carriage) on(h host.Host, files []host.SharedFile) (wire.Payload, error) {
	c.object["host"], _ = json.Marshal(h.Name()) // strings and numbers can be marshalled
	c.object["files"], _ = json.Marshal(files)
	return json.Marshal(c.object)
}

// free frees the copies.
func (c *carriage) free() {
	for _, kept := range c.kept {
		if kept.Free != nil {
			kept.Free()
		}
	}
}

// counter is a writer that tells how much has been written.
type counter struct {
	told    func(written int64)
	written int64
}

// Write implements [io.Writer].
func (c *counter) Write(data []byte) (int, error) {
	c.written += int64(len(data))
	c.told(c.written)
	return len(data), nil
}

// skipper is a writer that leaves out the first bytes.
type skipper struct {
	w    io.Writer
	left int64
}

// Write implements [io.Writer].
func (s *skipper) Write(data []byte) (int, error) {
	skipped := min(s.left, int64(len(data)))
	s.left -= skipped
	if skipped == int64(len(data)) {
		return len(data), nil
	}
	n, err := s.w.Write(data[skipped:])
	return int(skipped) + n, err
}
