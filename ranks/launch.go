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
)

// nodeProcess is the operating system's side of a node: our child, its lifeline, and what it prints.
type nodeProcess struct {
	cmd      *exec.Cmd
	lifeline *os.File // its stdin; closing it tells the node that we are gone
	ready    *os.File // where its ready line comes; nil once it has
	output   *nodeOutput
}

// launchNode starts a node's process on this machine and waits until its socket is bound.
func launchNode(ctx context.Context, o *Options, dir *runtimeDir, key []byte) (_ *nodeProcess, err error) {
	if o.Dir != "" {
		if _, err := os.Stat(o.Dir); err != nil {
			return nil, fmt.Errorf("start the node: working directory: %w", err) // fork/exec would blame the interpreter
		}
	}
	argv := o.Command
	if argv == nil {
		agent, err := unpackAgent(ctx, dir.path)
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
			p.cmd.Process.Kill()
			p.cmd.Wait()
			p.release()
		}
	}()
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
		Script:     o.Script,
		ExtraPath:  append([]string{}, o.ExtraPath...), // [] rather than null
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
		return nil, fmt.Errorf("node (pid %d) is not ready: %w%s", p.cmd.Process.Pid, context.Cause(ctx), p.output.suffix())
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
	p.ready.Close()
	p.ready = nil
	return p, nil
}

// diedEarly explains why a node closed its ready line without a word.
func (p *nodeProcess) diedEarly(ctx context.Context, cause error) error {
	kill := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	defer kill()
	timer := time.AfterFunc(time.Second, func() { p.cmd.Process.Kill() }) // it lives, but has nothing to say
	defer timer.Stop()
	p.cmd.Wait()
	p.output.close()
	e := exitOf(p.cmd.ProcessState)
	e.Detail = p.output.tail()
	return fmt.Errorf("node could not start: %w", errors.Join(e, ignoreEOF(cause)))
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// startProcess starts the process with the descriptors that docs/protocol.md lists.
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
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = o.Dir
	cmd.Env = nodeEnv(o.Env)
	cmd.Stdin = stdinR
	cmd.Stdout = outW
	cmd.Stderr = outW
	cmd.ExtraFiles = []*os.File{readyW, dir.lock} // 3, 4
	// A session of its own, without a terminal: the user's Ctrl-C is for the server alone, and code that asks at /dev/tty
	// (ssh, sudo) fails instead of being stopped as a background job of that terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stdinR.Close()
	outW.Close()
	readyW.Close()
	return &nodeProcess{cmd: cmd, lifeline: stdinW, ready: readyR, output: collectOutput(outR, o.Log)}, nil
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

// release closes our ends of the pipes; the process must have ended.
func (p *nodeProcess) release() {
	p.lifeline.Close()
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
	o.pipe.SetReadDeadline(time.Now().Add(drainPause))
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
