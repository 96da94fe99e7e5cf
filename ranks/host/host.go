// Package host is what one machine does for us. It starts nodes, connects to their processes, looks at processes, lists GPUs and cleans up. It
// knows processes by pid and start time, and knows nothing of ranks and pools.
//
// [Host] is the interface. [Local], the machine that this program runs on, implements it; dipls/ranks/host/afar does so for others. What both read in the
// same way is here as well: see [Observer]. The rest of the package is about this machine: its interpreters and the packages
// that they lack ([FindPython], [InstallMissing]), and its limits ([CheckLimits]).
//
// # What guards a node
//
// A node is a process in a login session of its own, and so without a terminal. Its standard input is a pipe, the lifeline. Its parent is the
// guard, a child of the server: the same program under another name.
//
// # What may be left behind
//
// Nothing. The server may be killed at any moment: a node sees its lifeline close, kills its children, removes its session's directory and ends.
// The guard does whatever the node has not done. It starts before the directory and the node exist, and it adopts whatever loses its parent under
// the node. If the guard is killed, the server ends what it adopts then ([AdoptOrphans]), or the node does. If all three are killed at once, the
// next server finds that nobody holds the lock of the directory, removes it, and ends what has the session's mark.
package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"dipls/ranks/wire"
)

// Host is a machine that runs nodes. Two values are equal (==) if they are the same machine. Methods may be called concurrently. A method that
// takes a context may have to ask the machine; the others answer from what is known. ok is false where the machine does not tell.
type Host interface {
	// Name is the hostname, for people and in messages; "" if the machine has none.
	Name() string
	// Address is an IP address of the host that all ranks of a pool can reach: MASTER_ADDR if rank 0 runs here.
	Address() string
	// Clock is how far the host's monotonic clock is ahead of ours. It says when the host was booted, and nothing of the time that it shows.
	Clock() time.Duration
	// WallClock is how far the time that the host shows is ahead of ours; 0 while that is not known.
	WallClock() time.Duration
	// Environ is the environment that a node inherits, in the form of [os.Environ].
	Environ() []string

	// StartNode starts a node and waits until its socket is there. ctx bounds the start only. If the interpreter lacks packages that the agent
	// needs, the error is a *[MissingPackagesError]. After an error nothing is left.
	StartNode(ctx context.Context, spec NodeSpec) (NodeProcess, error)

	// GPUs lists the GPUs that a process sees if its CUDA_VISIBLE_DEVICES is mask (nil: not set), in the order of their numbers.
	GPUs(ctx context.Context, mask *string) ([]GPU, error)
	// GPUMemory is how many bytes of GPU memory each process holds, by pid. Processes of which that is not known are absent.
	GPUMemory(ctx context.Context) (map[int]int64, error)
	// GPULoad is for how much of the last moment each GPU was busy, in percent, by [GPU.ID]. GPUs of which that is not known are absent.
	GPULoad(ctx context.Context) (map[string]int, error)

	// Memory is how many bytes of the host's memory a process takes: on Linux its proportional share, in which memory that N processes share
	// counts as 1/N; elsewhere its resident memory.
	Memory(ctx context.Context, p Process) (bytes int64, ok bool)
	// Vitals are what the system says of a process now.
	Vitals(ctx context.Context, p Process) (v Vitals, ok bool)
	// Condition compares the vitals of a process now with those of an earlier moment (zero: not known). If the process has answered nothing in
	// between, it takes 200 ms to look whether native code holds Python's lock: then thread, which would have answered, waits for it.
	Condition(ctx context.Context, p Process, before, now Vitals, answered bool, thread int) Condition
	// Spy asks py-spy for the threads of a process, with their native frames. The error is [ErrNoSpy] if the host has no py-spy, neither beside
	// the interpreter python nor on its PATH.
	Spy(ctx context.Context, python string, p Process) ([]SpiedThread, error)
	// Keep reads bytes into memory that processes of ours on the host can map until free is called, a file for each size. After an error there is none.
	Keep(ctx context.Context, sizes []int64, r io.Reader) (files []SharedFile, free func(), err error)
	// Fetch writes the bytes of files that a process of ours on the host shares, one after the other.
	Fetch(ctx context.Context, files []SharedFile, w io.Writer) error

	// Ended reports whether a process is known to run no more. Its parent may not have reaped it yet.
	Ended(p Process) bool
	// Kill kills a process of ours (SIGKILL) and waits until it is gone or ctx ends. It is for processes whose node does not end them.
	Kill(ctx context.Context, p Process) (gone bool)
}

// NodeSpec says what node to start.
type NodeSpec struct {
	Python  string         // path of the interpreter
	Command []string       // command line instead of PYTHON AGENT_DIR: tests run a fake agent
	Dir     string         // working directory of the processes; "" is the server's
	Env     []string       // environment of the node
	Line    wire.StartLine // the first line that the node reads; the host fills in its name and the directory
	Log     *zap.Logger
}

// NodeProcess is a node as its host sees it: a process, its guard, and a private directory with the sockets of the node's processes.
type NodeProcess interface {
	// Process is the node's process.
	Process() Process
	// Session is the id of the directory. No other session of the user on this host has the same.
	Session() string
	// Renew makes the directory again if something has removed it. The error is [ErrEnded] after CleanUp.
	Renew(ctx context.Context) error
	// Dial connects to the socket of a process or of the node. What a process had written before its death can be read after it. A connection that is a
	// link.Certain has its end then.
	Dial(ctx context.Context, socket string) (net.Conn, error)

	// Resume continues a node that was stopped by a signal.
	Resume()
	// HangUp closes the lifeline: the node ends in order, as if the server were gone.
	HangUp()
	// Kill kills the node and everything under it.
	Kill()
	// Wait waits until the node and everything under it has ended, and tells how the node ended. One goroutine at a time may call it.
	Wait() NodeExit
	// Output is the last part of what the node has printed.
	Output() string
	// CleanUp, after Wait, kills what has outlived the node and removes the directory. started are the processes that the node had started.
	CleanUp(started []Process)
}

// Process identifies a process of a host for ever. A pid alone does not: it is used again.
type Process struct {
	PID   int
	Start uint64 // its start time, in a unit of the host (Linux: clock ticks since boot); 0 where unknown
}

// Exit is how a process ended.
type Exit struct {
	Code   *int   // exit code; nil if it was killed, or if it is not known
	Signal string // "SIGKILL"; "" if it exited by itself
	OOM    bool   // the kernel counted an out-of-memory kill
}

// signalMeaning tells people what a signal usually means.
var signalMeaning = map[string]string{
	"SIGSEGV": "segmentation fault",
	"SIGBUS":  "bus error: a memory-mapped file or shared memory ran out?",
	"SIGABRT": "abort: an assertion in native code?",
	"SIGFPE":  "arithmetic error in native code",
	"SIGILL":  "illegal instruction: a library built for another CPU?",
}

// String is the rest of a sentence about the process: "was killed by SIGKILL (out of memory)", "exited with code 3". "" if nobody knows.
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
	Guard  bool  // PID and Exit are the guard's: it was killed, and nobody knows how the node ended
	Failed error // why the node's process could not be started, or nobody knows how it ended, such as with its host; nil: neither
}
