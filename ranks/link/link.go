// Package link is the conversation with one process: Jupyter's messages, framed and signed by [dipls/ranks/wire], over ZMTP. It owns the connection
// and knows who waits for which answer. It does not know what the messages mean.
//
// # Why of zmq4 only the handshake is used
//
// zmq4.NewDealer brings a queue, a reaper goroutine and reconnecting. None of them is useful with one peer, and they were seen to leak goroutines
// and to deadlock. zmq4.Open only does the ZMTP handshake, over a net.Conn of ours that checks what zmq4 v0.17.0 does not. What comes then are frames
// of the simplest kind, and zmq4 takes several times as long for them: see cutter.
package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"go.uber.org/zap"

	"dipls/internal/contain"
	"dipls/internal/trace"
	"dipls/ranks/wire"
)

// ErrEnded is the error of a call if the conversation ends before the answer comes.
var ErrEnded = errors.New("connection ended")

// replyTypes is the type of the answer to a request. Other requests are not made with Call or Begin.
var replyTypes = map[string]string{
	wire.TypeHello:              wire.TypeHelloReply,
	wire.TypePreloadRequest:     wire.TypePreloadReply,
	wire.TypeSpawnRequest:       wire.TypeSpawnReply,
	wire.TypeSignalRequest:      wire.TypeSignalReply,
	wire.TypeInterruptRequest:   wire.TypeInterruptReply,
	wire.TypeStatusRequest:      wire.TypeStatus,
	wire.TypeStackRequest:       wire.TypeStackReply,
	wire.TypeNamesRequest:       wire.TypeNamesReply,
	wire.TypeGroupsRequest:      wire.TypeGroupsReply,
	wire.TypeConnectionsRequest: wire.TypeConnectionsReply,
	wire.TypeBreakRequest:       wire.TypeBreakReply,
	wire.TypeMendRequest:        wire.TypeMendReply,
	wire.TypeCheckRequest:       wire.TypeCheckReply,
	wire.TypePushRequest:        wire.TypePushReply,
	wire.TypePullRequest:        wire.TypePullReply,
	wire.TypeAppRequest:         wire.TypeAppReply,
	wire.TypeCompleteRequest:    wire.TypeCompleteReply,
	wire.TypeInspectRequest:     wire.TypeInspectReply,
	wire.TypeVariablesRequest:   wire.TypeVariablesReply,
	wire.TypeTableRequest:       wire.TypeTableReply,
}

// Link is the conversation with one process: the owner of its socket.
//
// Senders never wait for the peer: while there is something to write, a goroutine does that. Messages are verified, and the handlers called, by the
// reader goroutine; nothing else waits for them. If the connection is [Carried], whoever delivers it is the reader. Drain ends a link once everything
// has been read. Done is closed after that, when the last handler has returned.
type Link struct {
	name    string // for people
	log     *zap.Logger
	conn    *conn
	carried Carried       // the connection; nil: it has a reader of its own
	dec     *wire.Decoder // the reader's
	dropped int           // messages; the reader's
	broken  error         // the protocol, by the peer; the reader's, if the connection is carried

	trace    *trace.Tracer
	to, from trace.Track // of what is written and of the reader

	onMessage func(*wire.Message) // called by the reader
	onEnd     func(error)         // called last, with what ended the connection

	done chan struct{} // nothing is written or read any more

	mu      sync.Mutex
	started bool
	ended   bool                // nothing more can be queued
	read    bool                // the last handler has returned
	writing bool                // a goroutine writes; until it ends nobody else encodes
	enc     *wire.Encoder       // ID is anybody's
	queue   []outgoing          // in the order of their numbers
	last    uint64              // number of the last message queued
	calls   map[string]waitCall // by msg_id; every entry is answered or closed exactly once
}

type outgoing struct {
	n       uint64
	msgType string
	content []byte

	metadata []byte // nil: none
}

const (
	// writeSize is about how much is written at once, if so much waits.
	writeSize = 64 << 10

	// keptSize is how much memory for encoded messages is kept for later ones.
	keptSize = 4 << 10
)

// outBuffer is memory for encoded messages.
type outBuffer struct {
	message wire.Buffer
	out     []byte
}

// outBuffers are shared by all links, since most of them have nothing to write most of the time.
var outBuffers = sync.Pool{New: func() any { return new(outBuffer) }}

func (b *outBuffer) free() {
	if cap(b.out) > keptSize {
		b.out = nil
	}
	b.message.Clear()
	outBuffers.Put(b)
}

type waitCall struct {
	reply string // message type
	ch    chan *wire.Message
}

// Open does the handshake over a connection to the socket of a process, and makes a link. Start starts it; a link that is not started has to be
// closed with Close. name is for people; key signs the messages. After an error the connection is closed.
func Open(ctx context.Context, nc net.Conn, name string, key []byte, log *zap.Logger) (*Link, error) {
	c, err := openConn(ctx, nc)
	if err != nil {
		return nil, err
	}
	return newLink(c, name, key, log), nil
}

func newLink(c *conn, name string, key []byte, log *zap.Logger) *Link {
	carried, _ := c.Conn.(Carried)
	return &Link{
		name:    name,
		log:     log,
		conn:    c,
		carried: carried,
		enc:     wire.NewEncoder(key),
		dec:     wire.NewDecoder(key),
		done:    make(chan struct{}),
		calls:   make(map[string]waitCall),
	}
}

// TraceTo makes the link record in a trace what its writer (to) and its reader (from) do. It must be called before Start.
func (l *Link) TraceTo(t *trace.Tracer, to, from trace.Track) { l.trace, l.to, l.from = t, to, from }

// Start starts the conversation. onMessage gets every message that is not the answer to a call, and onEnd, last, what ended the conversation. They are
// called one at a time.
func (l *Link) Start(onMessage func(*wire.Message), onEnd func(error)) {
	l.onMessage, l.onEnd = onMessage, onEnd
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	if len(l.queue) > 0 {
		l.writeLocked()
	}
	if l.carried != nil {
		l.carried.Deliver(l.arrived, l.connEnded)
		return
	}
	go func() { l.end(l.conn.receive(l.received)) }()
}

// Close ends a link that has not been started.
func (l *Link) Close() { l.conn.Close() }

// Drain ends the link once everything that has arrived is read. The process must have ended.
func (l *Link) Drain() { l.conn.drain() }

// Done is closed when the link has ended, and the last handler has returned.
func (l *Link) Done() <-chan struct{} { return l.done }

// Post queues a message and returns its id; ok is false if the link has ended.
func (l *Link) Post(msgType string, content []byte) (id string, ok bool) {
	return l.PostWith(nil, msgType, content)
}

// PostWith is Post with metadata.
func (l *Link) PostWith(metadata []byte, msgType string, content []byte) (id string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.postLocked(metadata, msgType, content)
}

func (l *Link) postLocked(metadata []byte, msgType string, content []byte) (id string, ok bool) {
	if l.ended {
		return "", false
	}
	l.last++
	l.queue = append(l.queue, outgoing{l.last, msgType, content, metadata})
	if l.started && !l.writing {
		l.writeLocked()
	}
	return l.enc.ID(l.last), true
}

// Begin sends a request and returns a channel for its answer. It is closed without one if the link ends.
func (l *Link) Begin(msgType string, content []byte) (id string, answer <-chan *wire.Message) {
	ch := make(chan *wire.Message, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.postLocked(nil, msgType, content)
	if !ok {
		close(ch)
		return "", ch
	}
	l.calls[id] = waitCall{replyTypes[msgType], ch}
	return id, ch
}

// Forget gives up the answer to a request of Begin.
func (l *Link) Forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, id)
}

// Call sends a request, waits for its answer and decodes it into reply. A refusal is a *[wire.ReplyError].
func (l *Link) Call(ctx context.Context, msgType string, request, reply any) error {
	content, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: encode %s: %w", l.name, msgType, err)
	}
	id, answer := l.Begin(msgType, content)
	select {
	case m, ok := <-answer:
		if !ok {
			return fmt.Errorf("%s: %s: %w", l.name, msgType, ErrEnded)
		}
		return l.DecodeReply(msgType, m, reply)
	case <-ctx.Done():
		l.Forget(id)
		return fmt.Errorf("%s: no answer to %s: %w", l.name, msgType, context.Cause(ctx))
	}
}

// DecodeReply decodes an answer that came by Begin into reply, which may be nil. A refusal is a *[wire.ReplyError].
func (l *Link) DecodeReply(msgType string, m *wire.Message, reply any) error {
	var status struct {
		wire.Status
		Name string `json:"name"`
	}
	if err := json.Unmarshal(m.Content, &status); err != nil {
		return fmt.Errorf("%s: content of %s: %w", l.name, m.Header.MsgType, err)
	}
	if s := status.Status.Status; s == "error" || s == "aborted" {
		return &wire.ReplyError{
			Name: l.name, Request: msgType, EName: status.EName, EValue: status.EValue, Traceback: status.Traceback, Variable: status.Name,
		}
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(m.Content, reply); err != nil {
		return fmt.Errorf("%s: content of %s: %w", l.name, m.Header.MsgType, err)
	}
	return nil
}

// arrived takes what a carried connection brings.
func (l *Link) arrived(b []byte) {
	if l.broken != nil {
		return
	}
	if l.broken = l.conn.cutter.cut(b, l.received); l.broken != nil {
		l.conn.Close()
	}
}

// connEnded is told of the end of a carried connection.
func (l *Link) connEnded(err error) {
	if l.broken != nil {
		err = l.broken
	}
	go l.end(err) // it may take long
}

// received takes a message.
func (l *Link) received(frames [][]byte) {
	came := l.trace.Now()
	m, err := l.dec.Decode(frames)
	if err != nil {
		// The 1st, 2nd, 4th, 8th … is logged, so that a peer that sends nothing else does not fill the log.
		if l.dropped++; l.dropped&(l.dropped-1) == 0 {
			l.log.Warn("dropped a message", zap.String("process", l.name), zap.Int("dropped", l.dropped), zap.Error(err))
		}
		return
	}
	l.trace.Since(l.from, "verify", came)
	if fault := contain.Do(func() { l.deliver(m) }); fault != nil {
		l.log.Error("a fault of ours", zap.String("process", l.name), zap.String("message", m.Header.MsgType),
			zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
	}
	l.trace.Since(l.from, m.Header.MsgType, came)
}

// deliver gives a message to the call that waits for it, or to the handler.
func (l *Link) deliver(m *wire.Message) {
	if !l.answer(m) {
		l.onMessage(m)
	}
}

// answer gives a message to the call that waits for it, if there is one.
func (l *Link) answer(m *wire.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.calls[m.ParentID]
	if !ok || c.reply != m.Header.MsgType {
		return false
	}
	delete(l.calls, m.ParentID)
	c.ch <- m
	return true
}

// end is the end of the conversation: it refuses further requests, fails those that wait, and tells.
func (l *Link) end(cause error) {
	l.mu.Lock()
	l.ended = true
	l.queue = nil
	for id, c := range l.calls {
		close(c.ch)
		delete(l.calls, id)
	}
	l.mu.Unlock()
	l.conn.Close()
	l.onEnd(cause)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = true
	if !l.writing {
		close(l.done)
	}
}

// writeLocked has what is queued written. Nothing is being written, and mu is held.
func (l *Link) writeLocked() {
	b := outBuffers.Get().(*outBuffer)
	var rest []byte
	if l.carried != nil {
		rest = l.encode(b)
		began := l.trace.Now()
		n, err := l.carried.TryWrite(rest)
		l.trace.Since(l.to, "write", began)
		if err != nil {
			l.writeFailed(err)
			n = len(rest)
		}
		if rest = rest[n:]; len(rest) == 0 && len(l.queue) == 0 {
			b.free()
			return
		}
	}
	l.writing = true
	go l.write(b, rest)
}

// write is the goroutine that writes: first rest, and then what is queued, until there is nothing. What is queued during a write goes out together in
// the next one.
func (l *Link) write(b *outBuffer, rest []byte) {
	defer b.free()
	for {
		if len(rest) > 0 {
			began := l.trace.Now()
			if _, err := l.conn.Write(rest); err != nil {
				l.writeFailed(err)
			}
			l.trace.Since(l.to, "write", began)
		}
		l.mu.Lock()
		rest = l.encode(b)
		if len(rest) == 0 {
			l.writing = false
			if l.read {
				close(l.done)
			}
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

func (l *Link) writeFailed(err error) {
	l.log.Debug("write failed", zap.String("process", l.name), zap.Error(err))
	l.conn.Close() // the reader ends the link
}

// encode encodes in b what is written next, and takes it from the queue. mu is held.
func (l *Link) encode(b *outBuffer) []byte {
	n := 0
	b.out = b.out[:0]
	for n < len(l.queue) && len(b.out) < writeSize {
		m := &l.queue[n]
		began := l.trace.Now()
		b.out = appendMessage(b.out, l.enc.EncodeWith(&b.message, m.metadata, m.n, m.msgType, nil, m.content))
		l.trace.Since(l.to, m.msgType, began)
		n++
	}
	l.queue = slices.Delete(l.queue, 0, n)
	return b.out
}
