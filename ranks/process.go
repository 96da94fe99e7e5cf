package ranks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/link"
	"dipls/ranks/wire"
)

const (
	// ackEvery bounds the output that is handled but not acknowledged. The process keeps 1 MiB, so one that prints fast gets an acknowledgement long
	// before it would have to wait for it.
	ackEvery = 256 << 10

	// wordGrace is how long to wait, after a connection has broken, for the node to tell how the process ended. An interpreter that has closed its
	// socket may still have a lot to tear down, which is slow on a busy machine.
	wordGrace = 5 * time.Second

	// maxEarly bounds what is kept of the output before somebody listens, and earlyTail how much of it an error shows.
	maxEarly  = 64 << 10
	earlyTail = 4 << 10
)

// Handler receives everything that belongs to one execution.
type Handler interface {
	// Happened is called by the process's reader, in the order of the socket. Output is acknowledged to the process when it returns, so a
	// handler that waits slows down that process, and no other. It must not wait for an answer of the same process.
	Happened(h Happening)
	// Done ends the execution. It is called exactly once, last, and perhaps before Execute returns. reply is nil if the process has died; then err is an
	// *ExitError.
	Done(reply *wire.ExecuteReply, err error)
}

// Process is one Python process that runs code: a rank or the local namespace.
//
// The reader of its link calls the handlers, and ends the process: when the connection ends, it waits for the node to tell how the process ended,
// delivers what the process had printed last, and tells every handler.
type Process struct {
	node   *Node
	pool   *Pool     // nil: the local namespace
	events *notifier // who is told of its state
	who    ranklist.Who
	name   string
	sock   string // its name on the wire and in the runtime directory
	key    []byte
	seed   *int64    // of its random generators; nil: none
	gpu    *host.GPU // that it was given, perhaps with others; nil: none

	groupTimeout time.Duration // as in [PoolSpec]
	columns      atomic.Int64  // of the reader's screen, as it was told last; 0: it was not
	log          *zap.Logger

	told chan struct{} // the node has told how the process ended; ending is set
	done chan struct{} // every handler has been told

	// The reader's: how many bytes of output have been handled, and acknowledged.
	seen, acked uint64

	mu       sync.Mutex
	id       host.Process
	hello    wire.ProcessHelloReply
	link     *link.Link // nil until connected
	traced   int        // what the trace calls the process
	state    State
	stopping bool                // we want it to end
	forced   bool                // it has had time to end, and has not
	farewell *wire.ShutdownReply // nil until it has come
	pending  []*execution        // in the order in which they were requested, and are run
	serving  int                 // other requests for the main thread that are not answered: see request
	ending   *ending             // how it ended, as the node tells
	moved    *wire.Surroundings  // what it has changed; nil: nothing
	carry    []byte              // goes along with the next request for its main thread: see [Pool.Carry]
	err      *ExitError          // set with a final state

	// background is called with bgMu held, which keeps its calls in order.
	bgMu       sync.Mutex
	background func(Happening)
	early      []Happening // that came before there was a background
	earlySize  int
}

// execution is an execute_request whose reply has not come.
type execution struct {
	id      string
	run     string // for the trace
	handler Handler
}

// ending is what the node tells about the end of a process.
type ending struct {
	err  *ExitError
	tail []wire.Tail
	data []byte // of tail
}

func newProcess(n *Node, pool *Pool, who ranklist.Who, sock string) *Process {
	name := who.String()
	if pool != nil && pool.many {
		name = ranklist.NameOn([]ranklist.Who{who}, func(int) string { return n.host.Name() })
	}
	events := n.events
	if pool != nil && pool.events != n.events {
		events = pool.events
		events.join()
	}
	return &Process{
		node:   n,
		events: events,
		pool:   pool,
		who:    who,
		name:   name,
		sock:   sock,
		key:    wire.NewKey(),
		log:    n.log.With(zap.String("process", name)),
		told:   make(chan struct{}),
		done:   make(chan struct{}),
	}
}

// PreparedRequest is an execute_request that is encoded once for many processes.
type PreparedRequest struct {
	content  []byte
	metadata []byte // nil: none
	run      string // for the trace
}

// Prepare encodes an execute_request.
func Prepare(req wire.ExecuteRequest) *PreparedRequest {
	content, err := json.Marshal(req)
	if err != nil {
		panic(err) // strings, booleans and a number cannot fail
	}
	return &PreparedRequest{content: content}
}

// Traced has the processes say in their replies when what happened, for the trace of [Options]. run names the run there.
func (r *PreparedRequest) Traced(run string) { r.metadata, r.run = wire.TraceWanted, run }

// Name is the process's name for people: "rank 3" or "local".
func (p *Process) Name() string { return p.name }

// Who is the process: a rank, or the local namespace.
func (p *Process) Who() ranklist.Who { return p.who }

// Seed is the seed of its random generators; nil if none was given.
func (p *Process) Seed() *int64 { return p.seed }

// GroupTimeout is how long its collectives wait for other ranks; 0 if that was not given.
func (p *Process) GroupTimeout() time.Duration { return p.groupTimeout }

// Host is the machine that the process runs on.
func (p *Process) Host() host.Host { return p.node.host }

// HostIfMany is the name of the machine of a rank whose pool is on several; "" otherwise.
func (p *Process) HostIfMany() string {
	if p.pool == nil || !p.pool.many {
		return ""
	}
	return p.node.host.Name()
}

// ID identifies the process on its host; zero before it is started.
func (p *Process) ID() host.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// PID is the process id.
func (p *Process) PID() int { return p.ID().PID }

// HostMemory is how many bytes of the host's memory the process takes: see [host.Host]. ok is false if that is not known, or the process has ended.
func (p *Process) HostMemory(ctx context.Context) (bytes int64, ok bool) {
	if p.State().Final() {
		return 0, false
	}
	return p.node.host.Memory(ctx, p.ID())
}

// Vitals are the process's vitals now; ok is false if they are not known, or the process has ended.
func (p *Process) Vitals(ctx context.Context) (v host.Vitals, ok bool) {
	if p.State().Final() {
		return host.Vitals{}, false
	}
	return p.node.host.Vitals(ctx, p.ID())
}

// Condition compares the process's vitals now with those of an earlier moment: see [host.Host].
func (p *Process) Condition(ctx context.Context, before, now host.Vitals, answered bool) host.Condition {
	return p.node.host.Condition(ctx, p.ID(), before, now, answered, p.said().IOThread)
}

// State is the process's state.
func (p *Process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// GPU is the GPU that a rank was given, perhaps with others; ok is false if it has none.
func (p *Process) GPU() (g host.GPU, ok bool) {
	if p.gpu == nil {
		return g, false
	}
	return *p.gpu, true
}

// Device is the device that the app has chosen, "cpu" or "cuda:0"; "" if it has not.
func (p *Process) Device() string { return p.said().Device }

// App is the process's app, such as "torch" or "none"; "" before it has joined.
func (p *Process) App() string { return p.said().App }

// said is what the process has told about itself, at hello and since.
func (p *Process) said() wire.ProcessHelloReply {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hello
}

// Execute queues one execution and returns its id at once.
func (p *Process) Execute(req wire.ExecuteRequest, h Handler) (id string) {
	return p.ExecutePrepared(Prepare(req), h)
}

// ExecutePrepared is Execute for a request that goes to many processes.
func (p *Process) ExecutePrepared(req *PreparedRequest, h Handler) (id string) {
	p.mu.Lock()
	if !p.state.Final() && p.link != nil {
		// If the link has ended already, finish is about to be called, and tells this handler, too.
		id, _ = p.link.PostWith(req.metadata, wire.TypeExecuteRequest, p.laden(req.content))
		p.pending = append(p.pending, &execution{id, req.run, h})
		p.busy()
		p.mu.Unlock()
		return id
	}
	err := p.endError()
	p.mu.Unlock()
	h.Done(nil, err)
	return ""
}

// SetBackground sets the function that receives what is printed between executions. It is called like [Handler.Happened].
// The first one gets what was printed before, during this call.
func (p *Process) SetBackground(f func(Happening)) {
	p.bgMu.Lock()
	defer p.bgMu.Unlock()
	p.background = f
	if f == nil {
		return
	}
	early := p.early
	p.early = nil
	for _, h := range early {
		f(h)
	}
}

// Interrupt interrupts the execution id, or whatever runs if id is "". An execution that still waits is aborted. Interrupt returns when the process has
// received it, which may be long before the execution ends.
func (p *Process) Interrupt(ctx context.Context, id string) error {
	p.mu.Lock()
	if id == "" || p.find(id) != nil {
		p.interrupting()
	}
	p.mu.Unlock()
	return p.call(ctx, wire.TypeInterruptRequest, wire.InterruptRequest{Parent: id}, nil)
}

// interrupting notes that an interrupt was sent. p.mu is held.
func (p *Process) interrupting() {
	if p.state == Busy {
		p.setState(Interrupting)
	}
}

// Stack asks for the stacks of all threads, also while busy.
func (p *Process) Stack(ctx context.Context) (*wire.StackReply, error) {
	reply := new(wire.StackReply)
	if err := p.call(ctx, wire.TypeStackRequest, struct{}{}, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// Status asks the process what it is doing, also while busy.
func (p *Process) Status(ctx context.Context) (*wire.ProcessStatus, error) {
	reply := new(wire.ProcessStatus)
	if err := p.call(ctx, wire.TypeStatusRequest, struct{}{}, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// Names asks which of names are bound in the process's namespace, also while busy.
func (p *Process) Names(ctx context.Context, names []string) ([]string, error) {
	reply := new(wire.NamesReply)
	if err := p.call(ctx, wire.TypeNamesRequest, wire.NamesRequest{Names: names}, reply); err != nil {
		return nil, err
	}
	return reply.Names, nil
}

// Groups asks the process how far it is with the collectives of its process groups, also while busy.
func (p *Process) Groups(ctx context.Context) (*wire.GroupsReply, error) {
	reply := new(wire.GroupsReply)
	if err := p.call(ctx, wire.TypeGroupsRequest, struct{}{}, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// TellHang has the process tell its app about a hang, an event as JSON, also while busy. It does not wait.
func (p *Process) TellHang(event []byte) { p.post(wire.TypeHang, event) }

// TellColumns tells the process how wide the reader's screen is now, also while busy, unless it has been told so. It does not wait.
func (p *Process) TellColumns(columns int) {
	if p.columns.Swap(int64(columns)) == int64(columns) {
		return
	}
	content, err := json.Marshal(wire.Columns{Columns: columns})
	if err != nil {
		panic(err) // a number cannot fail
	}
	p.post(wire.TypeColumns, content)
}

// Connections asks the process which connections its process groups have opened, also while busy.
func (p *Process) Connections(ctx context.Context) ([]wire.Connection, error) {
	reply := new(wire.ConnectionsReply)
	if err := p.call(ctx, wire.TypeConnectionsRequest, struct{}{}, reply); err != nil {
		return nil, err
	}
	return reply.Connections, nil
}

// Break makes the process give up whatever waits in its process groups, also while busy. It is for all ranks of a pool at once, and
// [Process.Mend] must follow.
func (p *Process) Break(ctx context.Context, req wire.BreakRequest) (*wire.BreakReply, error) {
	reply := new(wire.BreakReply)
	if err := p.call(ctx, wire.TypeBreakRequest, req, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// Done is closed when the process has ended and every handler has been told.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how the process ended, an *ExitError; nil while it lives.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.state.Final() {
		return nil
	}
	return p.endError()
}

// endError keeps a nil *ExitError from becoming an error. p.mu is held.
func (p *Process) endError() error {
	if p.err == nil {
		return fmt.Errorf("%s is %v", p.name, p.state)
	}
	return p.err
}

// call makes a request that is answered at once. If the process ends meanwhile, the error tells how.
func (p *Process) call(ctx context.Context, msgType string, request, reply any) error {
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l == nil {
		return fmt.Errorf("%s is not connected", p.name)
	}
	err := l.Call(ctx, msgType, request, reply)
	if errors.Is(err, link.ErrEnded) {
		return p.end(ctx, err)
	}
	return err
}

// end waits until the process has ended and all handlers have been told, and gives its error. If ctx ends before, it gives otherwise.
func (p *Process) end(ctx context.Context, otherwise error) error {
	select {
	case <-p.done:
		return p.Err()
	case <-ctx.Done():
		return otherwise
	}
}

// connect connects to the process and says hello. It returns when the app has joined.
func (p *Process) connect(ctx context.Context) error {
	l, err := p.node.open(ctx, p.sock, p.name, p.key, p.log)
	if err != nil {
		return p.explain(ctx, fmt.Errorf("connect to %s: %w", p.name, err))
	}
	p.mu.Lock()
	if p.ending != nil {
		p.mu.Unlock()
		l.Close()
		<-p.done
		return p.Err()
	}
	p.link = l
	p.beginTrace()
	l.Start(p.message, p.linkEnded)
	p.mu.Unlock()

	var hello wire.ProcessHelloReply
	if err := p.call(ctx, wire.TypeHello, wire.Hello{Protocol: wire.ProtocolVersion}, &hello); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hello = hello
	if p.state == Starting {
		p.setState(Ready)
	}
	return nil
}

// explain replaces the error of a failure to connect, if the process has died, by how it died.
func (p *Process) explain(ctx context.Context, err error) error {
	select {
	case <-p.done:
		return p.Err()
	case <-ctx.Done():
		return err
	case <-time.After(p.node.wordGrace):
		return err
	}
}

// message is called by the reader.
func (p *Process) message(m *wire.Message) {
	switch m.Header.MsgType {
	case wire.TypeStream:
		p.printed(m)
	case wire.TypeExecuteReply:
		p.executed(m)
	case wire.TypeSurroundings:
		p.hasMoved(m)
	case wire.TypeShutdownReply:
		p.shutdownReply(m)
	case wire.TypePushReply, wire.TypePullReply, wire.TypeAppReply, wire.TypeMendReply:
		p.answeredLate(m)
	case wire.TypeInterruptReply, wire.TypeStatus, wire.TypeStackReply, wire.TypeNamesReply, wire.TypeGroupsReply, wire.TypeHelloReply,
		wire.TypeConnectionsReply, wire.TypeBreakReply, wire.TypeCheckReply, wire.TypeCompleteReply, wire.TypeInspectReply,
		wire.TypeVariablesReply, wire.TypeTableReply:
		// The answer to a request that nobody waits for.
	default:
		h, known := happeningOf(m)
		if !known {
			p.log.Warn("dropped a message of a type that is not known", zap.String("type", m.Header.MsgType))
			return
		}
		p.deliver(m.ParentID, h, len(m.Content))
	}
}

// printed takes a stream message.
func (p *Process) printed(m *wire.Message) {
	s, err := wire.ParseStream(m.Content)
	if err != nil || len(m.Buffers) != 1 {
		p.log.Warn("dropped a stream message", zap.Int("buffers", len(m.Buffers)), zap.Error(err))
		return
	}
	p.stream(m.ParentID, s, m.Buffers[0])
}

// stream delivers what is new in a piece of output.
func (p *Process) stream(parent string, s wire.Stream, data []byte) {
	size := uint64(len(data))
	if s.Seq < size {
		p.log.Warn("dropped a stream message that counts fewer bytes than it has", zap.Uint64("seq", s.Seq), zap.Uint64("size", size))
		return
	}
	if s.Seq <= p.seen {
		return
	}
	switch begin := s.Seq - size; {
	case begin < p.seen:
		data = data[p.seen-begin:]
	case begin > p.seen:
		p.log.Warn("output is missing", zap.Uint64("from", p.seen), zap.Uint64("to", begin))
	}
	p.seen = s.Seq
	p.deliver(parent, Output{s.Name, data}, len(data))
	if p.seen-p.acked >= ackEvery {
		p.acknowledge()
	}
}

// acknowledge tells the process that its output has been handled.
func (p *Process) acknowledge() {
	if p.acked == p.seen || p.link == nil {
		return
	}
	p.acked = p.seen
	content := append(make([]byte, 0, 32), `{"seq":`...)
	content = append(strconv.AppendUint(content, p.seen, 10), '}')
	p.link.Post(wire.TypeStreamAck, content)
}

// deliver passes a happening of a size to its execution, or to the background.
func (p *Process) deliver(parent string, h Happening, size int) {
	p.mu.Lock()
	e := p.find(parent)
	p.mu.Unlock()
	if e != nil {
		e.handler.Happened(h)
		return
	}
	p.bgMu.Lock()
	defer p.bgMu.Unlock()
	if p.background != nil {
		p.background(h)
		return
	}
	if p.earlySize += size; p.earlySize <= maxEarly {
		p.early = append(p.early, h)
	}
}

// find gives the execution with an id; nil if there is none, or it has ended. p.mu is held.
func (p *Process) find(id string) *execution {
	for _, e := range p.pending { // rarely more than two
		if e.id == id {
			return e
		}
	}
	return nil
}

// executed ends an execution.
func (p *Process) executed(m *wire.Message) {
	reply, err := wire.ParseExecuteReply(m.Content)
	if err != nil {
		err = fmt.Errorf("%s: content of %s: %w", p.name, m.Header.MsgType, err)
	}
	p.acknowledge()

	p.mu.Lock()
	e := p.find(m.ParentID)
	if e != nil {
		p.pending = slices.DeleteFunc(p.pending, func(x *execution) bool { return x == e })
		p.served()
	}
	p.mu.Unlock()
	if e == nil {
		p.log.Warn("a reply to a request that nobody made", zap.String("parent", m.ParentID))
		return
	}
	if m.Metadata != nil {
		p.traceExecution(e, m.Metadata)
	}
	e.handler.Done(reply, err)
}

// busy notes that the main thread got something to do. p.mu is held.
func (p *Process) busy() {
	if p.state == Ready {
		p.setState(Busy)
	}
}

// served notes that the main thread is done with one request. p.mu is held.
func (p *Process) served() {
	switch {
	case p.idle() && (p.state == Busy || p.state == Interrupting):
		p.setState(Ready)
	case p.state == Interrupting:
		p.setState(Busy)
	}
}

// idle reports whether the main thread has nothing to do. p.mu is held.
func (p *Process) idle() bool { return len(p.pending) == 0 && p.serving == 0 }

// tell tells how the process ended. Only the first call counts.
func (p *Process) tell(e *ending) {
	p.mu.Lock()
	if p.ending != nil {
		p.mu.Unlock()
		return
	}
	p.ending = e
	if p.id.PID == 0 {
		p.id.PID = e.err.PID
	}
	close(p.told)
	l := p.link
	p.mu.Unlock()
	if l == nil {
		p.finish(e) // no reader will
		return
	}
	l.Drain()
}

// linkEnded is called by the reader, last, when the connection has ended, before or after the node's message about the process.
func (p *Process) linkEnded(cause error) {
	var lost error
	if link.Nonsense(cause) {
		lost = cause // it has broken the protocol, so it may still live
		p.signal("SIGKILL")
	}
	e := p.word(p.node.wordGrace)
	for e == nil && p.isStopping() {
		e = p.word(p.node.wordGrace) // the shutdown ladder will end it, and we will be told
	}
	if e == nil && lost == nil {
		lost = cause // the node has told nothing, so it lives, but cannot be reached
		p.signal("SIGKILL")
	}
	if e == nil {
		e = p.word(p.node.wordGrace)
	}
	if e == nil {
		e = new(ending)
		p.destroy(wordGrace)
	}
	if lost != nil {
		e = &ending{err: &ExitError{Name: p.name, Rank: p.rankPtr(), PID: p.PID(), Lost: lost}, tail: e.tail, data: e.data}
	}
	p.finish(e)
}

// word waits until the node tells how the process ended; nil if it does not in time.
func (p *Process) word(timeout time.Duration) *ending {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.told:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.ending
	case <-timer.C:
		return nil
	}
}

func (p *Process) isStopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

// finish ends the process for its handlers, its pool and its node. It is called once: by the reader, or by tell if there is no reader.
func (p *Process) finish(e *ending) {
	p.deliverTail(e)

	p.mu.Lock()
	pending := p.pending
	p.pending = nil
	final := Dead
	if p.stopping {
		final = Stopped
		e.err.Asked = true
	}
	if p.state == Starting && e.err.Detail == "" {
		e.err.Detail = p.earlyText()
	}
	p.err = e.err
	p.setState(final)
	p.mu.Unlock()

	p.log.Debug("ended", zap.Stringer("state", final), zap.Error(e.err))
	for _, x := range pending {
		x.handler.Done(nil, e.err)
	}
	p.node.unregister(p)
	close(p.done)
	if p.pool != nil {
		p.pool.rankDone()
	}
	if p.events != p.node.events {
		p.events.leave()
	}
}

// deliverTail delivers what the process had printed and nobody had read.
func (p *Process) deliverTail(e *ending) {
	p.mu.Lock()
	var parent string
	if len(p.pending) > 0 {
		parent = p.pending[0].id
	}
	p.mu.Unlock()
	data := e.data
	for _, t := range e.tail {
		if t.Size < 0 || t.Size > len(data) {
			p.log.Warn("tail of the output is short", zap.Int("size", t.Size), zap.Int("have", len(data)))
			return
		}
		p.stream(parent, wire.Stream{Name: t.Name, Seq: t.Seq}, data[:t.Size:t.Size])
		data = data[t.Size:]
	}
}

// earlyText is the last part of what was printed before anybody listened.
func (p *Process) earlyText() string {
	p.bgMu.Lock()
	defer p.bgMu.Unlock()
	var b strings.Builder
	for _, h := range p.early {
		if output, ok := h.(Output); ok {
			b.Write(output.Data)
		}
	}
	text := b.String()
	if n := len(text) - earlyTail; n > 0 {
		text = text[n:]
	}
	return strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
}

// rankPtr is its rank as messages and errors have it: nil for the local namespace.
func (p *Process) rankPtr() *int {
	if rank, ok := p.who.Rank(); ok {
		return &rank
	}
	return nil
}

// stop notes that we want the process to end, and reports whether it still lives.
func (p *Process) stop() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	return !p.state.Final()
}

// setState makes a transition and tells it. p.mu is held.
func (p *Process) setState(to State) {
	from := p.state
	if !legal(from, to) {
		p.log.Error("illegal transition", zap.Stringer("from", from), zap.Stringer("to", to), zap.Stack("stack"))
		return
	}
	p.state = to
	change := StateChange{Process: p, Pool: p.pool, From: from, To: to}
	if to == Dead {
		change.Err = p.err
	}
	p.events.post(change)
	if p.pool != nil {
		p.pool.rankChanged(p, from, to)
	}
}
