// Package fleet is the hosts of a session: it has a launcher start their agents, lets these in, finds out how the hosts reach each other, and tells
// what becomes of them. It knows hosts, and neither nodes nor ranks.
//
// [Fleet] is the interface that a session uses, and [Start] makes one of real hosts. Tests use one whose hosts are this machine under other names.
package fleet

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"dipls/ranks/host"
)

// Fleet is hosts that were started together, such as those of an allocation. Methods may be called concurrently.
type Fleet interface {
	// Members are the hosts, in the order in which ranks are placed on them. One that is lost stays among them until Shrink.
	Members() []Member
	// Meet finds out where ranks of some members can meet. The first of them is the host of rank 0.
	Meet(ctx context.Context, among []host.Host) (Meeting, error)
	// Restore starts the agents of lost members again, in the same allocation. Its error names those that do not come back. A member that does has
	// another [host.Host] than before.
	Restore(ctx context.Context) error
	// Sync brings the project's Python files to members that do not share our folders: those that have changed since the last call. It tells the user
	// if that takes long.
	Sync(ctx context.Context, among []host.Host) error
	// Shrink leaves out lost members for good, and answers their names.
	Shrink() []string
	// Close ends the agents with all that they run, and the allocation if it was made for the fleet. Every call waits until all that can be reached has
	// ended.
	Close(ctx context.Context) error
}

// Member is a host of a fleet.
type Member struct {
	host.Host
	Ranks  int // how many the user has written for it ("gpu2:4"); 0: that was left open
	State  State
	Reason error // why it is lost; nil: it is not
}

// State is whether a member can be spoken to.
type State uint8

// The states of a member.
const (
	Reachable   State = iota
	Unreachable       // it does not answer; its processes go on
	Lost              // it has not answered for as long as its lease, or has ended: its processes are dead
)

// stateNames are the states as events have them.
var stateNames = [...]string{Reachable: "reachable", Unreachable: "unreachable", Lost: "lost"}

func (s State) String() string { return stateNames[s] }

// Meeting is where ranks meet.
type Meeting struct {
	// Address is an address of the first host that every other one has reached.
	Address string
	// Interfaces are, by host, the network interface that leads there; "" where that is not known.
	Interfaces []string
}

// Options say how to start a fleet.
type Options struct {
	Hosts   string // what --hosts says
	Python  string // the interpreter on the hosts
	Dir     string // the working directory there
	Project string // a folder of the project whose files Sync brings
	Terms
	Timeout time.Duration // for the start, from when the hosts have been allotted; 0: two minutes

	// Waits gets a short text of what the start waits for, such as "job 4711 waits: Resources", each time that it changes. May be nil.
	Waits func(text string)
	// Allotted is called when the hosts have been allotted, and their agents are about to be started: what is in a queue may take any time. May be nil.
	Allotted func()
	// Notice gets sentences for the user. May be nil.
	Notice func(text string)
	// Lacking gets a host that does not come, and why; the start then goes on without it. nil: the start fails with any host.
	Lacking func(host, why string)
	// Astray hears that processes on a host run in another folder, for the wanted one is not there. It must not wait. May be nil.
	Astray func(host, wanted, instead string)
	// Changed is called when a member's state has changed, one call at a time. It must not wait for the fleet. May be nil.
	Changed func(m Member)
	Log     *zap.Logger // nil: none
}

// Terms are what a user may say of hosts besides where they are. The zero value is the default.
type Terms struct {
	Lease    time.Duration `json:"lease,omitempty"`    // how long a host may be silent before it is lost; 0: [DefaultLease]
	Ports    string        `json:"ports,omitempty"`    // where hosts dial us, such as "7000-7010"; "": any port; "none": ssh carries their connections
	Prologue string        `json:"prologue,omitempty"` // lines of a shell that run on each host before Python starts
}

const (
	// DefaultLease is how long a host may be silent before it is lost.
	DefaultLease = 60 * time.Second

	// shortestLease leaves room for a heartbeat that comes late, on a machine that has other things to do.
	shortestLease = time.Second
)

// Check refuses terms that cannot be kept.
func (t Terms) Check() error {
	if t.Lease != 0 && t.Lease < shortestLease {
		return fmt.Errorf("a host that may be silent for %v is lost at once: the lease is at least %v", t.Lease, shortestLease)
	}
	_, _, err := parsePorts(t.Ports)
	return err
}

// Starter starts a fleet. When it returns, either all hosts are there, or nothing is left of them. ctx bounds the start only; an end of ctx while a job
// queues cancels the job.
type Starter func(ctx context.Context, o Options) (Fleet, error)
