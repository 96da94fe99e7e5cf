package afar

import (
	"context"
	"net/netip"
)

// Offer is sockets that listen on every address of a host, so that others can try which of them lead there.
type Offer struct {
	At   []netip.AddrPort `json:"at"`
	Word string           `json:"word"` // by which they know that it is this host: many have an address 172.17.0.1

	host *Host
}

// Offer listens until the offer is withdrawn.
func (h *Host) Offer(ctx context.Context) (*Offer, error) {
	o := &Offer{host: h}
	return o, h.ask(ctx, "offer", nil, o)
}

// Withdraw ends an offer. If the host is gone, it has ended already.
func (o *Offer) Withdraw(ctx context.Context) {
	_ = o.host.ask(ctx, "withdraw", map[string]string{"word": o.Word}, nil)
}

// Route is a way from one host to another.
type Route struct {
	To        netip.AddrPort `json:"to"`        // one of those of the offer
	From      netip.Addr     `json:"from"`      // the address that the connection came from
	Interface string         `json:"interface"` // that has it; "" where that is not known
}

// Reach tries which addresses of another host's offer lead there, in the order of the offer. Each may take two seconds, all at the same time.
func (h *Host) Reach(ctx context.Context, o *Offer) ([]Route, error) {
	var answer struct {
		Routes []Route `json:"routes"`
	}
	err := h.ask(ctx, "reach", o, &answer)
	return answer.Routes, err
}
