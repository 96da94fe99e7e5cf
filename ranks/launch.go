package ranks

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
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

	// outputPause is how long a node's output may be quiet after its end until everything counts as read: see nodeOutput.close.
	outputPause = 50 * time.Millisecond
)

// nodeProcess is the operating system's side of a node: its guard, which is our child, the lifeline, and what they print.
type nodeProcess struct {
	guard    *exec.Cmd
	pid      int           // of the node, once it is ready
	start    uint64        // when it started
	lifeline *os.File      // the stdin of the guard, which passes it on; closing it tells both that we are gone
	ready    *os.File      // where the node's ready line comes; nil once it has
	end      *os.File      // where the guard writes
	reports  *bufio.Reader // of end: an empty line when the guard is there, and at last a nodeEnd
	output   *nodeOutput
	exit     *ExitError // set by wait
	lost     bool       // the guard was killed; set by wait
}

// launchNode starts a node's process on this machine, makes the session's directory, and waits until the node's socket is bound there.
func launchNode(ctx context.Context, o *Options, dir *runtimeDir, key []byte) (_ *nodeProcess, err error) {
	if o.Dir != "" {
		if _, err := os.Stat(o.Dir); err != nil {
			return nil, fmt.Errorf("start the node: working directory: %w", err) // fork/exec would blame the interpreter
		}
	}
	argv := o.Command
	if argv == nil {
		agent, err := unpackAgent(ctx, dir)
		if err != nil {
			return nil, err
		}
		if o.Python == "" {
			return nil, errors.New("start the node: no Python interpreter given")
		}
		argv = []string{o.Python, agent}
	}

	p, err := startProcess(o, argv, dir)
	if err != nil {
		return nil, fmt.Errorf("start the node: %w", nameLimit(err))
	}
	defer func() {
		if err != nil {
			p.kill()
			p.wait()
			p.release()
		}
	}()
	if err := p.awaitGuard(ctx); err != nil {
		return nil, err
	}
	// The guard is there before the directory is: whenever we are killed, it is removed.
	if err := dir.make(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		p.ready.SetReadDeadline(time.Unix(1, 0))
		p.lifeline.SetWriteDeadline(time.Unix(1, 0))
	})
	defer stop()

	start, err := json.Marshal(wire.StartLine{
		Protocol:   wire.ProtocolVersion,
		RuntimeDir: dir.path,
		Name:       nodeName,
		Key:        hex.EncodeToString(key),
		Script:     wire.Path(o.Script),
		ExtraPath:  append([]string{}, o.ExtraPath...), // [] rather than null
		Plain:      o.Plain,
		LogLevel:   logLevel(o.Log),
	})
	if err != nil {
		return nil, err
	}
	// A node that ended before it read the line says why on its ready line or by its exit.
	_, writeErr := p.lifeline.Write(append(start, '\n'))

	line, err := bufio.NewReader(io.LimitReader(p.ready, maxReadyLine)).ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("node is not ready: %w%s", context.Cause(ctx), p.output.suffix())
	case err != nil:
		return nil, p.diedEarly(ctx, errors.Join(writeErr, err))
	}
	var ready wire.ReadyLine
	if err := json.Unmarshal(line, &ready); err != nil {
		return nil, fmt.Errorf("node's ready line %.100q: %w", line, err)
	}
	if !ready.Ready {
		if len(ready.Missing) > 0 {
			return nil, &MissingPackagesError{Python: o.Python, Missing: distributions(ready.Missing)}
		}
		return nil, fmt.Errorf("node could not start: %s%s", ready.Error, p.output.suffix())
	}
	p.pid, p.start = ready.PID, ready.StartTime
	p.ready.Close()
	p.ready = nil
	return p, nil
}

// awaitGuard waits until the guard heeds signals and has started the node. Before, a SIGTERM just ends it.
func (p *nodeProcess) awaitGuard(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.guard.Process.Kill() }) // it has nothing to remove yet, and the node goes with it
	first, err := p.reports.Peek(1)
	switch {
	case !stop():
		return fmt.Errorf("node is not ready: %w", context.Cause(ctx))
	case err != nil || first[0] != '\n':
		return p.diedEarly(ctx, err)
	}
	return nil
}

// diedEarly explains why a node closed its ready line without a word.
func (p *nodeProcess) diedEarly(ctx context.Context, cause error) error {
	defer context.AfterFunc(ctx, p.kill)()
	timer := time.AfterFunc(time.Second, p.kill) // it lives, but has nothing to say
	defer timer.Stop()
	e := p.wait()
	p.output.close()
	var failed *startError
	if errors.As(e, &failed) {
		return fmt.Errorf("start the node: %w", failed)
	}
	e.Detail = p.output.tail()
	return fmt.Errorf("node could not start: %w", errors.Join(e, ignoreEOF(cause)))
}

// kill has the guard kill the node and all that is under it, at once.
func (p *nodeProcess) kill() {
	p.guard.Process.Signal(syscall.SIGTERM)
	time.AfterFunc(killPatience, func() { p.guard.Process.Kill() }) // it does not heed us; what it cannot do then, supervise does
}

// wait waits until the guard has ended all that it guards, or was itself killed, and says how the node ended. One goroutine at a time may call it.
func (p *nodeProcess) wait() *ExitError {
	if p.exit == nil {
		p.exit = p.awaitEnd()
	}
	return p.exit
}

func (p *nodeProcess) awaitEnd() *ExitError {
	var end nodeEnd
	if err := json.NewDecoder(p.reports).Decode(&end); err != nil {
		p.guard.Wait()
		p.lost = true
		e := exitOf(p.guard.ProcessState)
		e.Name = "the node's guard"
		return e
	}
	if end.Janitors {
		go p.guard.Wait() // for as long as the guard's patience lasts: see guardMain
	} else {
		p.guard.Wait()
	}
	e := &ExitError{Name: nodeName, PID: p.pid, Code: end.Code, Signal: end.Signal}
	if end.Failed != nil {
		e.Lost = end.Failed
	}
	return e
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// startProcess starts the guard, which starts the node, with the descriptors that docs/wire.md lists.
func startProcess(o *Options, argv []string, dir *runtimeDir) (_ *nodeProcess, err error) {
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
	cmd.Dir = o.Dir
	cmd.Env = nodeEnv(o.Env)
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
	return &nodeProcess{
		guard: cmd, lifeline: stdinW, ready: readyR, end: endR, reports: bufio.NewReader(endR), output: collectOutput(outR, o.Log),
	}, nil
}

// nodeEnv is the environment of a node: the one that is given, or ours, without what another launcher has set for a rank of its own. Modules that
// the node imports would take it for theirs, and torch would look for that launcher's store.
func nodeEnv(given []string) []string {
	if given == nil {
		given = os.Environ()
	}
	return slices.DeleteFunc(slices.Clone(given), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains(launcherEnv, name)
	})
}

// release closes our ends of the pipes; the guard must have ended.
func (p *nodeProcess) release() {
	p.lifeline.Close()
	p.end.Close()
	if p.ready != nil {
		p.ready.Close()
	}
	p.output.close()
}

// logLevel is the lowest level that a logger writes, as the agent takes it.
func logLevel(log *zap.Logger) string {
	if level := log.Level(); level <= zap.ErrorLevel {
		return level.String()
	}
	return zap.ErrorLevel.String()
}

// exitOf describes the end of a child of ours.
func exitOf(ps *os.ProcessState) *ExitError {
	e := &ExitError{Name: nodeName, PID: ps.Pid()}
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = signalName(ws.Signal())
		return e
	}
	code := ps.ExitCode()
	e.Code = &code
	return e
}

// nodeOutput logs what a node prints, line by line, and keeps the end of it for error messages.
type nodeOutput struct {
	pipe *os.File
	log  *zap.Logger
	done chan struct{} // the collecting goroutine has ended

	mu   sync.Mutex
	last []byte // at most outputTail
}

func collectOutput(pipe *os.File, log *zap.Logger) *nodeOutput {
	o := &nodeOutput{pipe: pipe, log: log, done: make(chan struct{})}
	go o.collect()
	return o
}

func (o *nodeOutput) collect() {
	defer close(o.done)
	r := bufio.NewReaderSize(o.pipe, outputTail)
	for {
		line, err := r.ReadSlice('\n') // a line that is too long comes in pieces
		if len(line) > 0 {
			o.mu.Lock()
			o.last = append(o.last, line...)
			if n := len(o.last) - outputTail; n > 0 {
				o.last = append(o.last[:0], o.last[n:]...)
			}
			o.mu.Unlock()
			o.log.Debug("node printed", zap.ByteString("text", line))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// close ends the collecting when what has been printed is read, also if a descendant of the node still holds the pipe.
func (o *nodeOutput) close() {
	o.pipe.SetReadDeadline(time.Now().Add(outputPause))
	<-o.done
	o.pipe.Close()
}

// tail is the end of what was printed.
func (o *nodeOutput) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(o.last), "\uFFFD"))
}

// suffix is the tail for the end of an error message.
func (o *nodeOutput) suffix() string {
	if t := o.tail(); t != "" {
		return "; it printed: " + t
	}
	return ""
}
