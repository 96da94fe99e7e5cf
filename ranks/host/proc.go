package host

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// procStat is what /proc/PID/stat tells of a process.
type procStat struct {
	pid       int
	state     byte // 'R', 'S', 'Z', …
	ppid      int
	pgrp      int
	session   int
	threads   int
	startTime uint64 // clock ticks since boot
}

func (s procStat) id() Process { return Process{s.pid, s.startTime} }

// ended reports whether a process no longer runs. If only its first thread has ended, it looks like a zombie, but others run on and may fork.
func (s procStat) ended() bool { return (s.state == 'Z' || s.state == 'X') && s.threads <= 1 }

// parseStat reads /proc/PID/stat.
func parseStat(pid int, data []byte) (st procStat, err error) {
	fields := statFields(data)
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	st = procStat{pid: pid, state: fields[0][0]}
	for _, f := range []struct {
		dst *int
		n   int
	}{{&st.ppid, 1}, {&st.pgrp, 2}, {&st.session, 3}, {&st.threads, 17}} {
		if *f.dst, err = strconv.Atoi(string(fields[f.n])); err != nil {
			return procStat{}, err
		}
	}
	st.startTime, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return st, err
}

// file is one file below /proc.
func (o Observer) file(ctx context.Context, name string) []byte { return o.Files(ctx, name)[0] }

// stat reads /proc/PID/stat.
func (o Observer) stat(ctx context.Context, pid int) (procStat, error) {
	return parseStat(pid, o.file(ctx, strconv.Itoa(pid)+"/stat"))
}

// same reports whether the process that has a pid is still the one that started then.
func (o Observer) same(ctx context.Context, p Process) bool {
	st, err := o.stat(ctx, p.PID)
	return err == nil && st.startTime == p.Start
}

// Vitals implements [Host].
func (o Observer) Vitals(ctx context.Context, p Process) (v Vitals, ok bool) {
	if p.PID <= 1 {
		return Vitals{}, false
	}
	dir := strconv.Itoa(p.PID)
	task := dir + "/task/" + dir
	now := time.Now()
	files := o.Files(ctx, dir+"/stat", dir+"/status", task+"/stat", task+"/children") // the last one is not with every kernel
	stat, status, main, children := files[0], files[1], files[2], bytes.Fields(files[3])
	if st, err := parseStat(p.PID, stat); err != nil || st.startTime != p.Start || status == nil {
		return Vitals{}, false
	}
	v, ok = parseVitals(stat, status, main)
	v.At = now
	if len(children) > 0 {
		names := make([]string, len(children))
		for i, child := range children {
			names[i] = string(child) + "/stat"
		}
		for _, stat := range o.Files(ctx, names...) {
			v.Children += cpuOf(statFields(stat))
		}
	}
	return v, ok
}

// clockTick is the unit of CPU times in /proc. It is the same on all architectures that Go supports.
const clockTick = 10 * time.Millisecond

// parseVitals reads /proc/PID/stat, /proc/PID/status and /proc/PID/task/PID/stat.
func parseVitals(stat, status, main []byte) (Vitals, bool) {
	fields := statFields(stat)
	if len(fields) < 13 {
		return Vitals{}, false
	}
	v := Vitals{State: fields[0][0], CPU: cpuOf(fields), Main: cpuOf(statFields(main))}
	v.Faults, _ = strconv.ParseUint(string(fields[9]), 10, 64)
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		words := bytes.Fields(value)
		if len(words) == 0 {
			continue
		}
		n, err := strconv.ParseUint(string(words[0]), 10, 63)
		if err != nil {
			continue
		}
		switch string(name) {
		case "VmSwap":
			v.Swapped = int64(n) << 10
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			v.Switches += n
		}
	}
	return v, true
}

// statFields are the fields of /proc/PID/stat from the third on. The second, the command's name, may hold spaces and parentheses; the others do not.
func statFields(stat []byte) [][]byte { return bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) }

// cpuOf is the CPU time in fields of /proc/PID/stat.
func cpuOf(fields [][]byte) time.Duration {
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * clockTick
}

// lockHeld tells whether a thread of a process waits for a lock all the time, and what the main thread does meanwhile. A thread that waits for
// Python's lock wakes every few milliseconds to ask for it. On a busy machine it is then often seen waiting for a processor, so it is looked at
// several times.
func (o Observer) lockHeld(ctx context.Context, pid, thread int) (how string, yes bool) {
	for i := range looks {
		if i > 0 {
			time.Sleep(lookEvery)
		}
		switch where := o.waitsIn(ctx, pid, thread); {
		case strings.Contains(where, "futex"):
			yes = true
		case where != "":
			return "", false
		}
	}
	if !yes {
		return "", false
	}
	st, err := o.stat(ctx, pid)
	switch where := o.waitsIn(ctx, pid, pid); {
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

// threadRuns reports whether a thread of a process runs all the time, or would if it got a core. The thread that has just answered the one who asks
// runs on for a moment, so it is looked at several times. While Python code runs, some thread always does: who gives Python's lock away wakes another.
func (o Observer) threadRuns(ctx context.Context, pid int) bool {
	dir := strconv.Itoa(pid) + "/task"
	for i := range looks {
		if i > 0 {
			time.Sleep(lookEvery)
		}
		var names []string
		for _, thread := range bytes.Fields(o.file(ctx, dir)) {
			names = append(names, dir+"/"+string(thread)+"/stat")
		}
		if len(names) == 0 || !slices.ContainsFunc(o.Files(ctx, names...), func(stat []byte) bool { // nil: it has ended
			fields := statFields(stat)
			return len(fields) > 0 && Vitals{State: fields[0][0]}.runnable()
		}) {
			return false
		}
	}
	return true
}

// How often, and at what distance, threads are looked at that may only seem to run or to wait.
const (
	looks     = 10
	lookEvery = 20 * time.Millisecond
)

// waitsIn is the kernel function in which a thread waits; "" if it does not wait, or that is not known.
func (o Observer) waitsIn(ctx context.Context, pid, thread int) string {
	name := o.file(ctx, fmt.Sprintf("%d/task/%d/wchan", pid, thread))
	if string(name) == "0" {
		return ""
	}
	return string(name)
}

// mainWaits tells what the main thread of a process waits for, if that is something that another thread or process has to do: "in a lock", "reading
// a socket". "" if it does not wait, sleeps, polls or reads from the terminal, and if it is not known.
func (o Observer) mainWaits(ctx context.Context, pid int) string {
	dir := strconv.Itoa(pid)
	fields := bytes.Fields(o.file(ctx, dir+"/task/"+dir+"/syscall"))
	if len(fields) < 2 {
		return "" // it runs
	}
	number, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		return ""
	}
	call := waitingCalls[o.Architecture][number]
	switch call {
	case waitLock:
		return "in a lock"
	case waitProcess:
		return "for a process"
	case waitConnection:
		return "for a connection"
	}
	fd, err := strconv.ParseUint(string(fields[1]), 0, 31)
	if err != nil || fd == 0 { // standard input: a person types
		return ""
	}
	kind, _, _ := strings.Cut(string(o.file(ctx, fmt.Sprintf("%s/fd/%d", dir, fd))), ":")
	if kind != "socket" && kind != "pipe" {
		return ""
	}
	switch call {
	case waitRead:
		return "reading a " + kind
	case waitWrite:
		return "writing to a " + kind
	}
	return ""
}

// waitingCall is what a system call waits for.
type waitingCall uint8

const (
	waitLock waitingCall = iota + 1
	waitProcess
	waitConnection
	waitRead
	waitWrite
)

// waitingCalls are the numbers of system calls that wait, by architecture.
var waitingCalls = map[string]map[int]waitingCall{
	"x86_64": {
		0: waitRead, 45: waitRead, 47: waitRead, 1: waitWrite, 44: waitWrite, 46: waitWrite,
		202: waitLock, 61: waitProcess, 247: waitProcess, 288: waitConnection,
	},
	"aarch64":     genericCalls,
	"riscv64":     genericCalls,
	"loongarch64": genericCalls,
	"ppc64le": {
		3: waitRead, 337: waitRead, 342: waitRead, 4: waitWrite, 335: waitWrite, 341: waitWrite,
		221: waitLock, 114: waitProcess, 272: waitProcess, 344: waitConnection,
	},
	"s390x": {
		3: waitRead, 371: waitRead, 372: waitRead, 4: waitWrite, 369: waitWrite, 370: waitWrite,
		238: waitLock, 114: waitProcess, 281: waitProcess, 364: waitConnection,
	},
}

// genericCalls are those of the architectures that came to Linux last.
var genericCalls = map[int]waitingCall{
	63: waitRead, 207: waitRead, 212: waitRead, 64: waitWrite, 206: waitWrite, 211: waitWrite,
	98: waitLock, 260: waitProcess, 95: waitProcess, 242: waitConnection,
}

// Memory implements [Host]. Of old kernels it is the resident set.
func (o Observer) Memory(ctx context.Context, p Process) (bytes int64, ok bool) {
	if p.PID <= 1 {
		return 0, false
	}
	dir := strconv.Itoa(p.PID)
	files := o.Files(ctx, dir+"/smaps_rollup", dir+"/statm")
	n, ok := parseMemory(files[0], files[1], o.PageSize)
	return n, ok && n > 0 && o.same(ctx, p)
}

// parseMemory reads /proc/PID/smaps_rollup, which is not there with old kernels, and /proc/PID/statm.
func parseMemory(rollup, statm []byte, pageSize int) (int64, bool) {
	for line := range bytes.Lines(rollup) {
		if value, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
			return kib << 10, err == nil
		}
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(pageSize), err == nil
}
