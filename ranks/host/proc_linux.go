package host

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the size of sun_path less its terminating zero.
const maxSocketPath = 107

// thisProgram is the path of this program, valid even if its file has been replaced.
func thisProgram() (string, error) { return "/proc/self/exe", nil }

// nameProcess gives this process the name that ps and top show.
func nameProcess(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // only a name: a failure does not matter
}

// AdoptOrphans makes this process adopt its descendants when their parents die (a "child subreaper"), so that what a killed node leaves can be
// ended and reaped. It is a property of the whole process, so only main calls it.
func AdoptOrphans() error {
	adoption.Lock()
	defer adoption.Unlock()
	err := adopt(1)
	adopts = err == nil
	return err
}

// WithoutOrphans runs f, and meanwhile adopts nobody: a process that loses its parent then becomes init's. It is how a process is started that is nobody's
// child.
func WithoutOrphans(f func() error) error {
	adoption.Lock()
	defer adoption.Unlock()
	if !adopts {
		return f()
	}
	if err := adopt(0); err != nil {
		return err
	}
	return errors.Join(f(), adopt(1))
}

var (
	adoption sync.Mutex // guards adopts, and is held while that must not change
	adopts   bool
)

func adopt(yes uintptr) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, yes, 0, 0, 0); err != nil {
		return fmt.Errorf("become a child subreaper: %w", err)
	}
	return nil
}

// dieWithUs makes the kernel kill a child when the thread that starts it ends.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

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

func statProcess(pid int) (procStat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	fields := statFields(data)
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	st := procStat{pid: pid, state: fields[0][0]}
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

// vitalsOf reads what the system tells of a process.
func vitalsOf(p Process) (Vitals, bool) {
	dir := "/proc/" + strconv.Itoa(p.PID)
	now := time.Now()
	stat, err := os.ReadFile(dir + "/stat")
	if fields := statFields(stat); err != nil || len(fields) < 20 || string(fields[19]) != strconv.FormatUint(p.Start, 10) {
		return Vitals{}, false
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return Vitals{}, false
	}
	task := dir + "/task/" + strconv.Itoa(p.PID)
	main, _ := os.ReadFile(task + "/stat") // fails if the first thread has ended
	v, ok := parseVitals(stat, status, main)
	v.At = now
	children, _ := os.ReadFile(task + "/children") // not with every kernel
	for _, child := range bytes.Fields(children) {
		stat, _ := os.ReadFile("/proc/" + string(child) + "/stat") // fails if it has ended
		v.Children += cpuOf(statFields(stat))
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
func lockHeld(pid, thread int) (how string, yes bool) {
	for i := range looks {
		if i > 0 {
			time.Sleep(lookEvery)
		}
		switch where := waitsIn(pid, thread); {
		case strings.Contains(where, "futex"):
			yes = true
		case where != "":
			return "", false
		}
	}
	if !yes {
		return "", false
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

// threadRuns reports whether a thread of a process runs all the time, or would if it got a core. The thread that has just answered the one who asks
// runs on for a moment, so it is looked at several times. While Python code runs, some thread always does: who gives Python's lock away wakes another.
func threadRuns(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/task/"
	for i := range looks {
		if i > 0 {
			time.Sleep(lookEvery)
		}
		threads, _ := os.ReadDir(dir)
		if !slices.ContainsFunc(threads, func(thread os.DirEntry) bool {
			stat, _ := os.ReadFile(dir + thread.Name() + "/stat") // fails if it has ended
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
func waitsIn(pid, thread int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/wchan", pid, thread))
	if string(name) == "0" {
		return ""
	}
	return string(name)
}

// mainWaits tells what the main thread of a process waits for, if that is something that another thread or process has to do: "in a lock", "reading
// a socket". "" if it does not wait, sleeps, polls or reads from the terminal, and if it is not known.
func mainWaits(pid int) string {
	dir := "/proc/" + strconv.Itoa(pid)
	call, _ := os.ReadFile(dir + "/task/" + strconv.Itoa(pid) + "/syscall")
	fields := bytes.Fields(call)
	if len(fields) < 2 {
		return "" // it runs
	}
	number, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		return ""
	}
	switch number {
	case unix.SYS_FUTEX:
		return "in a lock"
	case unix.SYS_WAIT4, unix.SYS_WAITID:
		return "for a process"
	case unix.SYS_ACCEPT4:
		return "for a connection"
	}
	fd, err := strconv.ParseUint(string(fields[1]), 0, 31)
	if err != nil || fd == 0 { // standard input: a person types
		return ""
	}
	what, _ := os.Readlink(fmt.Sprintf("%s/fd/%d", dir, fd))
	kind, _, _ := strings.Cut(what, ":")
	if kind != "socket" && kind != "pipe" {
		return ""
	}
	switch number {
	case unix.SYS_READ, unix.SYS_RECVFROM, unix.SYS_RECVMSG:
		return "reading a " + kind
	case unix.SYS_WRITE, unix.SYS_SENDTO, unix.SYS_SENDMSG:
		return "writing to a " + kind
	}
	return ""
}

// memoryOf is the proportional share of memory of a process in bytes: a page that N processes share counts as 1/N. Of old kernels it is the resident
// set.
func memoryOf(p Process) (bytes int64, ok bool) {
	bytes, ok = memoryOfPID(p.PID)
	return bytes, ok && sameProcess(p)
}

func memoryOfPID(pid int) (int64, bool) {
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
func sameProcess(p Process) bool {
	st, err := statProcess(p.PID)
	return err == nil && st.startTime == p.Start
}

// hasEnded reports whether a process runs no more, reaped or not.
func hasEnded(p Process) bool {
	if p.PID <= 1 || p.Start == 0 {
		return false // unknown
	}
	st, err := statProcess(p.PID)
	return err != nil || st.startTime != p.Start || st.ended()
}

// killProcess sends SIGKILL to a process if it is still the one that started then; gone is true if it no longer runs.
func killProcess(p Process) (gone bool, err error) {
	if p.PID <= 1 || p.Start == 0 {
		return true, nil // never known
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	// The descriptor means one process for ever. The start time, read after it was opened, shows that it is the right one.
	st, err := statProcess(p.PID)
	if err != nil || st.startTime != p.Start || st.ended() {
		return true, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, err
	}
	return false, nil
}

// allProcesses lists the processes that can be seen.
func allProcesses() []procStat {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []procStat
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if st, err := statProcess(pid); err == nil {
				all = append(all, st)
			}
		}
	}
	return all
}

// under gives, of some processes, those for which root is true and all their descendants, without those that have ended.
func under(all []procStat, root func(procStat) bool) []procStat {
	children := make(map[int][]procStat, len(all))
	var found []procStat
	for _, p := range all {
		if root(p) {
			found = append(found, p)
		} else {
			children[p.ppid] = append(children[p.ppid], p)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return slices.DeleteFunc(found, procStat.ended)
}

// descendants are all living processes under the guard.
func (g *guard) descendants() []procStat {
	self := os.Getpid()
	return under(allProcesses(), func(p procStat) bool { return p.ppid == self })
}

// kill kills one of the guard's descendants.
func (g *guard) kill(p procStat) error {
	_, err := killProcess(p.id())
	return err
}

// isJanitor reports whether a process is one that frees the shared memory of others when they have ended, and then ends by itself: Python's
// resource tracker, joblib's, and torch's manager.
func isJanitor(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	program, _, _ := bytes.Cut(line, []byte{0})
	return path.Base(string(program)) == "torch_shm_manager" || bytes.Contains(line, []byte("resource_tracker import main"))
}

// isGuard reports whether a child of ours is a guard, or is about to become one.
func isGuard(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	own, _ := os.ReadFile("/proc/self/cmdline")
	return err != nil || bytes.HasPrefix(line, []byte(guardName+"\x00")) || bytes.Equal(line, own)
}

// ofSession reports whether a process belongs to a session: it has inherited the mark, or, if it is a plain fork, memory with the session's name.
func ofSession(pid int, session string) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	environ, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return false // it has ended, or is another user's
	}
	if bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+processMark+"="+session+"/")) {
		return true
	}
	maps, _ := os.ReadFile(dir + "/maps")
	return bytes.Contains(maps, []byte("/memfd:dipls:"+session+":"))
}

// killSession kills the processes that are left of a session whose server, guard and node were all killed.
func killSession(session string) {
	for _, p := range allProcesses() {
		if ofSession(p.pid, session) && !isJanitor(p.pid) {
			_, _ = killProcess(p.id()) // fails if it belongs to another user
		}
	}
}

// reapOrphans ends and reaps what this process has adopted of a session whose guard was killed, with all descendants. A child outside our login
// session that is no guard cannot be one that we started. Janitors get time for their work. known are the pids of the node and of its processes,
// each of which leads a process group.
func reapOrphans(session string, known map[int]bool) {
	self, err := statProcess(os.Getpid())
	if err != nil {
		return
	}
	due := time.Now().Add(janitorPatience)
	// A zombie that is not known may be a child of ours that another goroutine waits for. A known one may still have threads; their children are
	// not adopted before it can be reaped.
	seen := maps.Clone(known)
	for {
		adopted := func(p procStat) bool {
			if p.ppid != self.pid || isGuard(p.pid) {
				return false
			}
			return p.session != self.session || known[p.pgrp] || ofSession(p.pid, session)
		}
		all := allProcesses()
		orphans := 0
		for _, p := range all {
			if !adopted(p) || p.state == 'Z' && !seen[p.pid] {
				continue
			}
			orphans++
			seen[p.pid] = true
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil) // it is our child, so its pid cannot be another's
		}
		if orphans == 0 || time.Since(due) > killPatience {
			return // the rest hangs in the kernel, or belongs to another user
		}
		doomed := under(all, adopted)
		if time.Now().Before(due) {
			doomed = slices.DeleteFunc(doomed, func(p procStat) bool { return isJanitor(p.pid) })
		}
		for _, p := range doomed {
			_, _ = killProcess(p.id())
		}
		time.Sleep(time.Millisecond)
	}
}
