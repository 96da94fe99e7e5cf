package fakerank

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// startTime is a process's start time in clock ticks since boot.
func startTime(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	t, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return t
}
