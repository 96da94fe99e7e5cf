//go:build !linux

package fakerank

// startTime is unknown here.
func startTime(pid int) uint64 { return 0 }
