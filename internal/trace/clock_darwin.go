package trace

import "golang.org/x/sys/unix"

// sharedClockID is unix.CLOCK_UPTIME_RAW, which does not count while the machine sleeps: the clock of Python's time.monotonic there, and of Go.
const sharedClockID = unix.CLOCK_UPTIME_RAW
