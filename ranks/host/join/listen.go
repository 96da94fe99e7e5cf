package join

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"
)

// acceptPause is how long to wait after a failed accept: the process may have too many open files for a moment.
const acceptPause = 50 * time.Millisecond

// Ports is a closed range of ports; the zero value lets the system choose.
type Ports struct{ First, Last int }

func (p Ports) check() error {
	if p == (Ports{}) || 1 <= p.First && p.First <= p.Last && p.Last <= 65535 {
		return nil
	}
	return fmt.Errorf("ports %d to %d: not a range between 1 and 65535", p.First, p.Last)
}

// listen opens a port at one address.
func (p Ports) listen(ip string) (net.Listener, error) {
	var err error
	for port := p.First; port <= p.Last; port++ {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	if p.First == p.Last {
		return nil, err
	}
	return nil, fmt.Errorf("no port of %d to %d is free: %w", p.First, p.Last, err)
}

// listen opens what is not open. The caller holds g.mu.
func (g *Gate) listen() error {
	open := func(network string) bool {
		return slices.ContainsFunc(g.listeners, func(l net.Listener) bool { return l.Addr().Network() == network })
	}
	var opened []net.Listener
	add := func(l net.Listener, err error) error {
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return fmt.Errorf("listen for hosts: %w", err)
		}
		opened = append(opened, l)
		return nil
	}
	if !open("tcp") {
		for _, ip := range g.opts.Listen {
			if err := add(g.opts.Ports.listen(ip)); err != nil {
				return err
			}
		}
	}
	if g.opts.Socket != "" && !open("unix") {
		if err := add(listenUnix(g.opts.Socket)); err != nil {
			return err
		}
	}
	for _, l := range opened {
		g.wg.Go(func() { g.accept(l) })
	}
	g.listeners = append(g.listeners, opened...)
	return nil
}

func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// rest closes what nobody may come through: while no start goes on, hosts that live come back by the roads that they have taken before. The caller
// holds g.mu.
func (g *Gate) rest() {
	if len(g.starts) > 0 {
		return
	}
	taken := make(map[string]bool)
	for _, h := range g.hosts {
		for network := range h.roads {
			taken[network] = true
		}
	}
	g.shut(func(l net.Listener) bool { return !taken[l.Addr().Network()] })
}

// shut closes some listeners. The caller holds g.mu.
func (g *Gate) shut(which func(net.Listener) bool) {
	g.listeners = slices.DeleteFunc(g.listeners, func(l net.Listener) bool {
		if !which(l) {
			return false
		}
		l.Close()
		return true
	})
}

func (g *Gate) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			g.refusals.add(l.Addr(), err)
			time.Sleep(acceptPause)
		default:
			g.wg.Add(1)
			go g.knock(nc)
		}
	}
}

// Addresses are where the gate listens now, in the order to try them: "10.0.0.1:4711", "unix:/path". The machine's own address for itself is left out,
// unless it was asked for or there is no other.
func (g *Gate) Addresses() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all, sockets []string
	for _, l := range g.listeners {
		switch at := l.Addr().(type) {
		case *net.UnixAddr:
			sockets = append(sockets, "unix:"+at.Name)
		case *net.TCPAddr:
			if !at.IP.IsUnspecified() {
				all = append(all, at.String())
				continue
			}
			for _, ip := range machineAddresses() {
				all = append(all, net.JoinHostPort(ip.String(), strconv.Itoa(at.Port)))
			}
		}
	}
	return append(all, sockets...)
}

// machineAddresses are the machine's addresses that others may reach, IPv4 first.
func machineAddresses() []net.IP {
	addresses, _ := net.InterfaceAddrs() // none, if the system does not tell
	var four, six []net.IP
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			four = append(four, n.IP)
		default:
			six = append(six, n.IP)
		}
	}
	if ips := append(four, six...); len(ips) > 0 {
		return ips
	}
	return []net.IP{net.IPv4(127, 0, 0, 1)}
}
