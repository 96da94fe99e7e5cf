package lifetime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock reads a clock that goes on while the machine is suspended, and that nobody sets.
func Clock() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(now.Nano())
}
