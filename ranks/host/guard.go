package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guardName is the name (argv[0]) under which this program acts as a guard.
const guardName = "dipls-guard"

// processMark is an environment variable, SESSION/NAME, that a node gives to each process. All its descendants are known by it.
const processMark = "DIPLS_PROCESS"

const (
	// nodePatience is how long a node may take to end everything in order after the server has ended.
	nodePatience = 2200 * time.Millisecond

	// lookPatience bounds the look at what processes share. Reading the maps of a process that hangs in the kernel may hang, too.
	lookPatience = time.Second

	// janitorPatience is how long janitors (processes that free the shared memory of dead ones) may take after all others have ended. Torch's
	// takes two seconds.
	janitorPatience = 3 * time.Second

	// killPause is how long to wait after a kill before the next one.
	killPause = 20 * time.Millisecond

	// killPatience bounds the wait for processes that SIGKILL does not end: they hang in the kernel, or belong to another user.
	killPatience = 5 * time.Second
)

// Descriptors of a guard. 1, 2 and guardReady are also its node's.
const (
	guardLifeline = 0
	guardReady    = 3
	guardEnd      = 4 // the guard writes an empty line when it has started the node, and a nodeEnd at the end
)

// nodeEnd is what a guard writes when its node and everything under it, except janitors, has ended.
type nodeEnd struct {
	Code   *int        `json:"code,omitempty"`
	Signal string      `json:"signal,omitempty"`
	Failed *startError `json:"failed,omitempty"` // the node was not started

	Janitors bool `json:"janitors,omitempty"` // the guard still waits for janitors
}

// startError says why a guard could not start its node.
type startError struct {
	Text  string        `json:"text"`
	Errno syscall.Errno `json:"errno,omitempty"`
}

func (e *startError) Error() string { return e.Text }

func (e *startError) Unwrap() error { return e.Errno }

// guard is the parent of a node, in a process of its own. It makes sure that nothing of the session is left when the server, the node or both
// end, whatever they were doing. On Linux it becomes the parent of every process under it that loses its own, so no process can escape it, whatever
// its login session, process group and environment are.
type guard struct {
	dir    string // the session's runtime directory
	node   int    // pid
	began  time.Time
	ended  chan unix.WaitStatus // of the node
	change chan struct{}        // a child has ended
	alone  chan struct{}        // closed: no child is left
	looked chan struct{}        // closed: what the session shares is noted, and the node may learn that the server is gone
	end    *os.File             // where the server reads
	shared sharedFiles
}

// Every program with this package can be a guard, tests included. A guard runs before anything else of the program is set up, so it stays small.
func init() {
	if os.Args[0] == guardName {
		os.Exit(guardMain(os.Args[1], os.Args[2:]))
	}
}

// guardMain starts a node by its command line and returns when nothing of it is left.
func guardMain(dir string, command []string) int {
	for _, fd := range []int{guardReady, guardEnd} {
		syscall.CloseOnExec(fd)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)                 // passed on to the node
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // ignored: the server may no longer read our output
	nameProcess(guardName)
	if err := AdoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
	}

	g := &guard{
		dir:    dir,
		began:  time.Now(),
		ended:  make(chan unix.WaitStatus, 1),
		change: make(chan struct{}, 1),
		alone:  make(chan struct{}),
		looked: make(chan struct{}),
		end:    os.NewFile(guardEnd, "end"),
	}
	lifeline, toNode, err := os.Pipe()
	if err != nil {
		g.report(nodeEnd{Failed: failedStart(err)})
		return 1
	}
	ready := os.NewFile(guardReady, "ready")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = lifeline, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{ready}
	// A login session of its own has no terminal. The user's Ctrl-C goes to the server alone, and code that asks at /dev/tty (ssh, sudo) fails
	// instead of being stopped as a background job.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	dieWithUs(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		g.report(nodeEnd{Failed: failedStart(err)})
		return 1
	}
	g.node = cmd.Process.Pid
	_, _ = g.end.WriteString("\n") // the server may be gone
	ready.Close()
	lifeline.Close()
	go g.passOn(toNode)
	go func() {
		for range resumed {
			cmd.Process.Signal(syscall.SIGCONT)
		}
	}()
	go g.reap()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		awaitHangup(guardLifeline)
	}()

	var status unix.WaitStatus
	known := false
	select {
	case status = <-g.ended:
		known = true
	case <-signals:
	case <-gone:
		g.look(g.descendants)
		close(g.looked)
		select {
		case status = <-g.ended:
			known = true
		case <-signals:
		case <-time.After(nodePatience):
		}
	}
	g.endAll(false)
	if !known {
		select {
		case status = <-g.ended:
		case <-time.After(killPatience):
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
	}
	end := nodeEnd{Janitors: !g.awaitAll(0) && len(g.descendants()) > 0}
	if status.Signaled() {
		end.Signal = signalName(status.Signal())
	} else {
		code := status.ExitStatus()
		end.Code = &code
	}
	g.report(end)
	// From here on the server no longer waits for us if only janitors are left.
	if !g.awaitAll(janitorPatience) {
		g.endAll(true)
	}
	g.shared.remove(g.began)
	return 0
}

func failedStart(err error) *startError {
	failed := &startError{Text: err.Error()}
	errors.As(err, &failed.Errno)
	return failed
}

// passOn gives the node what the server writes. The end of that is passed on only after the look at what the session shares: the node then ends its
// processes, and of an ended process nobody can tell what it shared.
func (g *guard) passOn(toNode *os.File) {
	_, _ = io.Copy(toNode, os.Stdin) // a node that ends early reads no more
	<-g.looked
	toNode.Close()
}

// look notes which files in shared memory processes use.
func (g *guard) look(processes func() []procStat) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.shared.note(processes())
	}()
	select {
	case <-done:
	case <-time.After(lookPatience):
	}
}

func (g *guard) report(end nodeEnd) {
	_ = json.NewEncoder(g.end).Encode(end) // the server may be gone
	g.end.Close()
}

// reap reaps the node and adopted children.
func (g *guard) reap() {
	defer close(g.alone)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return // no child is left, so none can be adopted either
		case pid == g.node:
			g.ended <- status
		}
		select {
		case g.change <- struct{}{}:
		default:
		}
	}
}

// endAll kills everything that is left, janitors only if told so.
func (g *guard) endAll(janitors bool) {
	begin := time.Now()
	foreign := make(map[int]bool)
	for {
		select {
		case <-g.alone:
			return
		default:
		}
		left := slices.DeleteFunc(g.descendants(), func(p procStat) bool { return foreign[p.pid] || !janitors && isJanitor(p.pid) })
		if len(left) == 0 {
			return
		}
		if time.Since(begin) > killPatience {
			fmt.Fprintf(os.Stderr, "guard: %d processes do not end\n", len(left))
			return
		}
		g.look(func() []procStat { return left })
		for _, p := range left {
			if err := g.kill(p); err != nil {
				fmt.Fprintf(os.Stderr, "guard: cannot end process %d: %v\n", p.pid, err)
				foreign[p.pid] = true // it belongs to another user
			}
		}
		select {
		case <-g.change:
		case <-time.After(killPause):
		}
	}
}

// awaitAll waits until no child is left, and reports whether that is so.
func (g *guard) awaitAll(patience time.Duration) bool {
	select {
	case <-g.alone:
		return true
	case <-time.After(patience):
		return false
	}
}

// awaitHangup returns when the other end of a pipe is closed. It reads nothing.
func awaitHangup(fd int32) {
	for {
		fds := []unix.PollFd{{Fd: fd}}
		if _, err := unix.Poll(fds, -1); err == nil && fds[0].Revents != 0 {
			return
		}
	}
}
