package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
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

func statProcess(pid int) (procStat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(pid, data)
}

// memoryOf reads /proc.
func memoryOf(ctx context.Context, p Process) (bytes int64, ok bool) { return here().Memory(ctx, p) }

// architecture asks the kernel.
func architecture() string {
	var names unix.Utsname
	_ = unix.Uname(&names) // cannot fail
	return unix.ByteSliceToString(names.Machine[:])
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
