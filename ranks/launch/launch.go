// Package launch starts host agents on other machines, by what the cluster already has: Slurm, ssh, or any command that starts one program per
// host. It never chooses hosts, places work or limits it: that is the engine's.
//
// [Parse] reads what a user writes for --hosts. [Launcher] gets the hosts, which may wait in a queue ([Launcher.Allocate]); the [Allocation] starts
// an agent on each ([Allocation.Start]), as often as wanted, and gives back what is its own. What an agent needs to find its way back is a
// [Bootstrap]: a fixed command line and a few KB of standard input.
//
// # What a launcher is for
//
// Starting, and saying in the engine's own words what went wrong. The conversation with an agent goes over a connection that the agent dials; only
// where a host cannot dial does ssh carry it. No engine ends what it has started reliably, so that is not asked of them: an agent whose
// session is gone ends by itself.
package launch

import (
	"context"
	"os"

	"go.uber.org/zap"
)

// Host is a host that a launcher will start an agent on.
type Host struct {
	Name  string // for people and for `-r host:NAME`; "" until it has joined, if the user has only said how many there are
	Ranks int    // how many ranks the user wants there ("gpu2:4"); 0: that was not said
}

// Launcher gets hosts from one engine.
type Launcher interface {
	// Allocate waits until the hosts are there. tell gets a [Waits] event each time that the reason changes for which they are not. After an error, and
	// so when ctx ends, nothing is left: a queued job is cancelled.
	Allocate(ctx context.Context, tell func(Event)) (Allocation, error)
}

// Allocation is hosts on which agents may be started. Its methods may be called concurrently.
type Allocation interface {
	// Hosts are in the order in which ranks are to be placed on them. Indexes of hosts, here and in events, are places in this list.
	Hosts() []Host
	// OwnInput reports whether each host gets a standard input of its own, and so may have a token of its own.
	OwnInput() bool
	// Start starts an agent on each of some hosts and returns at once. tell gets what becomes of them, also after they have joined, from several
	// goroutines.
	Start(b Bootstrap, hosts []int, tell func(Event)) (Joins, error)
	// Explain asks the engine why an agent that does not answer may be gone: "job 4711 was preempted". "" if it knows nothing of it.
	Explain(ctx context.Context, host int) string
	// Close gives back what Allocate has taken, and nothing else: a job that was there before stays. Agents should have ended before.
	Close(ctx context.Context) error
}

// Joins are the agents of one start.
type Joins interface {
	// Joined tells that a host has joined: from then on its launcher is no longer waited for.
	Joined(host int)
	// End ends what is left of the start, after the agents were asked to end: first in order, and when ctx ends by force. It waits for that.
	End(ctx context.Context)
}

// Reminder is what [Joins] are that ask a person to do something. Remind tells what that is now, if it is less than before.
type Reminder interface{ Remind() }

// Kind is what an [Event] tells.
type Kind uint8

// Kinds of events.
const (
	// Waits: the hosts are not there yet. The text says why: "job 4711 waits: Resources".
	Waits Kind = iota
	// Failed: the agent on a host (-1: on all) does not come, or its launcher has ended. The text is what the launcher said.
	Failed
	// Warns: hosts will go. The text is a sentence for the user.
	Warns
	// Taken: the engine takes a host away, or says that it has failed. The text is a sentence for the user, and why the host goes: "job 4711 was
	// preempted".
	Taken
	// Ended: the agent on a host, which had joined, has ended as far as its launcher knows; its connection ends then, too. The text is what the launcher
	// said, in one line, or "".
	Ended
	// Printed: a line that the launcher, or something on the host before the agent, has printed. It is for the log.
	Printed
)

// Event is what a launcher tells.
type Event struct {
	Kind Kind
	Host int // -1: all, or none in particular
	Text string
}

// Options are what launchers need besides a plan.
type Options struct {
	Environ []string // in the form of [os.Environ]: commands of the engine run with it; nil is this program's
	Log     *zap.Logger
}

// Launcher makes the launcher that the plan asks for.
func (p Plan) Launcher(o Options) Launcher {
	env, log := o.Environ, o.Log
	if env == nil {
		env = os.Environ()
	}
	if log == nil {
		log = zap.NewNop()
	}
	switch p.Engine {
	case Slurm:
		return &slurm{p.flags, env, log}
	case Exec:
		return &template{hosts: p.Hosts, words: p.template, env: env, run: make(map[int]*process)}
	case Join:
		return &invitation{p.Hosts, p.dir}
	default:
		return &ssh{hosts: p.Hosts, addresses: p.addresses, env: env, log: log, clients: make(map[int]*process)}
	}
}
