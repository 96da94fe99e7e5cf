package host

import (
	"context"
	"os"
	"sync"
	"time"
)

// Local is the machine that this program runs on.
type Local struct{}

var _ Host = Local{}

// hostname is asked for once, so that all messages give the host the same name.
var hostname = sync.OnceValue(func() string {
	name, _ := os.Hostname() // "" is unknown
	return name
})

// Name is the machine's hostname.
func (Local) Name() string { return hostname() }

// Address is the loopback address: no other machine can reach the sockets that ranks open for each other.
func (Local) Address() string { return "127.0.0.1" }

// Clock is 0: all processes of a machine share one monotonic clock.
func (Local) Clock() time.Duration { return 0 }

// WallClock is 0, too.
func (Local) WallClock() time.Duration { return 0 }

// Environ is this program's environment.
func (Local) Environ() []string { return os.Environ() }

// GPUs asks nvidia-smi.
func (Local) GPUs(ctx context.Context, mask *string) ([]GPU, error) { return here().GPUs(ctx, mask) }

// GPUMemory asks nvidia-smi. In a container nvidia-smi may know other pids than we do; then nothing is known.
func (Local) GPUMemory(ctx context.Context) (map[int]int64, error) { return here().GPUMemory(ctx) }

// GPULoad asks nvidia-smi.
func (Local) GPULoad(ctx context.Context) (map[string]int, error) { return here().GPULoad(ctx) }

// Memory reads /proc, or asks ps.
func (Local) Memory(ctx context.Context, p Process) (bytes int64, ok bool) { return memoryOf(ctx, p) }

// Vitals reads /proc.
func (Local) Vitals(ctx context.Context, p Process) (v Vitals, ok bool) { return here().Vitals(ctx, p) }

// Condition reads /proc.
func (Local) Condition(ctx context.Context, p Process, before, now Vitals, answered bool, thread int) Condition {
	return here().Condition(ctx, p, before, now, answered, thread)
}

// Spy runs py-spy.
func (Local) Spy(ctx context.Context, python string, p Process) ([]SpiedThread, error) {
	return here().Spy(ctx, python, p)
}

// Ended reads /proc. On systems without it only the node knows.
func (Local) Ended(p Process) bool { return hasEnded(p) }

// Kill signals by a descriptor of the process (pidfd), which never means another process. On systems without such descriptors it does nothing.
func (Local) Kill(ctx context.Context, p Process) (gone bool) {
	for {
		gone, err := killProcess(p)
		if gone || err != nil || ctx.Err() != nil {
			return gone
		}
		time.Sleep(time.Millisecond) // no event tells of the end of a process that is not our child
	}
}
