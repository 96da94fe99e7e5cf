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

// guardName is the name under which this program is a guard.
const guardName = "dipls-guard"

// processMark is the variable by which what a node has started is known, with all its offspring: SESSION/NAME.
const processMark = "DIPLS_PROCESS"

const (
	// nodePatience is how long a node may take to end everything in order after the server's end.
	nodePatience = 2200 * time.Millisecond

	// lookPatience bounds the wait for a look at what processes share: the kernel may keep one for ever, and with it who looks at its maps.
	lookPatience = time.Second

	// janitorPatience is how long what frees the shared memory of dead processes may take for that when all others have ended. Torch's manager
	// takes two seconds.
	janitorPatience = 3 * time.Second

	// killPause is how long to wait for the end of what was killed before it is killed again.
	killPause = 20 * time.Millisecond

	// killPatience bounds the wait for what SIGKILL does not end: it hangs in the kernel, or belongs to another user.
	killPatience = 5 * time.Second
)

// Descriptors of a guard. 1, 2 and guardReady are also its node's.
const (
	guardLifeline = 0
	guardReady    = 3
	guardEnd      = 4 // an empty line goes there when the node has been started, and a nodeEnd at last
)

// nodeEnd is what a guard writes when its node has ended, and all else with it but for what frees shared memory.
type nodeEnd struct {
	Code   *int        `json:"code,omitempty"`
	Signal string      `json:"signal,omitempty"`
	Failed *startError `json:"failed,omitempty"` // there never was one

	Janitors bool `json:"janitors,omitempty"` // the guard waits for what frees shared memory
}

// startError says why a guard could not start its node.
type startError struct {
	Text  string        `json:"text"`
	Errno syscall.Errno `json:"errno,omitempty"`
}

func (e *startError) Error() string { return e.Text }

func (e *startError) Unwrap() error { return e.Errno }

// guard is the parent of a node, a process of its own: it sees to it that nothing of the session is left when server or node end, or both at
// once, whatever they were doing. What loses its parent becomes its child (on Linux), so nothing that was started there can get away from it,
// whatever session or process group it is in, and whatever its environment says.
type guard struct {
	dir    string // the session's runtime directory
	node   int    // pid
	began  time.Time
	ended  chan unix.WaitStatus // of the node
	change chan struct{}        // a child has ended
	alone  chan struct{}        // closed: no child is left
	looked chan struct{}        // closed: it has seen what the session shares, and the node may hear that the server is gone
	end    *os.File             // where the server reads
	shared sharedFiles
}

// Whatever program has this package can be a guard, tests included. A guard starts before all else has been set up, and is small.
func init() {
	if os.Args[0] == guardName {
		os.Exit(guardMain(os.Args[1], os.Args[2:]))
	}
}

// guardMain starts a node by its command line and stays until nothing is left of it.
func guardMain(dir string, command []string) int {
	for _, fd := range []int{guardReady, guardEnd} {
		syscall.CloseOnExec(fd)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)                 // for the node
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody may read what the node prints
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
	// A session of its own, without a terminal: the user's Ctrl-C is for the server alone, and code that asks at /dev/tty
	// (ssh, sudo) fails instead of being stopped as a background job of that terminal.
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
	// From here on nobody waits for us if nothing but janitors is left.
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

// passOn gives the node what the server writes, and the end of that as soon as we have looked: on hearing of it the node ends its processes,
// and of what has ended nobody can tell what it shared.
func (g *guard) passOn(toNode *os.File) {
	_, _ = io.Copy(toNode, os.Stdin) // a node that ends early reads no more
	<-g.looked
	toNode.Close()
}

// look notes what processes share.
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

// reap takes leave of the node and of adopted children.
func (g *guard) reap() {
	defer close(g.alone)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return // none is left, so none can be adopted either
		case pid == g.node:
			g.ended <- status
		}
		select {
		case g.change <- struct{}{}:
		default:
		}
	}
}

// endAll kills everything that is left, but not what frees the shared memory of dead processes unless that is to end, too.
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
				foreign[p.pid] = true // another user's
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

// awaitHangup returns when the other end of a pipe is closed, without reading what is in there.
func awaitHangup(fd int32) {
	for {
		fds := []unix.PollFd{{Fd: fd}}
		if _, err := unix.Poll(fds, -1); err == nil && fds[0].Revents != 0 {
			return
		}
	}
}
