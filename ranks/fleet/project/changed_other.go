//go:build !linux

package project

import "syscall"

// changed is 0: where a session runs for development only, the other marks must do.
func changed(*syscall.Stat_t) int64 { return 0 }
