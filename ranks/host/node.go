package host

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"dipls/ranks/wire"
)

const (
	maxReadyLine = 64 << 10
	outputTail   = 4 << 10

	// outputPause is how long a node's output must be quiet after its end before all of it counts as read: see printing.close.
	outputPause = 50 * time.Millisecond

	// survivorPatience is how long processes that have outlived their node may take to die.
	survivorPatience = 5 * time.Second
)

// localNode is a node on this machine: its guard, which is our child, the pipes to both, and the session's directory.
type localNode struct {
	dir      *runtimeDir
	log      *zap.Logger
	name     string // of the node, for people
	guard    *exec.Cmd
	id       Process       // of the node, once it is ready
	lifeline *os.File      // the guard's stdin, which it passes on to the node; closing it tells both that we are gone
	ready    *os.File      // here comes the node's ready line; nil after that
	end      *os.File      // here the guard reports: see guardEnd
	reports  *bufio.Reader // of end
	output   *printing
	exit     *NodeExit // set by Wait
	lost     bool      // the guard was killed; set by Wait
}

// StartNode starts a guard, which starts the node, makes the session's directory, and waits until the node has bound its socket there. It also
// removes what dead sessions have left.
func (l Local) StartNode(ctx context.Context, spec NodeSpec) (NodeProcess, error) {
	dir, err := planRuntimeDir(spec.Log)
	if err != nil {
		return nil, err
	}
	spec.Line.RuntimeDir, spec.Line.Host = dir.path, l.Name()
	n, err := launch(ctx, spec, dir)
	if err != nil {
		dir.remove()
		return nil, err
	}
	return n, nil
}

// launch starts a node whose directory has a name, but is not made yet.
func launch(ctx context.Context, spec NodeSpec, dir *runtimeDir) (_ *localNode, err error) {
	if spec.Dir != "" {
		if _, err := os.Stat(spec.Dir); err != nil {
			return nil, fmt.Errorf("start the node: working directory: %w", err) // fork/exec would blame the interpreter
		}
	}
	argv := spec.Command
	if argv == nil {
		agent, err := unpackAgent(ctx, dir)
		if err != nil {
			return nil, err
		}
		if spec.Python == "" {
			return nil, errors.New("start the node: no Python interpreter given")
		}
		argv = []string{spec.Python, agent}
	}

	n, err := startGuard(spec, argv, dir)
	if err != nil {
		return nil, fmt.Errorf("start the node: %w", nameLimit(err))
	}
	defer func() {
		if err != nil {
			n.Kill()
			n.Wait()
		}
	}()
	notPython := func(err error) error {
		if spec.Command != nil || ctx.Err() != nil {
			return err
		}
		return cmp.Or(here().isPython(ctx, spec.Python), err)
	}
	if err := n.awaitGuard(ctx); err != nil {
		return nil, notPython(err)
	}
	// The guard runs before the directory is made. So it is removed whenever we are killed.
	if err := dir.make(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		n.ready.SetReadDeadline(time.Unix(1, 0))
		n.lifeline.SetWriteDeadline(time.Unix(1, 0))
	})
	defer stop()

	start, err := json.Marshal(spec.Line)
	if err != nil {
		return nil, err
	}
	// If the node ended before it read this line, its ready line or its exit says why.
	_, writeErr := n.lifeline.Write(append(start, '\n'))

	line, err := bufio.NewReader(io.LimitReader(n.ready, maxReadyLine)).ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("node is not ready: %w%s", context.Cause(ctx), n.output.suffix())
	case err != nil:
		return nil, notPython(n.diedEarly(ctx, errors.Join(writeErr, err)))
	}
	if n.id, err = ReadReady(line, spec.Python, &n.output.NodeOutput); err != nil {
		return nil, err
	}
	n.ready.Close()
	n.ready = nil
	return n, nil
}

// ReadReady reads a node's ready line: it gives the node's process, or says why the node could not start.
func ReadReady(line []byte, python string, output *NodeOutput) (Process, error) {
	var ready wire.ReadyLine
	if err := json.Unmarshal(line, &ready); err != nil {
		return Process{}, fmt.Errorf("node's ready line %.100q: %w", line, err)
	}
	switch {
	case ready.Ready:
		return Process{ready.PID, ready.StartTime}, nil
	case len(ready.Missing) > 0:
		return Process{}, MissingPackages(python, ready.Missing)
	}
	return Process{}, fmt.Errorf("node could not start: %s%s", ready.Error, output.suffix())
}

// EndedEarly says how a node has ended before it was ready. who is the node, or the guard if that was killed.
func EndedEarly(who string, exit NodeExit, output *NodeOutput) error {
	switch {
	case exit.Failed != nil:
		return fmt.Errorf("start the node: %w", exit.Failed)
	case exit.Guard:
		who = "the node's guard"
	}
	early := fmt.Errorf("%s %v", who, exit)
	if tail := output.Tail(); tail != "" {
		early = fmt.Errorf("%w: %s", early, tail)
	}
	return fmt.Errorf("node could not start: %w", early)
}

// awaitGuard waits until the guard handles signals and has started the node. Before that, a SIGTERM would just end it.
func (n *localNode) awaitGuard(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { n.guard.Process.Kill() }) // there is nothing to remove yet, and the node dies with it
	first, err := n.reports.Peek(1)
	switch {
	case !stop():
		return fmt.Errorf("node is not ready: %w", context.Cause(ctx))
	case err != nil || first[0] != '\n':
		return n.diedEarly(ctx, err)
	}
	return nil
}

// diedEarly explains why a node closed its ready pipe without a line.
func (n *localNode) diedEarly(ctx context.Context, cause error) error {
	defer context.AfterFunc(ctx, n.Kill)()
	timer := time.AfterFunc(time.Second, n.Kill) // it lives, but says nothing
	defer timer.Stop()
	return errors.Join(EndedEarly(n.name, n.Wait(), &n.output.NodeOutput), ignoreEOF(cause))
}

func (n *localNode) Process() Process { return n.id }

func (n *localNode) Session() string { return n.dir.session() }

func (n *localNode) Renew(context.Context) error { return n.dir.make() }

func (n *localNode) Dial(ctx context.Context, socket string) (net.Conn, error) {
	return n.dir.dial(ctx, socket)
}

// Resume continues the guard, which does the same for the node.
func (n *localNode) Resume() { n.guard.Process.Signal(syscall.SIGCONT) }

func (n *localNode) HangUp() { n.lifeline.Close() }

// Kill has the guard do it.
func (n *localNode) Kill() {
	n.guard.Process.Signal(syscall.SIGTERM)
	time.AfterFunc(killPatience, func() { n.guard.Process.Kill() }) // it does not react; CleanUp does the rest
}

// Wait waits until the guard has ended everything, or was itself killed.
func (n *localNode) Wait() NodeExit {
	if n.exit == nil {
		exit := n.awaitEnd()
		n.exit = &exit
		n.release()
	}
	return *n.exit
}

func (n *localNode) awaitEnd() NodeExit {
	var end nodeEnd
	if err := json.NewDecoder(n.reports).Decode(&end); err != nil {
		n.guard.Wait()
		n.lost = true
		return NodeExit{Exit: exitOf(n.guard.ProcessState), PID: n.guard.ProcessState.Pid(), Guard: true}
	}
	if end.Janitors {
		go n.guard.Wait() // it ends after janitorPatience at the latest
	} else {
		n.guard.Wait()
	}
	exit := NodeExit{Exit: Exit{Code: end.Code, Signal: end.Signal}, PID: n.id.PID}
	if end.Failed != nil {
		exit.Failed = end.Failed
	}
	return exit
}

func (n *localNode) Output() string { return n.output.Tail() }

// CleanUp has something to kill only if the guard was killed.
func (n *localNode) CleanUp(started []Process) {
	ctx, stop := context.WithTimeout(context.Background(), survivorPatience)
	defer stop()
	if n.lost && !(Local{}).Kill(ctx, n.id) {
		n.log.Warn("cannot end the node", zap.Int("pid", n.id.PID))
	}
	known := map[int]bool{n.id.PID: true}
	for _, p := range started {
		if p.PID > 1 {
			known[p.PID] = true
		}
		if !(Local{}).Kill(ctx, p) {
			n.log.Warn("cannot end a process", zap.Int("pid", p.PID))
		}
	}
	if n.lost {
		killSession(n.dir.session())
		reapOrphans(n.dir.session(), known)
	}
	if err := n.dir.remove(); err != nil {
		n.log.Warn("cannot remove the session's directory", zap.Error(err))
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// startGuard starts the guard, which starts the node, with the descriptors that docs/wire.md lists.
func startGuard(spec NodeSpec, argv []string, dir *runtimeDir) (_ *localNode, err error) {
	var files []*os.File // closed if something fails
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
		}
	}()
	pipe := func() (r, w *os.File) {
		if err != nil {
			return nil, nil
		}
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w
	}
	stdinR, stdinW := pipe()
	outR, outW := pipe()
	readyR, readyW := pipe()
	endR, endW := pipe()
	if err != nil {
		return nil, err
	}
	self, err := thisProgram()
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(self)
	cmd.Args = append([]string{guardName, dir.path}, argv...)
	cmd.Dir = spec.Dir
	cmd.Env = spec.Env
	cmd.Stdin = stdinR
	cmd.Stdout = outW
	cmd.Stderr = outW
	cmd.ExtraFiles = []*os.File{readyW, endW}            // guardReady, guardEnd
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the user's Ctrl-C is for the server alone
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stdinR.Close()
	outW.Close()
	readyW.Close()
	endW.Close()
	return &localNode{
		dir: dir, log: spec.Log, name: spec.Line.Name,
		guard: cmd, lifeline: stdinW, ready: readyR, end: endR, reports: bufio.NewReader(endR), output: readOutput(outR, spec.Log),
	}, nil
}

// release closes our ends of the pipes; the guard must have ended.
func (n *localNode) release() {
	n.lifeline.Close()
	n.end.Close()
	if n.ready != nil {
		n.ready.Close()
	}
	n.output.close()
}

// exitOf describes the end of a child of ours.
func exitOf(ps *os.ProcessState) Exit {
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return Exit{Signal: signalName(ws.Signal())}
	}
	code := ps.ExitCode()
	return Exit{Code: &code}
}

// NodeOutput takes what a node prints: it logs it, line by line, and keeps the last part for error messages.
type NodeOutput struct {
	Log *zap.Logger

	mu   sync.Mutex
	line []byte // that has not ended
	last []byte // at most outputTail
}

// Write implements [io.Writer]. It never fails.
func (o *NodeOutput) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last, text...)
	if n := len(o.last) - outputTail; n > 0 {
		o.last = append(o.last[:0], o.last[n:]...)
	}
	o.line = append(o.line, text...)
	for {
		end := bytes.IndexByte(o.line, '\n') + 1
		if end == 0 && len(o.line) > outputTail {
			end = len(o.line) // a line that is too long comes in pieces
		}
		if end == 0 {
			return len(text), nil
		}
		o.Log.Debug("node printed", zap.ByteString("text", o.line[:end]))
		o.line = append(o.line[:0], o.line[end:]...)
	}
}

// End logs what has no end of line. Nothing more is printed.
func (o *NodeOutput) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) > 0 {
		o.Log.Debug("node printed", zap.ByteString("text", o.line))
		o.line = nil
	}
}

// Tail is the last part of what was printed.
func (o *NodeOutput) Tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(o.last), "\uFFFD"))
}

// suffix is the tail for the end of an error message.
func (o *NodeOutput) suffix() string {
	if t := o.Tail(); t != "" {
		return "; it printed: " + t
	}
	return ""
}

// printing reads what a node prints.
type printing struct {
	NodeOutput
	pipe *os.File
	done chan struct{} // the reading goroutine has ended
}

func readOutput(pipe *os.File, log *zap.Logger) *printing {
	p := &printing{NodeOutput: NodeOutput{Log: log}, pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_, _ = io.Copy(&p.NodeOutput, pipe) // until the end, or the deadline of close
	}()
	return p
}

// close waits until everything printed has been read. It does not wait for an end of file: a descendant of the node may hold the pipe open.
func (p *printing) close() {
	p.pipe.SetReadDeadline(time.Now().Add(outputPause))
	<-p.done
	p.pipe.Close()
	p.End()
}
