package fakerank

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// maxUnacknowledged is the output that a process keeps before it stops in write.
const maxUnacknowledged = 1 << 20

// rank is one rank or local namespace.
type rank struct {
	config Config
	spec   wire.SpawnProcess
	pid    int
	l      net.Listener
	exit   func(code int, sig syscall.Signal, asked bool)

	peer     *peer
	requests chan *wire.Message // for the main goroutine
	dead     chan struct{}      // closed by die

	mu        sync.Mutex
	cond      *sync.Cond // acknowledged, interrupted, or dead
	isDead    bool
	muted     bool
	stubborn  bool
	running   string          // msg_id
	interrupt bool            // the running request is to be interrupted
	struck    int             // how often it was
	aborted   map[string]bool // queued executions that are not to run
	queued    []string
	seq       uint64 // bytes printed
	acked     uint64
	kept      []piece // not acknowledged
	last      []byte  // printed last
	count     int

	app      string
	bound    []wire.Object           // variables, by name
	pushed   []string                // variables, in that order
	waiting  []string                // for push_commit
	held     map[string]bool         // pull_requests whose payload has not been released
	commands map[int]json.RawMessage // replies to what was asked
	asked    int                     // how often it has asked for a line
	typed    *wire.InputReply        // the answer; nil: it has not come
	at       place
	open     func(gate string) bool // nil: there are no gates

	args      []string
	columns   int
	inherited []byte // surroundings: those of the start, and what has come with requests
}

type piece struct {
	name string
	seq  uint64
	data []byte
}

func newRank(c Config, dir string, spec wire.SpawnProcess, pid int) (*rank, error) {
	l, err := net.Listen("unix", filepath.Join(dir, spec.Name))
	if err != nil {
		return nil, err
	}
	r := &rank{
		config: c, spec: spec, pid: pid, l: l,
		requests: make(chan *wire.Message, 1024),
		dead:     make(chan struct{}),
		aborted:  make(map[string]bool),
		app:      spec.App,
		held:     make(map[string]bool),
		commands: make(map[int]json.RawMessage),
	}
	if r.app == "" {
		r.app = "torch"
	}
	r.cond = sync.NewCond(&r.mu)
	if spec.Surroundings != nil {
		r.inherited, _ = json.Marshal(spec.Surroundings)
	}
	r.stubborn = isIn(c.Stubborn, spec.Rank)
	return r, nil
}

// of is what a table has for a rank; there is nothing for the local namespace, which is nil.
func of[T any](table map[int]T, rank *int) (entry T, ok bool) {
	if rank != nil {
		entry, ok = table[*rank]
	}
	return entry, ok
}

// isIn reports whether a rank is in a list; the local namespace, nil, never is.
func isIn(list []int, rank *int) bool { return rank != nil && slices.Contains(list, *rank) }

// run serves the connection: this goroutine answers what is answered at once, another one plays the main thread.
func (r *rank) run() {
	key, err := wire.ParseKey(r.spec.Key)
	if err != nil {
		panic(err)
	}
	p, err := accept(r.l, key)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.peer = p
	died := r.isDead
	r.mu.Unlock()
	if died { // while they shook hands
		p.nc.Close()
		return
	}
	go r.main()
	for {
		m, err := r.peer.receive()
		if err != nil {
			return
		}
		r.mu.Lock()
		muted := r.muted
		r.mu.Unlock()
		if !muted {
			r.receive(m)
		}
	}
}

func (r *rank) receive(m *wire.Message) {
	ok := wire.Status{Status: "ok"}
	switch m.Header.MsgType {
	case wire.TypeStreamAck:
		var ack wire.StreamAck
		json.Unmarshal(m.Content, &ack)
		r.acknowledge(ack.Seq)
	case wire.TypeInterruptRequest:
		var req wire.InterruptRequest
		json.Unmarshal(m.Content, &req)
		r.interruptExecution(req.Parent)
		r.peer.send(wire.TypeInterruptReply, m.RawHeader, ok)
	case wire.TypeStatusRequest:
		r.mu.Lock()
		st := wire.ProcessStatus{Status: ok, ExecutionState: "idle", MsgID: r.running}
		r.mu.Unlock()
		if st.MsgID != "" {
			st.ExecutionState = "busy"
		}
		r.peer.send(wire.TypeStatus, m.RawHeader, st)
	case wire.TypeCommandReply:
		r.commandReply(m)
	case wire.TypeInputReply:
		r.inputReply(m)
	case wire.TypeColumns:
		var now wire.Columns
		json.Unmarshal(m.Content, &now)
		r.mu.Lock()
		r.columns = now.Columns
		r.cond.Broadcast()
		r.mu.Unlock()
	case wire.TypePullRelease:
		var release wire.PullRelease
		json.Unmarshal(m.Content, &release)
		r.mu.Lock()
		delete(r.held, release.Parent)
		r.mu.Unlock()
	case wire.TypeExecuteRequest, wire.TypePushRequest, wire.TypePullRequest, wire.TypeAppRequest:
		r.mu.Lock()
		r.queued = append(r.queued, m.Header.MsgID)
		r.mu.Unlock()
		r.requests <- m
	default:
		if replyType, reply := r.beside(m); reply != nil {
			r.peer.send(replyType, m.RawHeader, reply)
			return
		}
		if replyType, reply := r.lookup(m); reply != nil {
			r.peer.send(replyType, m.RawHeader, reply)
			return
		}
		r.requests <- m
	}
}

// main serves requests in order.
func (r *rank) main() {
	for {
		select {
		case m := <-r.requests:
			r.serve(m)
		case <-r.dead:
			return
		}
	}
}

func (r *rank) serve(m *wire.Message) {
	ok := wire.Status{Status: "ok"}
	var laden struct {
		Surroundings json.RawMessage `json:"surroundings"`
	}
	if json.Unmarshal(m.Content, &laden) == nil && laden.Surroundings != nil {
		r.inherited = append(append(r.inherited, "; "...), laden.Surroundings...)
	}
	switch m.Header.MsgType {
	case wire.TypeHello:
		c := r.config
		if c.JoinPrint != "" {
			r.print(m, "stderr", []byte(c.JoinPrint+"\n"))
		}
		code, exit := of(c.JoinExit, r.spec.Rank)
		message, fail := of(c.JoinError, r.spec.Rank)
		notices, _ := of(c.Notices, r.spec.Rank)
		switch {
		case exit:
			r.die(code, 0, false)
		case fail:
			r.peer.send(wire.TypeHelloReply, m.RawHeader, wire.Status{Status: "error", EName: "RuntimeError", EValue: message})
		case isIn(c.JoinHang, r.spec.Rank):
		default:
			r.peer.send(wire.TypeHelloReply, m.RawHeader, wire.ProcessHelloReply{
				Status: ok, PID: r.pid, Rank: r.spec.Rank, App: r.app, Backend: "gloo", Device: cmp.Or(c.Device, "cpu"), Notices: notices,
			})
		}
	case wire.TypeShutdownRequest:
		r.mu.Lock()
		stubborn := r.stubborn
		r.mu.Unlock()
		if !stubborn {
			r.peer.send(wire.TypeShutdownReply, m.RawHeader, ok)
			r.die(0, 0, false)
		}
	case wire.TypeExecuteRequest:
		r.execute(m)
	case wire.TypeCheckRequest:
		r.peer.send(wire.TypeCheckReply, m.RawHeader, checked(m))
	case wire.TypePushRequest:
		r.push(m)
	case wire.TypePushCommit:
		r.endPush(m)
	case wire.TypePullRequest:
		r.pull(m)
	case wire.TypeAppRequest:
		r.setApp(m)
	case wire.TypeMendRequest:
		r.peer.send(wire.TypeMendReply, m.RawHeader, wire.MendReply{Status: ok, InPlace: true})
	}
}

// die ends the rank; nothing happens after the first call.
func (r *rank) die(code int, sig syscall.Signal, asked bool) {
	r.mu.Lock()
	if r.isDead {
		r.mu.Unlock()
		return
	}
	r.isDead = true
	close(r.dead)
	r.cond.Broadcast()
	p := r.peer
	r.mu.Unlock()
	r.l.Close()
	if p != nil {
		p.nc.Close()
	}
	r.exit(code, sig, asked)
}

// signal is what the signal does to a Python process.
func (r *rank) signal(s syscall.Signal) {
	r.mu.Lock()
	stubborn := r.stubborn
	r.mu.Unlock()
	switch {
	case s == syscall.SIGKILL:
		r.die(0, s, true)
	case stubborn:
	case s == syscall.SIGINT:
		r.interruptExecution("")
	default:
		r.die(0, s, true)
	}
}

func (r *rank) interruptExecution(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.running != "" && (id == "" || id == r.running):
		r.interrupt = true
		r.struck++
		r.cond.Broadcast()
	case slices.Contains(r.queued, id):
		r.aborted[id] = true
	}
}

func (r *rank) acknowledge(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = max(r.acked, seq)
	r.kept = slices.DeleteFunc(r.kept, func(p piece) bool { return p.seq <= r.acked })
	r.cond.Broadcast()
}

// unacknowledged is the tail of the output.
func (r *rank) unacknowledged() (tail []wire.Tail, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.kept {
		tail = append(tail, wire.Tail{Name: p.name, Seq: p.seq, Size: len(p.data)})
		data = append(data, p.data...)
	}
	return tail, data
}

// keep counts output and waits for room. It returns false if the execution is to end.
func (r *rank) keep(name string, data []byte) (seq uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.seq-r.acked+uint64(len(data)) > maxUnacknowledged && r.seq > r.acked && !r.isDead && !r.interrupt {
		r.cond.Wait()
	}
	if r.isDead || r.interrupt {
		return 0, false
	}
	r.seq += uint64(len(data))
	r.kept = append(r.kept, piece{name, r.seq, data})
	r.last = data
	return r.seq, true
}

// print prints and sends.
func (r *rank) print(m *wire.Message, name string, data []byte) bool {
	seq, ok := r.keep(name, data)
	if ok {
		r.peer.send(wire.TypeStream, m.RawHeader, wire.Stream{Name: name, Seq: seq}, data)
	}
	return ok
}

// wait waits for an interrupt; if deaf, only for the end.
func (r *rank) wait(deaf bool) {
	r.waitUntil(func() bool { return !deaf && r.interrupt })
}

// wake has conditions checked again.
func (r *rank) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cond.Broadcast()
}

// waitUntil waits for a condition or for the end. The condition is checked with r.mu held, whenever r.cond is signalled.
func (r *rank) waitUntil(cond func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.isDead && !cond() {
		r.cond.Wait()
	}
}

// begin begins to serve a request; it returns false if it was aborted in the queue.
func (r *rank) begin(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued = slices.DeleteFunc(r.queued, func(q string) bool { return q == id })
	if r.aborted[id] {
		delete(r.aborted, id)
		return false
	}
	r.running, r.interrupt, r.struck = id, false, 0
	return true
}

// end ends it; it returns false if no answer is to be sent.
func (r *rank) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.interrupt = "", false
	return !r.muted && !r.isDead
}

// isMeant reports whether a list such as "0,2-3" names it, or "local".
func (r *rank) isMeant(list string) bool {
	if r.spec.Rank == nil || list == "local" {
		return r.spec.Rank == nil && list == "local"
	}
	ranks, err := ranklist.Parse(list)
	if err != nil {
		panic(err)
	}
	return ranks.Contains(*r.spec.Rank)
}

// pyError is an exception.
type pyError struct{ name, message string }

// execute runs one request.
func (r *rank) execute(m *wire.Message) {
	if !r.begin(m.Header.MsgID) {
		r.peer.send(wire.TypeExecuteReply, m.RawHeader, wire.ExecuteReply{Status: wire.Status{Status: "aborted"}})
		return
	}
	r.mu.Lock()
	r.count++
	count := r.count
	r.mu.Unlock()

	var req wire.ExecuteRequest
	var failed *pyError
	var later []string
	if err := json.Unmarshal(m.Content, &req); err != nil {
		failed = &pyError{"ValueError", err.Error()}
	}
	r.mu.Lock()
	if req.Args != nil {
		r.args = req.Args
	}
	r.mu.Unlock()
	if req.Transfer != nil {
		failed = r.transfer(m, count, req.Transfer)
	}
	frame := wire.Frame{File: req.Path, Line: req.Line, Name: "<module>", Run: req.Run}
	for i, line := range strings.Split(req.Code, "\n") {
		if failed != nil {
			break
		}
		frame.Line = req.Line + i
		verb, arg, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		r.goTo(place{frame, line})
		if verb == "later" {
			later = append(later, arg)
			continue
		}
		failed = r.step(m, verb, arg, count)
		r.mu.Lock()
		interrupted, dead := r.interrupt, r.isDead
		r.mu.Unlock()
		if dead {
			return
		}
		if failed == nil && interrupted {
			failed = &pyError{"KeyboardInterrupt", ""}
		}
	}

	r.goTo(place{})
	if !r.end() {
		return
	}
	reply := wire.ExecuteReply{Status: wire.Status{Status: "ok"}, ExecutionCount: count}
	if failed != nil {
		reply.Status = wire.Status{Status: "error", EName: failed.name, EValue: failed.message}
		r.peer.send(wire.TypeError, m.RawHeader, wire.Error{
			EName: failed.name, EValue: failed.message, Traceback: []string{failed.name + ": " + failed.message},
			Frames: []wire.Frame{frame},
		})
	}
	r.peer.send(wire.TypeExecuteReply, m.RawHeader, reply)
	for _, text := range later {
		r.print(m, "stdout", []byte(text+"\n"))
	}
}

// checked finds the cells that no Python would compile.
func checked(m *wire.Message) wire.CheckReply {
	var req wire.CheckRequest
	json.Unmarshal(m.Content, &req)
	reply := wire.CheckReply{Status: wire.Status{Status: "ok"}}
	for i, c := range req.Cells {
		for j, line := range strings.Split(c.Code, "\n") {
			if strings.TrimSpace(line) == "wrong" {
				frame := wire.Frame{File: c.Path, Line: c.Line + j, Name: "<module>", Run: c.Run}
				reply.Faults = append(reply.Faults, wire.Fault{Cell: i, Error: wire.Error{
					EName: "SyntaxError", EValue: "invalid syntax", Traceback: []string{"SyntaxError: invalid syntax"}, Frames: []wire.Frame{frame},
				}})
				break
			}
		}
	}
	return reply
}

// goTo says where the rank is.
func (r *rank) goTo(p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = p
}

// step runs one command.
func (r *rank) step(m *wire.Message, verb, arg string, count int) *pyError {
	p := r.peer
	text := func(s string) map[string]json.RawMessage {
		data, _ := json.Marshal(s)
		return map[string]json.RawMessage{"text/plain": data}
	}
	stream := func(name string) any { return wire.Stream{Name: name, Seq: r.seq} }
	size := func() int {
		n, err := strconv.Atoi(arg)
		if err != nil {
			panic(err)
		}
		return n
	}
	switch verb {
	case "", "#":
	case "print":
		r.print(m, "stdout", []byte(arg+"\n"))
	case "stderr":
		r.print(m, "stderr", []byte(arg+"\n"))
	case "write":
		r.print(m, "stdout", []byte(arg))
	case "result":
		p.send(wire.TypeExecuteResult, m.RawHeader, wire.Display{Data: text(arg), ExecutionCount: count})
	case "display":
		mime, data, _ := strings.Cut(arg, " ")
		value, _ := json.Marshal(data)
		p.send(wire.TypeDisplayData, m.RawHeader, wire.Display{Data: map[string]json.RawMessage{mime: value}})
	case "say":
		msgType, content, _ := strings.Cut(arg, " ")
		p.send(msgType, m.RawHeader, json.RawMessage(content))
	case "wrong":
		return &pyError{"SyntaxError", "invalid syntax"}
	case "error":
		name, message, _ := strings.Cut(arg, " ")
		return &pyError{name, message}
	case "pid":
		r.print(m, "stdout", fmt.Appendln(nil, r.pid))
	case "rank":
		said := any("none")
		if r.spec.Rank != nil {
			said = *r.spec.Rank
		}
		r.print(m, "stdout", fmt.Appendln(nil, said))
	case "surroundings":
		p.send(wire.TypeSurroundings, m.RawHeader, json.RawMessage(arg))
	case "inherited":
		r.print(m, "stdout", append(r.inherited, '\n'))
	case "env":
		value, ok := r.spec.Env[arg]
		if !ok {
			value = os.Getenv(arg)
		}
		r.print(m, "stdout", fmt.Appendln(nil, value))
	case "argv":
		r.waitUntil(func() bool { return arg == "" || arg == strconv.Itoa(r.columns) })
		r.mu.Lock()
		said := fmt.Appendf(nil, "%s %d\n", strings.Join(r.args, " "), r.columns)
		r.mu.Unlock()
		r.print(m, "stdout", said)
	case "spec":
		r.print(m, "stdout", fmt.Appendf(nil, "%q %v %v\n", r.spec.App, r.spec.Verbose, r.spec.FreeGPU))
	case "seed":
		seed, _ := json.Marshal(r.spec.Seed)
		r.print(m, "stdout", append(seed, '\n'))
	case "wait":
		r.wait(false)
	case "gate", "hold":
		if r.open == nil {
			return &pyError{"NameError", "only the ranks of a fakerank.Host have gates"}
		}
		r.waitUntil(func() bool { return r.interrupt && verb == "gate" || r.open(arg) })
	case "on":
		list, command, _ := strings.Cut(arg, " ")
		if verb, arg, _ := strings.Cut(command, " "); r.isMeant(list) {
			return r.step(m, verb, arg, count)
		}
	case "draw":
		text, err := strconv.Unquote(arg)
		if err != nil {
			panic(err)
		}
		r.print(m, "stdout", []byte(text))
	case "let":
		name, value, _ := strings.Cut(arg, " ")
		r.mu.Lock()
		r.bind(wire.Object{Name: name, Type: "str", Kind: "instance", Text: value})
		r.mu.Unlock()
	case "stuck":
		r.wait(true)
	case "mute":
		r.mu.Lock()
		r.muted = true
		r.mu.Unlock()
	case "stubborn":
		r.mu.Lock()
		r.stubborn = true
		r.mu.Unlock()
	case "flood":
		for left := size(); left > 0; left -= 64 << 10 {
			if !r.print(m, "stdout", bytes.Repeat([]byte("x"), min(left, 64<<10))) {
				break
			}
		}
	case "big":
		r.print(m, "stdout", bytes.Repeat([]byte("x"), size()))
	case "tail":
		r.keep("stdout", []byte(arg+"\n"))
	case "exit":
		r.die(size(), 0, false)
	case "signal":
		r.die(0, signals[arg], false)
	case "linger":
		r.mu.Lock()
		r.isDead = true
		close(r.dead)
		r.mu.Unlock()
		r.exit(size(), 0, false)
	case "vanish":
		p.nc.Close()
	case "half":
		p.mu.Lock()
		frames := p.encode(wire.TypeStream, m.RawHeader, stream("stdout"), []byte(arg))
		p.writeFrames(frames[:4])
		p.w.Write([]byte{3, 0, 0})
		p.w.Flush()
		p.mu.Unlock()
		r.die(1, 0, false)
	case "garbage":
		p.raw([]byte("\xf8this is not ZMTP"))
	case "long":
		p.raw([]byte{2, 0, 0, 1, 0, 0, 0, 0, 0})
	case "command":
		p.raw([]byte("\x04\x07\x04PING\x00\x00"))
	case "badsig":
		p.mu.Lock()
		frames := p.encode(wire.TypeStream, m.RawHeader, stream("stdout"), []byte(arg))
		frames[1] = bytes.Repeat([]byte("0"), len(frames[1]))
		p.writeFrames(frames)
		p.w.Flush()
		p.mu.Unlock()
	case "session":
		key, _ := wire.ParseKey(r.spec.Key)
		content, _ := json.Marshal(stream("stdout"))
		p.mu.Lock()
		p.writeFrames(wire.NewEncoder(key).Encode(new(wire.Buffer), 1<<40, wire.TypeStream, m.RawHeader, content, []byte(arg)))
		p.w.Flush()
		p.mu.Unlock()
	case "replay":
		seq, _ := r.keep("stdout", []byte(arg+"\n"))
		p.mu.Lock()
		frames := p.encode(wire.TypeStream, m.RawHeader, wire.Stream{Name: "stdout", Seq: seq}, []byte(arg+"\n"))
		p.writeFrames(frames)
		p.writeFrames(frames)
		p.w.Flush()
		p.mu.Unlock()
	case "malformed":
		p.mu.Lock()
		p.writeFrames([][]byte{[]byte("hello"), []byte("world")})
		p.w.Flush()
		p.mu.Unlock()
	case "again":
		r.mu.Lock()
		old := r.last
		r.mu.Unlock()
		seq, _ := r.keep("stdout", []byte(arg+"\n"))
		p.send(wire.TypeStream, m.RawHeader, wire.Stream{Name: "stdout", Seq: seq}, slices.Concat(old, []byte(arg+"\n")))
	case "vars":
		r.mu.Lock()
		names := strings.Join(r.pushed, " ")
		r.mu.Unlock()
		r.print(m, "stdout", []byte(names+"\n"))
	case "bound":
		r.mu.Lock()
		names := make([]string, 0, len(r.bound))
		for _, v := range r.bound {
			names = append(names, v.Name)
		}
		r.mu.Unlock()
		r.print(m, "stdout", fmt.Appendln(nil, names))
	case "held":
		r.mu.Lock()
		held, waiting := len(r.held), len(r.waiting)
		r.mu.Unlock()
		r.print(m, "stdout", fmt.Appendln(nil, held, waiting))
	case "input", "getpass":
		return r.input(m, arg, verb == "getpass")
	case "ask":
		return r.ask(m, arg)
	case "%dipush":
		return r.transfer(m, count, &wire.Transfer{Names: strings.Fields(arg), Ranks: "all"})
	case "%autodip":
		_, failed := r.command(m, fmt.Sprintf(`{"id":%d,"command":"autodip","on":%t}`, count, arg == "on"))
		return failed
	case "%makedip":
		return r.makePool(m, count)
	default:
		return &pyError{"NameError", "name '" + verb + "' is not defined"}
	}
	return nil
}
