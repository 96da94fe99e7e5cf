package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"dipls/internal/contain"
	"dipls/ranks/host"
	"dipls/ranks/host/afar"
)

// Meet implements [Fleet]. The first host listens on all of its addresses, and all others try these at once.
func (f *cluster) Meet(ctx context.Context, among []host.Host) (Meeting, error) {
	hosts := make([]*afar.Host, len(among))
	for i, h := range among {
		hosts[i] = h.(*afar.Host) // it is one of our members
	}
	if len(hosts) == 1 {
		return Meeting{Address: host.Local{}.Address(), Interfaces: []string{""}}, nil // nobody else has to reach it
	}
	offer, err := hosts[0].Offer(ctx)
	if err != nil {
		return Meeting{}, fmt.Errorf("%s: listen for the other hosts: %w", hosts[0].Name(), err)
	}
	defer offer.Withdraw(context.WithoutCancel(ctx))
	routes := make([][]afar.Route, len(hosts)) // of all but the first
	g, within := errgroup.WithContext(ctx)
	for i, h := range hosts[1:] {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			if routes[i+1], err = h.Reach(within, offer); err != nil {
				err = fmt.Errorf("%s: try to reach %s: %w", h.Name(), hosts[0].Name(), err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Meeting{}, err
	}
	for _, at := range offer.At {
		m, addresses, ok := meetingAt(at, hosts, routes)
		if !ok {
			continue
		}
		for i, h := range hosts {
			if f.o.Ports == noPort {
				addresses[i] = netip.Addr{} // nor does it listen for other hosts
			}
			h.MeetAt(addresses[i])
		}
		return m, nil
	}
	return Meeting{}, unreached(hosts, routes, offer)
}

// meetingAt is a meeting at an address, if all hosts have reached it, and by which of their own addresses they have.
func meetingAt(at netip.AddrPort, hosts []*afar.Host, routes [][]afar.Route) (m Meeting, addresses []netip.Addr, ok bool) {
	addresses = []netip.Addr{at.Addr()}
	m = Meeting{Address: at.Addr().String(), Interfaces: make([]string, len(hosts))}
	for _, a := range hosts[0].Facts().Addresses {
		if a.IP == at.Addr() {
			m.Interfaces[0] = a.Interface
		}
	}
	for i := 1; i < len(hosts); i++ {
		at := slices.IndexFunc(routes[i], func(r afar.Route) bool { return r.To == at })
		if at < 0 {
			return m, nil, false
		}
		m.Interfaces[i] = routes[i][at].Interface
		addresses = append(addresses, routes[i][at].From)
	}
	return m, addresses, true
}

// unreached says which hosts do not reach the first one.
func unreached(hosts []*afar.Host, routes [][]afar.Route, offer *afar.Offer) error {
	var tried, deaf []string
	for _, at := range offer.At {
		tried = append(tried, at.Addr().String())
	}
	for i := 1; i < len(hosts); i++ {
		if len(routes[i]) == 0 {
			deaf = append(deaf, hosts[i].Name())
		}
	}
	if len(tried) == 0 {
		return fmt.Errorf("%s has no address that other hosts could reach", hosts[0].Name())
	}
	if len(deaf) == 0 {
		return fmt.Errorf("no address of %s is reached by all other hosts; tried: %s", hosts[0].Name(), strings.Join(tried, ", "))
	}
	return fmt.Errorf("%s cannot reach %s, where rank 0 is to run; tried: %s (ranks need open ports between hosts: is there a firewall?)",
		strings.Join(deaf, ", "), hosts[0].Name(), strings.Join(tried, ", "))
}
