// Package afar is a host on which an agent of ours runs. [Host] implements [host.Host] over a conversation with that agent.
//
// There a launcher has started the relay (dip_agent/hosts/relay.py), the other end of the [mux.Conn]. The session opens channels, and says what it
// wants of each:
//
//	{"serve": "machine"}     the process that answers what only the machine can tell (machine.py)
//	{"serve": "supervisor"}  a new process that starts one node, and guards it as the guard does here (supervisor.py)
//	{"socket": PATH}         the process that listens at a Unix socket there
//
// The first two speak JSON-RPC 2.0, a line for each message. The third is closed by the relay as soon as that process has ended and everything that it
// wrote has come, whoever else holds the socket.
//
// The end of our direction of a supervisor's channel is the node's lifeline. When the conversation ends, however it does, all these channels end there, and
// with them everything that was started.
package afar

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/internal/trace"
	"dipls/ranks/host"
	"dipls/ranks/host/join"
	"dipls/ranks/host/mux"
	"dipls/ranks/wire"
)

const (
	// lookPatience is how long a look at a process may take. Who wants to know more asks again.
	lookPatience = 5 * time.Second

	// endPatience is how long the answer to whether a process has ended may take.
	endPatience = 500 * time.Millisecond
)

// Options say how a host appears.
type Options struct {
	Name        string                       // no other host of the session has it; "" is the hostname
	Certificate [sha256.Size]byte            // SHA-256 of the certificate that it has joined with
	Ports       join.Ports                   // where other hosts may reach it
	Astray      func(wanted, instead string) // hears that a node runs in another folder, for the wanted one is not there; must not wait; nil: nobody does
	Log         *zap.Logger                  // nil: none
}

// Facts are what a host says of itself.
type Facts struct {
	Hostname  string      `json:"name"`
	System    string      `json:"system"`  // as "uname" has it
	Machine   string      `json:"machine"` // as "uname -m" has it
	PageSize  int         `json:"page_size"`
	Python    string      `json:"python"`  // path of the interpreter that runs the agent
	Version   string      `json:"version"` // of Python
	PID       int         `json:"pid"`     // of the agent
	Dir       wire.Path   `json:"dir"`     // the working directory
	Environ   []wire.Path `json:"environ"` // what processes inherit, as NAME=VALUE
	Addresses []Address   `json:"addresses"`
	Time      int64       `json:"time"`  // that its wall clock has shown, in nanoseconds since 1970
	Clock     int64       `json:"clock"` // that its monotonic clock has shown at the same moment
}

// Address is an address of a host by which others may reach it.
type Address struct {
	Interface string     `json:"interface"` // its network interface, such as "eth0"
	IP        netip.Addr `json:"ip"`
}

// Host is a host on which an agent runs.
type Host struct {
	host.Observer

	name        string
	conn        *mux.Conn
	certificate string // its SHA-256, in hexadecimal
	ports       join.Ports
	astray      func(wanted, instead string)
	log         *zap.Logger
	facts       Facts
	environ     []string

	mu      sync.Mutex
	machine *service       // see answering
	meeting netip.Addr     // see MeetAt; zero: not known
	apart   map[*Host]bool // those that do not reach it there
}

var _ host.Host = (*Host)(nil)

// New makes a host of a conversation with its agent, of which it asks the facts. ctx bounds that. The conversation stays the caller's: its end ends
// everything there.
func New(ctx context.Context, conn *mux.Conn, o Options) (*Host, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Astray == nil {
		o.Astray = func(string, string) {}
	}
	h := &Host{
		name: o.Name, conn: conn, certificate: hex.EncodeToString(o.Certificate[:]), ports: o.Ports, astray: o.Astray, log: o.Log, apart: make(map[*Host]bool),
	}
	if err := h.ask(ctx, "facts", nil, &h.facts); err != nil {
		return nil, fmt.Errorf("ask host %s what it is: %w", o.Name, err)
	}
	if h.facts.System != "Linux" {
		return nil, fmt.Errorf("host %s runs %s; processes of a pool can be guarded on Linux only", o.Name, h.facts.System)
	}
	if h.name == "" {
		h.name = h.facts.Hostname
	}
	h.Observer = host.Observer{Machine: machine{h}, Architecture: h.facts.Machine, PageSize: h.facts.PageSize}
	for _, entry := range h.facts.Environ {
		h.environ = append(h.environ, string(entry))
	}
	return h, nil
}

// glance is ask for what nobody waits for who has other hosts to look at: one that cannot be reached gives no answer.
func (h *Host) glance(ctx context.Context, method string, params, result any) error {
	if err := h.conn.Err(); err != nil {
		return err
	}
	if h.conn.State() != mux.Reachable {
		return fmt.Errorf("%s does not answer", h.name)
	}
	return h.ask(ctx, method, params, result)
}

// ask asks the process that answers for the machine. If that is killed meanwhile, another one is asked: whatever is asked of it may be done twice.
func (h *Host) ask(ctx context.Context, method string, params, result any) error {
	m, err := h.answering(nil)
	if err != nil {
		return err
	}
	if err = m.call(ctx, method, params, result); errors.Is(err, errSilent) {
		if m, err = h.answering(m); err == nil {
			err = m.call(ctx, method, params, result)
		}
	}
	return err
}

// answering is the process that answers for the machine. Where there is none yet, or it was killed, as silent was, another one is started.
func (h *Host) answering(silent *service) (*service, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.machine == nil || h.machine == silent || h.machine.over() {
		m, err := serve(h.conn, "machine", nil)
		if err != nil {
			return nil, err
		}
		h.machine = m
	}
	return h.machine, nil
}

// Facts are what the host said of itself.
func (h *Host) Facts() Facts { return h.facts }

// Conn is the conversation with the host's agent.
func (h *Host) Conn() *mux.Conn { return h.conn }

// Name is the host's name in the session.
func (h *Host) Name() string { return h.name }

// Address is the host's first address. Nobody has tried it: see [Host.Reach].
func (h *Host) Address() string {
	if len(h.facts.Addresses) == 0 {
		return host.Local{}.Address()
	}
	return h.facts.Addresses[0].IP.String()
}

// Clock is how far the host's clock is ahead of ours, by the round trip that took least.
func (h *Host) Clock() time.Duration {
	ahead, _, _ := h.conn.Clock()
	return ahead
}

// WallClock is how far the time that the host has told when it joined was ahead of ours at that moment.
func (h *Host) WallClock() time.Duration {
	ahead, _, ok := h.conn.Clock()
	now, err := trace.Clock()
	if !ok || err != nil {
		return 0
	}
	// The clocks that never jump are compared with every heartbeat. They tell how long ago that moment is.
	since := time.Duration(int64(now) - (h.facts.Clock - int64(ahead)))
	return time.Unix(0, h.facts.Time).Sub(time.Now().Add(-since))
}

// Environ is the environment of the agent, without what a launcher has set for a task of its own.
func (h *Host) Environ() []string { return h.environ }

// Ended asks the host. A process on a host that does not answer soon is not known to have ended.
func (h *Host) Ended(p host.Process) bool {
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	var answer struct {
		Ended bool `json:"ended"`
	}
	return p.PID > 1 && p.Start != 0 && h.glance(ctx, "ended", identity(p), &answer) == nil && answer.Ended
}

// Kill has the host do it.
func (h *Host) Kill(ctx context.Context, p host.Process) (gone bool) {
	params := struct {
		processID
		Seconds float64 `json:"seconds"`
	}{identity(p), secondsLeft(ctx).Seconds()}
	var answer struct {
		Gone bool `json:"gone"`
	}
	return h.ask(ctx, "kill", params, &answer) == nil && answer.Gone
}

// processID is a process in a request.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

func identity(p host.Process) processID { return processID{p.PID, p.Start} }

// secondsLeft is how long the host may take for a request.
func secondsLeft(ctx context.Context) time.Duration {
	if due, ok := ctx.Deadline(); ok {
		return max(0, time.Until(due))
	}
	return time.Minute
}
