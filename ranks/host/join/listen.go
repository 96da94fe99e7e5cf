package join

import (
	"errors"
	"fmt"
	"net"
	"os"
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

// listen opens everything. The caller holds g.mu.
func (g *Gate) listen() error {
	for _, ip := range g.opts.Listen {
		l, err := g.opts.Ports.listen(ip)
		if err != nil {
			g.shut()
			return fmt.Errorf("listen for hosts: %w", err)
		}
		g.listeners = append(g.listeners, l)
	}
	if g.opts.Socket != "" {
		l, err := listenUnix(g.opts.Socket)
		if err != nil {
			g.shut()
			return fmt.Errorf("listen for hosts: %w", err)
		}
		g.listeners = append(g.listeners, l)
	}
	for _, l := range g.listeners {
		g.wg.Go(func() { g.accept(l) })
	}
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

// shut closes everything that listens. The caller holds g.mu.
func (g *Gate) shut() {
	for _, l := range g.listeners {
		l.Close()
	}
	g.listeners = nil
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
	var all []string
	for _, l := range g.listeners {
		switch at := l.Addr().(type) {
		case *net.UnixAddr:
			all = append(all, "unix:"+at.Name)
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
	return all
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
