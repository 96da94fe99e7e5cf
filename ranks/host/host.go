// Package host is what one machine does for us: it starts nodes and dials their processes, tells how processes do, lists GPUs, and cleans up. It
// knows processes by pid and start time, and neither ranks nor pools.
//
// [Host] is the interface through which all of that is asked for, and [Local] the machine that this program runs on. What else is here is of
// this machine, too: its interpreters and what they lack ([FindPython], [InstallMissing]), its limits ([CheckLimits]).
//
// # What guards a node
//
// A node is one process in a session of its own, so without a terminal, with a pipe as its standard input, the lifeline. Its parent is a guard,
// the child of the server; that is this very program under another name.
//
// # What may be left behind
//
// Nothing. A node ends when its lifeline does, kills its children and removes its session's directory, so the server may be killed at any
// moment. The guard does the same for whatever the node has not: it is there before the directory and the node are, and everything under the node
// becomes its child at the latest when the node ends. If the guard is killed, the server ends what it adopts then ([AdoptOrphans]), or the node
// does. If all three are killed at once, the next server removes the directory, whose lock nobody holds any more, and ends what has the
// session's mark.
package host

import (
	"context"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"dipls/ranks/wire"
)

// Host is a machine on which nodes run; == tells whether two are the same one. Its methods may be called at the same time. Those that take a
// context may have to ask the machine; the others answer from what is known of it. Where the machine does not tell something, ok is false.
type Host interface {
	// Name is the host's own name, for people and in messages: "" if it has none.
	Name() string
	// Address is where the ranks of a pool reach each other's sockets on this host: MASTER_ADDR if the first rank runs here.
	Address() string
	// Clock is how far the host's monotonic clock is ahead of ours.
	Clock() time.Duration
	// Environ is the environment that a node inherits, as os.Environ gives it.
	Environ() []string

	// StartNode starts a node and waits until it is ready to be dialled. ctx bounds the start only. An interpreter without the agent's packages
	// gives a *[MissingPackagesError]; after an error nothing is left.
	StartNode(ctx context.Context, spec NodeSpec) (NodeProcess, error)

	// GPUs lists the GPUs that a process sees whose CUDA_VISIBLE_DEVICES is mask, in the order of their numbers; nil: it is not set.
	GPUs(ctx context.Context, mask *string) ([]GPU, error)
	// GPUMemory says how many bytes of GPU memory each process holds that computes on a GPU, by pid, as far as that is known.
	GPUMemory(ctx context.Context) (map[int]int64, error)

	// Memory is how many bytes of the host's memory a process takes: its proportional share, which counts memory that N processes share as 1/N,
	// or, on other systems than Linux, what is resident.
	Memory(ctx context.Context, p Process) (bytes int64, ok bool)
	// Vitals are how a process is now.
	Vitals(ctx context.Context, p Process) (v Vitals, ok bool)
	// Condition is how a process does, by its vitals now and at an earlier moment (zero: not known). Of one that has answered nothing in between
	// it looks, for 200 ms, whether native code holds Python's lock, for which the thread waits then that would answer.
	Condition(ctx context.Context, p Process, before, now Vitals, answered bool, thread int) Condition
	// Spy asks py-spy for the threads of a process, with their native frames; [ErrNoSpy] if the host has none.
	Spy(ctx context.Context, python string, p Process) ([]SpiedThread, error)
	// Ended reports whether a process runs no more for sure, whether or not its parent has taken note of that.
	Ended(p Process) bool
	// Kill kills a process of ours, and waits until it is gone or ctx ends. It is for what no node of ours ends any more.
	Kill(ctx context.Context, p Process) (gone bool)
}

// NodeSpec says what node to start.
type NodeSpec struct {
	Python  string         // path of the interpreter
	Command []string       // command line instead of PYTHON AGENT_DIR: tests run a fake agent
	Dir     string         // working directory of the processes; "" is the server's
	Env     []string       // environment of the node
	Line    wire.StartLine // what it is told at its start; the host fills in its own name and the directory
	Log     *zap.Logger
}

// NodeProcess is a node as its host sees it: a process, what guards it, and a private directory with the sockets of the processes under it.
type NodeProcess interface {
	// Process is the node's process.
	Process() Process
	// Session is an id of the directory, unique among the user's on this host.
	Session() string
	// Renew makes the directory anew if something has removed it.
	Renew() error
	// Dial connects to the socket of a process, or of the node itself.
	Dial(ctx context.Context, socket string) (net.Conn, error)

	// Resume lets a node go on that was stopped (SIGSTOP).
	Resume()
	// HangUp has the node end in order, as if the server were gone.
	HangUp()
	// Kill has the node killed with all that is under it, at once.
	Kill()
	// Wait waits for the end of the node and of what was under it, and says how it ended. One goroutine at a time may call it.
	Wait() NodeExit
	// Output is the end of what the node has printed.
	Output() string
	// CleanUp is for after the end. It kills what has outlived the node, of which it may be told processes that the node has started, and
	// removes the directory.
	CleanUp(started []Process)
}

// Process names one process of a host for ever: a pid alone may pass to another one.
type Process struct {
	PID   int
	Start uint64 // when it started, in a unit of the host's; 0 where unknown
}

// Exit is how a process ended.
type Exit struct {
	Code   *int   // exit code; nil if it was killed, or if nobody knows
	Signal string // "SIGKILL"; "" if it exited by itself
	OOM    bool   // the kernel counted an out-of-memory kill
}

// signalMeaning is what a person should read into a signal.
var signalMeaning = map[string]string{
	"SIGSEGV": "segmentation fault",
	"SIGBUS":  "bus error: a memory-mapped file or shared memory ran out?",
	"SIGABRT": "abort: an assertion in native code?",
	"SIGFPE":  "arithmetic error in native code",
	"SIGILL":  "illegal instruction: a library built for another CPU?",
}

// String is what a sentence about the process says: "was killed by SIGKILL (out of memory)", "exited with code 3". "" if nobody knows.
func (e Exit) String() string {
	switch {
	case e.Signal != "" && e.OOM:
		return "was killed by " + e.Signal + " (out of memory)"
	case e.Signal != "" && signalMeaning[e.Signal] != "":
		return "was killed by " + e.Signal + " (" + signalMeaning[e.Signal] + ")"
	case e.Signal != "":
		return "was killed by " + e.Signal
	case e.Code != nil:
		return fmt.Sprintf("exited with code %d", *e.Code)
	}
	return ""
}

// NodeExit is how a node ended.
type NodeExit struct {
	Exit
	PID    int
	Guard  bool  // pid and exit are the guard's: it was killed, and nobody knows more
	Failed error // nil, or why the node's process could not even be started
}
