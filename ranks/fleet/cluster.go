package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/internal/contain"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/join"
	"dipls/ranks/host/mux"
	"dipls/ranks/launch"
)

// breakPatience is how long after the end of an agent its connection may break.
const breakPatience = 5 * time.Second

// closePatience is how long launchers may take to end after their agents were told to.
const closePatience = 5 * time.Second

// cluster is a fleet of real hosts.
type cluster struct {
	o          Options
	ports      join.Ports
	allocation launch.Allocation
	gate       *join.Gate
	socket     string // the gate's Unix socket
	remove     func() // removes the folder where that is
	agent      string // SHA-256 of its zip
	copies     copies

	ctx    context.Context // of inquiries
	stop   context.CancelFunc
	work   sync.WaitGroup // of inquiries
	asking sync.Mutex     // held by the inquiry whose turn it is

	mu      sync.Mutex // guards what follows, and the members
	members []*member  // by number
	joins   []launch.Joins
	starts  int // how many there were
	closing bool
	closed  chan struct{} // nil before the first Close
}

var _ Fleet = (*cluster)(nil)

// member is a host of a cluster, under whose mu it is.
type member struct {
	*afar.Host // nil before it has joined
	number     int
	name       string // "" until it has joined, if the user has only said how many hosts there are
	ranks      int
	conn       *mux.Conn
	start      int  // the number of the start that its agent is of
	joining    bool // its agent is awaited, perhaps not for the first time
	state      State
	reason     error
	hungUp     bool   // it is unreachable since it has closed its connection
	taken      string // why the engine takes it away
	ended      error  // how its agent has ended, if a launcher knows that
	endedAt    time.Time
	out        bool // it was left out by Shrink
}

// told is the member as users of the fleet see it.
func (m *member) told() Member {
	return Member{Host: m.Host, Ranks: m.ranks, State: m.state, Reason: m.reason}
}

// told passes on what the launcher tells.
func (f *cluster) told(e launch.Event) {
	switch e.Kind {
	case launch.Waits:
		f.o.Waits(e.Text)
	case launch.Warns:
		f.o.Notice(e.Text)
	case launch.Taken:
		f.o.Notice(e.Text)
		f.taken(e)
	case launch.Printed, launch.Failed, launch.Ended:
		f.o.Log.Info("launcher", zap.Int("host", e.Host), zap.String("text", e.Text))
	}
}

// taken notes why the engine takes hosts away.
func (f *cluster) taken(e launch.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if m.conn != nil && (e.Host < 0 || e.Host == m.number) {
			m.taken = e.Text
			m.conn.Explain(e.Text)
		}
	}
}

// inquire asks the engine why a host does not answer, as long as it does not.
func (f *cluster) inquire(m *member, conn *mux.Conn) {
	pause := time.NewTicker(f.o.Lease / 6)
	defer pause.Stop()
	for conn.State() == mux.Unreachable {
		f.asking.Lock() // many may be unreachable at once
		why := f.allocation.Explain(f.ctx, m.number)
		f.asking.Unlock()
		if why != "" && conn.State() == mux.Unreachable {
			conn.Explain(why)
		}
		select {
		case <-pause.C:
		case <-conn.Done():
		case <-f.ctx.Done():
			return
		}
	}
}

// agentEnded hears that an agent has ended. What it had sent before is still read: its connection is given up only once it has hung up, too. A launcher
// may have lost a host that lives.
func (f *cluster) agentEnded(start int, e launch.Event) {
	f.mu.Lock()
	m := f.members[e.Host]
	if m.start != start { // it has a new agent
		f.mu.Unlock()
		return
	}
	m.endedAt = time.Now()
	m.ended = fmt.Errorf("host %s lost: its agent has ended", m.name)
	if e.Text != "" {
		m.ended = fmt.Errorf("%w: %s", m.ended, e.Text)
	}
	fail := !f.closing && !m.joining && m.state == Unreachable && m.hungUp
	f.mu.Unlock()
	if fail {
		m.conn.Fail(m.conn.Explained(m.ended))
	}
}

// Members implements [Fleet].
func (f *cluster) Members() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Member
	for _, m := range f.members {
		if !m.out && m.Host != nil {
			all = append(all, m.told())
		}
	}
	return all
}

// lost are the members that are lost.
func (f *cluster) lost() (lost []*member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if !m.out && m.state == Lost {
			lost = append(lost, m)
		}
	}
	return lost
}

// Restore implements [Fleet].
func (f *cluster) Restore(ctx context.Context) error {
	lost := f.lost()
	if len(lost) == 0 {
		return nil
	}
	if err := f.bringIn(ctx, lost); err != nil {
		var names []string
		for _, m := range f.lost() {
			names = append(names, m.name)
		}
		return fmt.Errorf("%s cannot be brought back: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// Shrink implements [Fleet].
func (f *cluster) Shrink() (names []string) {
	for _, m := range f.lost() {
		f.mu.Lock()
		m.out = true
		f.mu.Unlock()
		names = append(names, m.name)
	}
	return names
}

// Close implements [Fleet]. The agents end what they run by themselves; the launchers are then waited for.
func (f *cluster) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closing = true
	first := f.closed == nil
	if first {
		f.closed = make(chan struct{})
	}
	closed, joins := f.closed, slices.Clone(f.joins)
	var conns []*mux.Conn
	for _, m := range f.members {
		if m.conn != nil {
			conns = append(conns, m.conn)
		}
	}
	f.mu.Unlock()
	if !first {
		<-closed
		return nil
	}
	defer close(closed)
	var work sync.WaitGroup
	for _, conn := range conns {
		work.Go(func() { _ = conn.Close() }) // there is nothing to do about a host that is gone; it is waited for
	}
	work.Wait()
	f.stop()
	f.work.Wait()
	// Agents that have heard it end within three seconds. The launcher of a host that is gone would never end.
	inOrder, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for _, j := range joins {
		work.Go(func() { contain.Do(func() { j.End(inOrder) }) })
	}
	work.Wait()
	err := f.allocation.Close(ctx)
	if f.gate != nil {
		f.gate.Close()
	}
	if f.remove != nil {
		f.remove()
	}
	return err
}
