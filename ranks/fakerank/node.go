package fakerank

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"dipls/ranks/wire"
)

// lastPID is the number given last to a rank that is a goroutine. They begin at 1<<23, beyond any that Linux gives out.
var lastPID atomic.Int64

func init() { lastPID.Store(1<<23 - 1) }

// node is the fake node.
type node struct {
	config Config
	start  wire.StartLine
	pid    int
	open   func(gate string) bool // nil: there are no gates
	exit   func(code int)         // ends the node; it returns only if that is no process
	gone   chan struct{}          // closed by the end, if the node is no process
	peer   *peer

	mu     sync.Mutex
	ranks  map[string]child
	ending bool
}

// child is a rank as its node sees it.
type child interface {
	// signal sends a signal.
	signal(s syscall.Signal)
}

// runNode plays a node that is a process.
func runNode(config string) error {
	n := &node{pid: os.Getpid(), exit: exit, ranks: make(map[string]child)}
	if err := json.Unmarshal([]byte(config), &n.config); err != nil {
		return err
	}
	c := n.config
	stdin := bufio.NewReader(os.Stdin)
	line, err := stdin.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("start line: %w", err)
	}
	if err := json.Unmarshal(line, &n.start); err != nil {
		return fmt.Errorf("start line: %w", err)
	}
	if c.Deaf {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	}

	ready := os.NewFile(3, "ready")
	switch {
	case c.StartHang:
		select {}
	case c.StartExit != 0:
		fmt.Fprintln(os.Stderr, "fake node gives up")
		exit(c.StartExit)
	case c.StartError != "" || len(c.Missing) > 0:
		return writeLine(ready, wire.ReadyLine{Error: c.StartError, Missing: c.Missing})
	}
	l, err := n.listen()
	if err != nil {
		return err
	}
	if err := writeLine(ready, wire.ReadyLine{Ready: true, PID: n.pid, StartTime: startTime(n.pid)}); err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, stdin)
		n.hangUp()
	}()
	return n.run(l)
}

// listen binds the node's socket.
func (n *node) listen() (net.Listener, error) {
	return net.Listen("unix", filepath.Join(n.start.RuntimeDir, n.start.Name))
}

// run serves the one connection of a listener until the node ends.
func (n *node) run(l net.Listener) error {
	key, err := wire.ParseKey(n.start.Key)
	if err != nil {
		return err
	}
	p, err := accept(l, key)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.peer = p
	n.mu.Unlock()
	return n.serve()
}

func writeLine(f *os.File, v any) error {
	defer f.Close()
	return json.NewEncoder(f).Encode(v)
}

// hangUp is the end of the lifeline.
func (n *node) hangUp() {
	if !n.config.Deaf {
		n.quit(0)
	}
}

// hang waits for the end of a node that does not react.
func (n *node) hang() error {
	<-n.gone
	return nil
}

// quit ends the node and what it runs, and leaves nothing behind.
func (n *node) quit(code int) {
	n.mu.Lock()
	first := !n.ending
	n.ending = true
	children, p := n.ranks, n.peer
	n.mu.Unlock()
	if !first {
		return
	}
	if p != nil {
		p.nc.Close()
	}
	for _, c := range children {
		c.signal(syscall.SIGKILL)
		if p, ok := c.(*rankProcess); ok {
			<-p.ended
		}
	}
	os.RemoveAll(n.start.RuntimeDir)
	n.exit(code)
}

// serve answers requests until the connection ends.
func (n *node) serve() error {
	c := n.config
	for {
		m, err := n.peer.receive()
		if err != nil {
			if c.Deaf {
				return n.hang()
			}
			n.quit(0)
			return nil
		}
		reply := func(msgType string, content any) { n.peer.send(msgType, m.RawHeader, content) }
		ok := wire.Status{Status: "ok"}
		if c.Imports && m.Header.MsgType != wire.TypeHello {
			return n.hang()
		}
		switch m.Header.MsgType {
		case wire.TypeHello:
			if c.BadHello {
				n.peer.raw([]byte("\xf8this is not ZMTP"))
				continue
			}
			reply(wire.TypeHelloReply, wire.NodeHelloReply{
				Status: ok, Protocol: wire.ProtocolVersion, PID: n.pid, StartTime: startTime(n.pid),
				Python: "3.99.0", Packages: c.packages(),
			})
		case wire.TypePreloadRequest:
			r := wire.PreloadReply{Status: ok, ForkSafe: c.ForkUnsafe == "", Reason: c.ForkUnsafe}
			for _, module := range c.PreloadFailed {
				r.Failed = append(r.Failed, wire.PreloadFailed{Module: module, Error: "ModuleNotFoundError: No module named '" + module + "'"})
			}
			reply(wire.TypePreloadReply, r)
		case wire.TypeSpawnRequest:
			reply(wire.TypeSpawnReply, n.spawn(m))
		case wire.TypeSignalRequest:
			if c.Deaf {
				continue
			}
			var req wire.SignalRequest
			json.Unmarshal(m.Content, &req)
			reply(wire.TypeSignalReply, wire.SignalReply{Status: ok, Sent: n.signal(req)})
		case wire.TypeShutdownRequest:
			if c.Deaf {
				continue
			}
			reply(wire.TypeShutdownReply, ok)
			n.quit(0)
			return nil
		}
	}
}

func (n *node) signal(req wire.SignalRequest) bool {
	n.mu.Lock()
	c := n.ranks[req.Name]
	n.mu.Unlock()
	if c == nil {
		return false
	}
	c.signal(signals[req.Signal])
	return true
}

// signals are those that a test may name.
var signals = map[string]syscall.Signal{
	"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL,
	"SIGSEGV": syscall.SIGSEGV, "SIGABRT": syscall.SIGABRT, "SIGBUS": syscall.SIGBUS,
}

func signalName(s syscall.Signal) string {
	for name, sig := range signals {
		if sig == s {
			return name
		}
	}
	return s.String()
}

func (n *node) spawn(m *wire.Message) wire.SpawnReply {
	if n.config.SpawnError != "" {
		return wire.SpawnReply{Status: wire.Status{Status: "error", EName: "OSError", EValue: n.config.SpawnError}}
	}
	var req wire.SpawnRequest
	if err := json.Unmarshal(m.Content, &req); err != nil {
		return wire.SpawnReply{Status: wire.Status{Status: "error", EName: "ValueError", EValue: err.Error()}}
	}
	reply := wire.SpawnReply{Status: wire.Status{Status: "ok"}, Method: "fork"}
	if meet := req.Rendezvous; meet != nil {
		if meet.MasterPort == 0 {
			meet.MasterPort, meet.JAXPort = 20000+os.Getpid()%10000, 1 // another node's ranks have another one
			reply.MasterPort, reply.JAXPort = meet.MasterPort, meet.JAXPort
		}
		for _, spec := range req.Processes {
			spec.Env["MASTER_ADDR"], spec.Env["MASTER_PORT"] = meet.Address, strconv.Itoa(meet.MasterPort)
		}
	}
	if req.Method == "spawn" || n.config.ForkUnsafe != "" {
		reply.Method, reply.Reason = "spawn", n.config.ForkUnsafe
	}
	for _, spec := range req.Processes {
		start := n.startGoroutine
		if n.config.Processes {
			start = n.startProcess
		}
		p, err := start(spec)
		if err != nil {
			return wire.SpawnReply{Status: wire.Status{Status: "error", EName: "OSError", EValue: err.Error()}}
		}
		reply.Processes = append(reply.Processes, p)
	}
	return reply
}

// exited forgets a rank and tells the server.
func (n *node) exited(ev wire.Exited, tail []byte) {
	n.mu.Lock()
	ending := n.ending
	if !ending {
		delete(n.ranks, ev.Name)
	}
	n.mu.Unlock()
	if ending {
		return // nobody hears of it
	}
	os.Remove(filepath.Join(n.start.RuntimeDir, ev.Name))
	n.peer.send(wire.TypeExited, nil, ev, tail)
}

// startGoroutine starts a rank as a goroutine.
func (n *node) startGoroutine(spec wire.SpawnProcess) (wire.SpawnedProcess, error) {
	pid := int(lastPID.Add(1))
	r, err := newRank(n.config, n.start.RuntimeDir, spec, pid)
	if err != nil {
		return wire.SpawnedProcess{}, err
	}
	r.open = n.open
	r.exit = func(code int, sig syscall.Signal, asked bool) {
		ev := wire.Exited{Name: spec.Name, PID: pid, Asked: asked}
		if sig != 0 {
			ev.Signal = signalName(sig)
		} else {
			ev.Code = &code
		}
		var data []byte
		ev.Tail, data = r.unacknowledged()
		n.exited(ev, data)
	}
	n.mu.Lock()
	ending := n.ending
	if !ending {
		n.ranks[spec.Name] = r
	}
	n.mu.Unlock()
	if ending {
		r.l.Close()
		return wire.SpawnedProcess{}, errors.New("the node ends")
	}
	go r.run()
	return wire.SpawnedProcess{Name: spec.Name, PID: pid}, nil
}

// rankProcess is a rank that is a process.
type rankProcess struct {
	cmd   *exec.Cmd
	asked chan struct{} // closed by the first signal that we send
	ended chan struct{} // it has been reaped
	once  sync.Once
}

func (p *rankProcess) signal(s syscall.Signal) {
	p.once.Do(func() { close(p.asked) })
	if s == syscall.SIGINT {
		p.cmd.Process.Signal(s)
		return
	}
	syscall.Kill(-p.cmd.Process.Pid, s)
}

// rankStart is what a rank that is a process reads from its standard input, whose end is the end of its node.
type rankStart struct {
	Config Config
	Dir    string
	Spec   wire.SpawnProcess
}

// startProcess starts a rank as a process.
func (n *node) startProcess(spec wire.SpawnProcess) (none wire.SpawnedProcess, err error) {
	exe, err := os.Executable()
	if err != nil {
		return none, err
	}
	cmd := exec.Command(exe, rankArg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	cmd.Env = os.Environ()
	for name, value := range maps.All(spec.Env) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return none, err
	}
	bound, err := cmd.StdoutPipe()
	if err != nil {
		return none, err
	}
	if err := cmd.Start(); err != nil {
		return none, err
	}
	p := &rankProcess{cmd: cmd, asked: make(chan struct{}), ended: make(chan struct{})}
	n.mu.Lock()
	n.ranks[spec.Name] = p
	n.mu.Unlock()
	spawned := wire.SpawnedProcess{Name: spec.Name, PID: cmd.Process.Pid, StartTime: startTime(cmd.Process.Pid)}
	if err := json.NewEncoder(in).Encode(rankStart{n.config, n.start.RuntimeDir, spec}); err != nil {
		return none, err
	}
	if _, err := bound.Read(make([]byte, 1)); err != nil {
		return none, errors.New("rank did not bind its socket")
	}
	go func() {
		cmd.Wait()
		close(p.ended)
		ev := wire.Exited{Name: spec.Name, PID: spawned.PID, StartTime: spawned.StartTime}
		select {
		case <-p.asked:
			ev.Asked = true
		default:
		}
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
			ev.Signal = signalName(ws.Signal())
		} else {
			code := ws.ExitStatus()
			ev.Code = &code
		}
		n.exited(ev, nil)
	}()
	return spawned, nil
}

// runRankProcess plays a rank that is a process.
func runRankProcess() error {
	var start rankStart
	stdin := json.NewDecoder(os.Stdin)
	if err := stdin.Decode(&start); err != nil {
		return err
	}
	r, err := newRank(start.Config, start.Dir, start.Spec, os.Getpid())
	if err != nil {
		return err
	}
	r.exit = func(code int, sig syscall.Signal, asked bool) {
		if sig != 0 {
			signal.Reset(sig)
			syscall.Kill(os.Getpid(), sig)
			select {}
		}
		exit(code)
	}
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for s := range sigs {
			r.signal(s.(syscall.Signal))
		}
	}()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		exit(1) // the node is gone
	}()
	os.Stdout.Write([]byte("."))
	r.run()
	select {} // vanished
}
