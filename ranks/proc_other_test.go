//go:build !linux

package ranks

import "syscall"

// running reports whether there is a process with that number.
func running(pid int, startTime uint64) bool { return syscall.Kill(pid, 0) == nil }
