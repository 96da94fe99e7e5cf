//go:build !darwin

package trace

import "golang.org/x/sys/unix"

// sharedClockID is the clock of Python's time.monotonic, and of Go.
const sharedClockID = unix.CLOCK_MONOTONIC
