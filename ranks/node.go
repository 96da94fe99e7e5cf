package ranks

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/internal/ranklist"
	"dipls/internal/trace"
	"dipls/ranks/host"
	"dipls/ranks/link"
	"dipls/ranks/wire"
)

// nodeLadder is how long a node may take to end once all its processes have ended.
var nodeLadder = Ladder{Ask: 300 * time.Millisecond, Interrupt: 100 * time.Millisecond}

// nodeName is the node's name for people and on the wire.
const nodeName = "node"

// ErrClosed is the error of a node's methods after Close.
var ErrClosed = errors.New("the node is closed")

// StartMethod is how processes are started.
type StartMethod uint8

// The start methods.
const (
	StartAuto  StartMethod = iota // fork from the nursery if that is safe, else spawn
	StartFork                     // fork, or fail
	StartSpawn                    // a fresh interpreter each
)

var startNames = [...]string{StartAuto: "auto", StartFork: "fork", StartSpawn: "spawn"}

// ParseStartMethod is the inverse of String.
func ParseStartMethod(s string) (StartMethod, error) {
	if i := slices.Index(startNames[:], s); i >= 0 {
		return StartMethod(i), nil
	}
	return 0, fmt.Errorf("unknown start method %q: want auto, fork or spawn", s)
}

func (m StartMethod) String() string {
	if int(m) < len(startNames) {
		return startNames[m]
	}
	return fmt.Sprintf("StartMethod(%d)", uint8(m))
}

// Options say how to run a node.
type Options struct {
	Python    string            // path of the interpreter
	Dir       string            // working directory of the processes; "" is the server's
	Script    string            // path of the file whose cells will run, "" if none
	Preload   []string          // modules that the nursery imports besides torch
	Start     StartMethod       // how ranks start
	Seed      Seed              // of the local namespace
	ExtraPath []string          // directories for the end of sys.path: our private packages
	Plain     bool              // IPython writes no colours
	Env       []string          // environment of the node, in the form of [os.Environ]; nil is the host's
	Log       *zap.Logger       // nil: none
	Notice    func(string)      // gets sentences for the user about what was started; must not wait; nil: nobody does
	OnState   func(StateChange) // gets every change of state, in order, one at a time; must not wait for Close or StartPool; nil: nobody does
	OnLoss    func(text string) // gets sentences about what was lost when processes were ended, such as threads; nil: nobody does
	Ladder    Ladder            // how Close ends what still lives; the zero value is DefaultLadder
	Timeout   time.Duration     // for the start of the node, and of the local namespace; 0 is 60 s
	Command   []string          // command line instead of PYTHON AGENT_DIR: tests run a fake agent
	Trace     *trace.Tracer     // nil: none
	Host      host.Host         // the machine that it runs on; nil is this one
}

// Node is one running node process.
//
// It ends when its process does, whoever has ended that. The goroutine supervise then has the host kill what has outlived the node, ends the node's
// processes for those who use them, and closes done. Close only starts this and waits.
type Node struct {
	opts   Options
	log    *zap.Logger
	host   host.Host
	proc   host.NodeProcess
	link   *link.Link
	info   host.PythonInfo
	events *notifier

	wordGrace         time.Duration // these are the constants of that name, shorter in tests
	interruptPatience time.Duration

	ctx    context.Context // ends with the node, or when Close begins; then starts are given up
	cancel context.CancelCauseFunc

	exited chan struct{} // the process has ended; exit is set
	exit   *ExitError
	done   chan struct{} // nothing is left

	preload semaphore // guards loaded and apps
	loaded  *wire.PreloadReply
	apps    []string // whose modules the nursery has imported, or tried to

	localSem semaphore // held while the local namespace starts
	spawnSem semaphore // held while a spawn_request is unanswered: the node takes one at a time

	mu         sync.Mutex
	closing    bool                // no more processes are registered
	procs      map[string]*Process // that live or are being started, by name on the wire
	generation int                 // of the last pool
	local      *Process            // nil until first asked for
}

// semaphore is a lock whose wait a context can end.
type semaphore chan struct{}

func (s semaphore) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s semaphore) release() { <-s }

// StartNode starts a node. ctx bounds the start only. If the interpreter lacks packages that the agent needs, the error is a
// *[host.MissingPackagesError].
func StartNode(ctx context.Context, o Options) (_ *Node, err error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Timeout == 0 {
		o.Timeout = 60 * time.Second
	}
	if o.Ladder == (Ladder{}) {
		o.Ladder = DefaultLadder
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, &StartTimeoutError{o.Timeout})
	defer cancel()

	if o.Host == nil {
		o.Host = host.Local{}
	}
	if o.Env == nil {
		o.Env = o.Host.Environ()
	}
	key := wire.NewKey()
	proc, err := o.Host.StartNode(ctx, host.NodeSpec{
		Python:  o.Python,
		Command: o.Command,
		Dir:     o.Dir,
		Env:     nodeEnv(o.Env),
		Line: wire.StartLine{
			Protocol:  wire.ProtocolVersion,
			Name:      nodeName,
			Key:       hex.EncodeToString(key),
			Script:    wire.Path(o.Script),
			ExtraPath: append([]string{}, o.ExtraPath...), // [] rather than null
			Plain:     o.Plain,
			LogLevel:  logLevel(o.Log),
		},
		Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	n := &Node{
		opts:   o,
		log:    o.Log,
		host:   o.Host,
		proc:   proc,
		events: newNotifier(o.OnState, o.Log),

		wordGrace:         wordGrace,
		interruptPatience: interruptPatience,

		exited:   make(chan struct{}),
		done:     make(chan struct{}),
		preload:  make(semaphore, 1),
		localSem: make(semaphore, 1),
		spawnSem: make(semaphore, 1),
		procs:    make(map[string]*Process),
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.link, err = n.open(ctx, nodeName, nodeName, key, n.log)
	if err != nil {
		proc.Kill()
		proc.Wait()
		proc.CleanUp(nil)
		n.events.leave()
		n.cancel(err)
		return nil, fmt.Errorf("connect to the node: %w", err)
	}
	n.link.Start(n.message, n.linkEnded)
	go n.wait()
	go n.supervise()

	var hello wire.NodeHelloReply
	err = n.link.Call(ctx, wire.TypeHello, wire.Hello{Protocol: wire.ProtocolVersion}, &hello)
	if err == nil && hello.Protocol != wire.ProtocolVersion {
		err = fmt.Errorf("node speaks protocol %d, not %d", hello.Protocol, wire.ProtocolVersion)
	}
	if err != nil {
		proc.Kill()
		<-n.done
		return nil, fmt.Errorf("start the node: %w", n.explain(err))
	}
	n.info = host.PythonInfo{Python: o.Python, Version: hello.Python, Packages: hello.Packages}
	return n, nil
}

// open begins the conversation with the process that listens on a socket.
func (n *Node) open(ctx context.Context, sock, name string, key []byte, log *zap.Logger) (*link.Link, error) {
	nc, err := n.proc.Dial(ctx, sock)
	if err != nil {
		return nil, err
	}
	return link.Open(ctx, nc, name, key, log)
}

// nodeEnv is the environment of a node. It leaves out what a launcher around dipls has set for a rank of its own: modules that the node imports
// would take that for theirs, and torch would look for that launcher's store.
func nodeEnv(given []string) []string {
	return slices.DeleteFunc(slices.Clone(given), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains(launcherEnv, name)
	})
}

// logLevel is the lowest level that a logger writes, in the agent's words.
func logLevel(log *zap.Logger) string {
	if level := log.Level(); level <= zap.ErrorLevel {
		return level.String()
	}
	return zap.ErrorLevel.String()
}

// Host is the machine that the node runs on.
func (n *Node) Host() host.Host { return n.host }

// Info describes the interpreter.
func (n *Node) Info() host.PythonInfo {
	i := n.info
	i.Packages = maps.Clone(i.Packages)
	return i
}

// PID is the node's process id.
func (n *Node) PID() int { return n.proc.Process().PID }

// Exited is closed when the node's process has ended. Nothing more can be started on it then. What it has left is gone when Done is closed.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// Done is closed when the node has ended and nothing is left of it.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err tells how the node ended, an *ExitError; nil while it lives, and if Close has ended it.
func (n *Node) Err() error {
	select {
	case <-n.done:
		if n.exit.Asked {
			return nil
		}
		return n.exit
	default:
		return nil
	}
}

// Local returns the local namespace. The first call starts it. It may have died since then: see [Node.RestartLocal].
func (n *Node) Local(ctx context.Context) (*Process, error) {
	if err := n.localSem.acquire(ctx); err != nil {
		return nil, fmt.Errorf("start the local namespace: %w", err)
	}
	defer n.localSem.release()
	return n.localLocked(ctx)
}

// RestartLocal replaces the local namespace by a fresh one.
func (n *Node) RestartLocal(ctx context.Context) error {
	if err := n.localSem.acquire(ctx); err != nil {
		return fmt.Errorf("restart the local namespace: %w", err)
	}
	defer n.localSem.release()
	n.mu.Lock()
	old := n.local
	n.mu.Unlock()
	if old != nil {
		if err := end(ctx, []*Process{old}, n.opts.Ladder); err != nil {
			return fmt.Errorf("restart the local namespace: %w", err)
		}
		n.mu.Lock()
		n.local = nil
		n.mu.Unlock()
	}
	_, err := n.localLocked(ctx)
	return err
}

// localLocked is Local with localSem held.
func (n *Node) localLocked(ctx context.Context) (*Process, error) {
	n.mu.Lock()
	p := n.local
	n.mu.Unlock()
	if p != nil {
		return p, nil
	}
	ctx, cancel := startContext(ctx, n.opts.Timeout, n)
	defer cancel()
	p = newProcess(n, nil, ranklist.Local, "local")
	p.seed = n.opts.Seed.Of(p.who)
	spec := wire.SpawnProcess{Name: p.sock, Key: p.keyHex(), Env: map[string]string{}, App: "none", Seed: p.seed}
	_, err := n.spawn(ctx, []*Process{p}, []wire.SpawnProcess{spec}, nil)
	if err == nil {
		if err = p.connect(ctx); err != nil {
			discard([]*Process{p})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start the local namespace: %w", err)
	}
	n.mu.Lock()
	n.local = p
	n.mu.Unlock()
	return p, nil
}

// startContext is ctx with a timeout, which also ends when one of the nodes does.
func startContext(ctx context.Context, timeout time.Duration, nodes ...*Node) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &StartTimeoutError{timeout})
	ctx, cancelCause := context.WithCancelCause(ctx)
	stops := make([]func() bool, len(nodes))
	for i, n := range nodes {
		stops[i] = context.AfterFunc(n.ctx, func() { cancelCause(context.Cause(n.ctx)) })
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancelCause(nil)
		cancel()
	}
}

// spawn has the node start processes, all of them or none. They are registered before the request is sent, so it is certain that they will be ended.
// meet says where ranks meet; nil if there are none.
func (n *Node) spawn(ctx context.Context, procs []*Process, specs []wire.SpawnProcess, meet *wire.Rendezvous) (*wire.SpawnReply, error) {
	if err := n.register(procs); err != nil {
		forgo(procs)
		return nil, err
	}
	reply := new(wire.SpawnReply)
	err := n.spawnSem.acquire(ctx)
	if err != nil {
		discard(procs)
		return nil, err
	}
	defer n.spawnSem.release()
	n.rouse()
	if err := n.proc.Renew(ctx); err != nil {
		discard(procs)
		return nil, n.explain(err)
	}
	err = n.link.Call(ctx, wire.TypeSpawnRequest, wire.SpawnRequest{Method: n.opts.Start.String(), Rendezvous: meet, Processes: specs}, reply)
	if err == nil && len(reply.Processes) != len(procs) {
		err = fmt.Errorf("node: started %d processes instead of %d", len(reply.Processes), len(procs))
	}
	if err != nil {
		discard(procs)
		return nil, n.explain(err)
	}
	for _, text := range reply.Notices {
		if n.opts.Notice != nil {
			n.opts.Notice(text)
		}
	}
	byName := make(map[string]wire.SpawnedProcess, len(procs))
	for _, s := range reply.Processes {
		byName[s.Name] = s
	}
	for _, p := range procs {
		p.mu.Lock()
		p.id = host.Process{PID: byName[p.sock].PID, Start: byName[p.sock].StartTime}
		p.mu.Unlock()
	}
	return reply, nil
}

// explain replaces an error that comes from the end of the node by how that ended.
func (n *Node) explain(err error) error {
	if !errors.Is(err, link.ErrEnded) && !errors.Is(err, host.ErrEnded) {
		return err
	}
	<-n.exited
	if n.exit.Asked {
		return ErrClosed
	}
	return n.exit
}

// register adds processes to those of the node.
func (n *Node) register(procs []*Process) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return context.Cause(n.ctx)
	}
	for _, p := range procs {
		n.procs[p.sock] = p
	}
	return nil
}

func (n *Node) unregister(p *Process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.procs[p.sock] == p {
		delete(n.procs, p.sock)
	}
}

// signal has the node signal the process. It does not wait for the answer.
func (p *Process) signal(signal string) {
	p.node.link.Post(wire.TypeSignalRequest, signalRequest(p, signal))
}

func signalRequest(p *Process, signal string) []byte {
	content, err := json.Marshal(wire.SignalRequest{Name: p.sock, Signal: signal})
	if err != nil {
		panic(err) // two strings cannot fail
	}
	return content
}

// message is called by the reader of the node's link. It must not wait for any process: others may wait for what comes next.
func (n *Node) message(m *wire.Message) {
	switch m.Header.MsgType {
	case wire.TypeExited:
		n.processExited(m)
	case wire.TypeSignalReply, wire.TypeShutdownReply, wire.TypeSpawnReply, wire.TypePreloadReply, wire.TypeHelloReply:
		// The answer to a request that nobody waits for.
	default:
		n.log.Warn("unexpected message from the node", zap.String("type", m.Header.MsgType))
	}
}

func (n *Node) processExited(m *wire.Message) {
	var ev wire.Exited
	if err := json.Unmarshal(m.Content, &ev); err != nil {
		n.log.Warn("content of exited", zap.Error(err))
		return
	}
	n.mu.Lock()
	p := n.procs[ev.Name]
	n.mu.Unlock()
	if p == nil {
		n.log.Debug("an unknown process has ended", zap.String("name", ev.Name), zap.Int("pid", ev.PID))
		return
	}
	if pid := p.PID(); pid != 0 && pid != ev.PID {
		n.log.Warn("exited with another pid", zap.String("name", ev.Name), zap.Int("pid", ev.PID), zap.Int("want", pid))
		return
	}
	e := &ending{
		err: &ExitError{
			Name: p.name, Rank: p.rankPtr(), PID: ev.PID,
			Exit: host.Exit{Code: ev.Code, Signal: ev.Signal, OOM: ev.OOM}, Asked: ev.Asked,
		},
		tail: ev.Tail,
	}
	if len(m.Buffers) > 0 {
		e.data = m.Buffers[0]
	}
	p.tell(e)
}

// linkEnded is called when the node's link has ended. A node without its socket is useless.
func (n *Node) linkEnded(cause error) {
	select {
	case <-n.exited:
	case <-time.After(n.wordGrace):
		n.log.Error("node lives but its connection has ended; killing it", zap.Error(cause))
		n.proc.Kill()
	}
}

// wait waits for the end of the node's process, and notes how it ended.
func (n *Node) wait() {
	ended := n.proc.Wait()
	exit := &ExitError{Name: nodeName, PID: ended.PID, Exit: ended.Exit, Lost: ended.Failed}
	if ended.Guard {
		exit.Name = "the node's guard"
	}
	n.mu.Lock()
	if exit.Asked = n.closing; !exit.Asked {
		exit.Detail = n.proc.Output()
		n.shut(exit)
	}
	n.mu.Unlock()
	n.log.Debug("node ended", zap.Bool("asked", exit.Asked), zap.Error(exit))
	n.exit = exit
	close(n.exited)
}

// shut ends all starts, and lets no new ones begin. n.mu is held.
func (n *Node) shut(why error) {
	n.closing = true
	n.cancel(why)
}

// supervise waits for the end of the node's process, and makes sure that nothing outlives it.
func (n *Node) supervise() {
	<-n.exited
	n.link.Drain() // the last "exited" messages
	<-n.link.Done()
	n.mu.Lock()
	procs := slices.Collect(maps.Values(n.procs))
	n.mu.Unlock()
	var started []host.Process
	for _, p := range procs {
		started = append(started, p.ID())
	}
	n.proc.CleanUp(started)
	for _, p := range procs {
		p.tell(&ending{err: &ExitError{Name: p.name, Rank: p.rankPtr(), PID: p.PID(), Node: n.exit}})
	}
	for _, p := range procs {
		<-p.done
		if l := p.link; l != nil {
			<-l.Done()
		}
	}
	n.events.leave()
	close(n.done)
}

// Close ends the node with everything that it runs, and has its directory removed. When ctx ends, what still lives is killed at once. Every call
// waits until nothing is left. It gives up, with an error, only if a handler does not return.
func (n *Node) Close(ctx context.Context) error {
	n.rouse()
	n.mu.Lock()
	n.shut(ErrClosed)
	procs := slices.Collect(maps.Values(n.procs))
	n.mu.Unlock()

	l := n.opts.Ladder
	var err error
	if slices.ContainsFunc(procs, func(p *Process) bool { return p.PID() != 0 }) {
		err = end(ctx, procs, l)
		l.Ask, l.Interrupt = min(l.Ask, nodeLadder.Ask), min(l.Interrupt, nodeLadder.Interrupt)
	} else {
		// No process lives that could be ended in order, and a node that imports modules does not react.
		for _, p := range procs {
			p.stop()
		}
		l.Ask, l.Interrupt = 0, 0
	}
	n.endNode(ctx, l)
	if waitAll(context.WithoutCancel(ctx), n.opts.Ladder.last(), n.done) {
		return nil // processes that would not end have ended with the node
	}
	return errors.Join(err, fmt.Errorf("node (pid %d) has ended, but a handler of its processes does not return", n.PID()))
}

// rouse continues the node if a signal has stopped it: it has to start processes, and to tell how they end.
func (n *Node) rouse() { n.proc.Resume() }

// endNode ends the node's process: it is asked to end, and killed with everything that is left if it does not.
func (n *Node) endNode(ctx context.Context, l Ladder) {
	n.link.Post(wire.TypeShutdownRequest, []byte("{}"))
	steps := []struct {
		wait time.Duration
		act  func()
	}{
		{l.Ask, func() {}},
		{l.Interrupt, n.proc.HangUp},
	}
	for _, s := range steps {
		if s.wait == 0 || ctx.Err() != nil {
			continue
		}
		s.act()
		if waitAll(ctx, s.wait, n.exited) {
			return
		}
	}
	n.proc.Kill()
	<-n.exited
}
