package ranks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the size of sun_path less its terminating zero.
const maxSocketPath = 107

// AdoptOrphans makes this process the one that inherits its descendants when their parents die (a "child subreaper"), so
// that what a killed node leaves can be ended and reaped. It concerns the whole process, so only main decides on it.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a child subreaper: %w", err)
	}
	return nil
}

// dieWithUs has a child killed when the thread that starts it ends.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// procStat is what /proc/PID/stat tells of a process.
type procStat struct {
	state     byte // 'R', 'S', 'Z', …
	ppid      int
	pgrp      int
	startTime uint64 // clock ticks since boot
}

func statProcess(pid int) (procStat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	// The command's name may hold anything; what follows its last parenthesis does not.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	st := procStat{state: fields[0][0]}
	for _, f := range []struct {
		dst *int
		n   int
	}{{&st.ppid, 1}, {&st.pgrp, 2}} {
		if *f.dst, err = strconv.Atoi(string(fields[f.n])); err != nil {
			return procStat{}, err
		}
	}
	st.startTime, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return st, err
}

// stopped tells whether a process has been stopped, and by what.
func stopped(pid int, startTime uint64) (how string, yes bool) {
	st, err := statProcess(pid)
	if err != nil || st.startTime != startTime {
		return "", false
	}
	switch st.state {
	case 'T':
		return fmt.Sprintf("is stopped: kill -CONT %d lets it go on", pid), true
	case 't':
		return "is stopped by a debugger", true
	}
	return "", false
}

// lockHeld tells whether one thread of a process waits for a lock all the time, and what the main thread does meanwhile.
func lockHeld(pid, thread int) (how string, yes bool) {
	for i := range lockLooks {
		if i > 0 {
			time.Sleep(lockLookEvery)
		}
		if !strings.Contains(waitsIn(pid, thread), "futex") {
			return "", false
		}
	}
	st, err := statProcess(pid)
	switch where := waitsIn(pid, pid); {
	case err != nil:
		return "", false
	case st.state == 'R':
		return "and computes", true
	case st.state == 'D':
		return fmt.Sprintf("and waits for a device or a file system (%s)", where), true
	default:
		return fmt.Sprintf("and waits (%s)", where), true
	}
}

const (
	lockLooks     = 5
	lockLookEvery = 20 * time.Millisecond
)

// waitsIn is the function of the kernel in which a thread waits; "" if it does not, or nobody knows.
func waitsIn(pid, thread int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/wchan", pid, thread))
	if string(name) == "0" {
		return ""
	}
	return string(name)
}

// hostMemory is the proportional share of memory, in bytes, of the process that has a pid and started then, which counts a page that N processes
// share as 1/N, or, from an old kernel, its resident set.
func hostMemory(pid int, startTime uint64) (bytes int64, ok bool) {
	bytes, ok = memoryOf(pid)
	return bytes, ok && sameProcess(pid, startTime)
}

func memoryOf(pid int) (int64, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	if data, err := os.ReadFile(dir + "/smaps_rollup"); err == nil {
		for line := range bytes.Lines(data) {
			if value, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
				kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
				return kib << 10, err == nil
			}
		}
	}
	data, err := os.ReadFile(dir + "/statm")
	fields := bytes.Fields(data)
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

// sameProcess reports whether the process that has a pid is still the one that started then.
func sameProcess(pid int, startTime uint64) bool {
	st, err := statProcess(pid)
	return err == nil && st.startTime == startTime
}

// hasEnded reports whether a process that had a pid and started then runs no more, whether or not its parent has taken note of that.
func hasEnded(pid int, startTime uint64) bool {
	if pid <= 1 || startTime == 0 {
		return false // unknown
	}
	st, err := statProcess(pid)
	return err != nil || st.startTime != startTime || st.state == 'Z' || st.state == 'X'
}

// killProcess sends SIGKILL to a process if it is still the one that started then; gone is true if it no longer runs.
func killProcess(pid int, startTime uint64) (gone bool, err error) {
	if pid <= 1 || startTime == 0 {
		return true, nil // never known
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	// The descriptor names one process for good; checked after it was opened, it names the right one.
	st, err := statProcess(pid)
	if err != nil || st.startTime != startTime || st.state == 'Z' || st.state == 'X' {
		return true, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, err
	}
	return false, nil
}

// reapOrphans ends and reaps the children that this process has adopted from the given process groups.
func reapOrphans(groups map[int]bool) {
	self := os.Getpid()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// Our own children that are in one of these groups can only be adopted ones: nodes have sessions of their own.
		if st, err := statProcess(pid); err != nil || st.ppid != self || !groups[st.pgrp] {
			continue
		}
		unix.Kill(pid, unix.SIGKILL) // our unreaped child: the number cannot have passed to another
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
	}
}
