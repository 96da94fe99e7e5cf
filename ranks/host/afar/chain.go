package afar

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/netip"
	"sync"

	"go.uber.org/zap"

	"dipls/internal/contain"
	"dipls/ranks/host"
)

// worthChain is how many bytes a chain must spare the session: to make the connections between the hosts takes as long as to send so many.
const worthChain = 8 << 20

var _ host.Chained = (*Host)(nil)

// MeetAt says by which of its addresses other hosts reach this one. Nobody has tried it for all of them. The zero value: it is not to listen for them.
func (h *Host) MeetAt(address netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meeting = address
	clear(h.apart)
}

// passing is a way from one host to the next, as the carrier of either is told.
type passing struct {
	Address netip.Addr `json:"address"` // of the second one
	Ports   *[2]int    `json:"ports,omitempty"`
	Port    int        `json:"port,omitempty"`
	Peer    string     `json:"peer"`  // SHA-256 of the certificate of who is at the other end
	Token   string     `json:"token"` // good for this once
}

// keepRequest is the first line to a carrier that keeps, and nextLine the second one if it is chained.
type keepRequest struct {
	Keep    []int64  `json:"keep"`
	Chained bool     `json:"chained,omitempty"`
	Before  *passing `json:"before,omitempty"`
}

type nextLine struct {
	Next *passing `json:"next"`
}

// chain is a transfer to hosts. Each station gets its bytes from the one before it, or from the session. Once it gets them from the session, it does for
// good.
type chain struct {
	sizes    []int64
	total    int64
	chained  bool // or else the session feeds all
	source   host.Source
	stations []*station
	work     sync.WaitGroup
	ctx      context.Context // of the work; its cause is the first error
	fail     context.CancelCauseFunc

	sum string // SHA-256 of all bytes, in hexadecimal, after the work

	mu    sync.Mutex
	told  func(has int64) // called under mu; nil: nobody wants to know
	least int64           // that a station has
}

// station is one of the hosts.
type station struct {
	*carrier
	before *passing      // the way to it from the host before; nil: there is none
	kept   carrierAnswer // after the work

	// Under chain.mu.
	has int64
	fed bool // by the session
}

// KeepAlong implements [host.Chained]. The memory is that of a process on each host, which ends when it is freed.
func (h *Host) KeepAlong(ctx context.Context, others []host.Host, sizes []int64, source host.Source, told func(has int64)) (kept []host.Kept, err error) {
	c := &chain{sizes: sizes, source: source, told: told}
	c.ctx, c.fail = context.WithCancelCause(ctx)
	defer c.fail(nil)
	for _, size := range sizes {
		c.total += size
	}
	hosts := []*Host{h}
	for _, other := range others {
		hosts = append(hosts, other.(*Host)) // it is of our kind
	}
	if err := c.begin(hosts); err != nil {
		c.free()
		return nil, err
	}
	stop := context.AfterFunc(c.ctx, c.free)
	c.run()
	if !stop() {
		c.free()
		return nil, context.Cause(c.ctx)
	}
	for _, s := range c.stations {
		if err := agree(c.sum, s.kept.Hash); err != nil {
			c.free()
			return nil, s.explain(ctx, err)
		}
	}
	for _, s := range c.stations {
		kept = append(kept, host.Kept{Files: s.kept.Files, Free: func() { s.channel.Close() }})
	}
	return kept, nil
}

// begin starts the carriers.
func (c *chain) begin(hosts []*Host) error {
	var ways []*passing
	for i, h := range hosts {
		var way *passing
		if i > 0 && int64(len(hosts)-1)*c.total >= worthChain {
			way = h.wayFrom(hosts[i-1])
		}
		ways = append(ways, way)
		c.chained = c.chained || way != nil
	}
	for i, h := range hosts {
		carrier, err := h.newCarrier(c.ctx, keepRequest{Keep: c.sizes, Chained: c.chained, Before: ways[i]})
		if err != nil {
			return err
		}
		c.stations = append(c.stations, &station{carrier: carrier, before: ways[i]})
	}
	return nil
}

// free has all carriers end, with what they keep.
func (c *chain) free() {
	for _, s := range c.stations {
		s.channel.Close()
	}
}

// run has the bytes go to all hosts, and waits until they have them, or something fails.
func (c *chain) run() {
	if c.chained {
		for _, s := range c.stations {
			c.start(func() error { return c.listen(s) })
		}
		c.work.Wait()
		for i := range c.stations {
			c.start(func() error { return c.point(i) })
		}
		c.work.Wait()
	}
	for i, s := range c.stations {
		c.start(func() error { return c.attend(i) })
		if s.before == nil {
			c.feed(i, 0)
		}
	}
	c.work.Wait()
}

// start does a part of the work.
func (c *chain) start(f func() error) {
	c.work.Go(func() {
		var err error
		defer func() {
			if err != nil {
				c.fail(err)
			}
		}()
		defer contain.AsError(&err)
		err = f()
	})
}

// wayFrom is the way from another host; nil: none is known, or it has turned out to be closed.
func (h *Host) wayFrom(before *Host) *passing {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.meeting.IsValid() || h.apart[before] {
		return nil
	}
	return &passing{Address: h.meeting, Ports: &[2]int{h.ports.First, h.ports.Last}, Peer: before.certificate, Token: rand.Text()}
}

// listen hears where a station waits for the one before it.
func (c *chain) listen(s *station) error {
	a, err := s.answer()
	if s.before != nil {
		if s.before.Port = a.Port; a.Port == 0 {
			s.before = nil
		}
	}
	return s.explain(c.ctx, err)
}

// point tells a station where the next one waits.
func (c *chain) point(i int) error {
	var line nextLine
	if i+1 < len(c.stations) && c.stations[i+1].before != nil {
		way, next := *c.stations[i+1].before, c.stations[i+1].host
		way.Ports, way.Peer = nil, next.certificate
		line.Next = &way
	}
	return c.stations[i].explain(c.ctx, c.stations[i].say(line))
}

// attend hears what the carrier of a station says, until it has all.
func (c *chain) attend(i int) error {
	s := c.stations[i]
	for {
		a, err := s.answer()
		switch {
		case err != nil:
			return s.explain(c.ctx, err)
		case a.Hash != "":
			s.kept = a
			c.tell(s, c.total)
			return nil
		case a.Lost != "":
			s.host.log.Info("a transfer goes on from here", zap.String("host", s.host.name), zap.Int64("has", a.Has), zap.String("reason", a.Lost))
			c.feed(i, a.Has)
		case a.Unreached != "":
			next := c.stations[i+1].host
			s.host.log.Info("hosts do not reach each other", zap.String("from", s.host.name), zap.String("to", next.name), zap.String("reason", a.Unreached))
			next.mu.Lock()
			next.apart[s.host] = true
			next.mu.Unlock()
			c.feed(i+1, 0)
		case a.Refused != "":
			s.host.log.Warn("a connection was refused", zap.String("host", s.host.name), zap.String("from", a.Refused))
		default:
			c.tell(s, a.Has)
		}
	}
}

// tell counts what a station has.
func (c *chain) tell(s *station, has int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := s.has
	s.has = has
	if was > c.least || c.told == nil {
		return
	}
	least := has
	for _, other := range c.stations {
		least = min(least, other.has)
	}
	if least > c.least {
		c.least = least
		c.told(least)
	}
}

// feed sends a station what it has not, unless that is done already.
func (c *chain) feed(i int, has int64) {
	s := c.stations[i]
	c.mu.Lock()
	fed := s.fed
	s.fed = true
	c.mu.Unlock()
	if fed {
		return
	}
	c.start(func() (err error) {
		out := &sink{w: s.channel}
		if i > 0 {
			err = c.source(c.ctx, out, has)
		} else {
			sum := sha256.New()
			if err = c.source(c.ctx, io.MultiWriter(out, sum), 0); err == nil {
				c.sum = hex.EncodeToString(sum.Sum(nil)) // read after all work
			}
		}
		if out.err != nil {
			return nil // the carrier says why it takes no more
		}
		return err
	})
}

// sink is a writer that remembers its error.
type sink struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (s *sink) Write(p []byte) (n int, err error) {
	n, s.err = s.w.Write(p)
	return n, s.err
}
