// Package link is the conversation with one process: Jupyter's messages, framed and signed by [dipls/ranks/wire], over ZMTP. It owns the connection
// and knows who waits for which answer. It does not know what the messages mean.
//
// # Why zmq4 is used below its sockets
//
// zmq4.NewDealer brings a queue, a reaper goroutine and reconnecting. None of them is useful with one peer, and they were seen to leak goroutines
// and to deadlock. zmq4.Open only does the ZMTP handshake, over a net.Conn of ours, and leaves the goroutines to us. That net.Conn checks what
// zmq4 v0.17.0 does not: see frameConn.
package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	wire.TypePushRequest:        wire.TypePushReply,
	wire.TypePullRequest:        wire.TypePullReply,
	wire.TypeAppRequest:         wire.TypeAppReply,
	wire.TypeCompleteRequest:    wire.TypeCompleteReply,
	wire.TypeInspectRequest:     wire.TypeInspectReply,
	wire.TypeVariablesRequest:   wire.TypeVariablesReply,
}

// Link is the conversation with one process: the owner of its socket.
//
// It has two goroutines. The writer numbers, signs and writes what is queued, so senders never wait for the peer. The reader verifies messages and
// calls the handlers; only the reader waits for them. Both end with the connection, which Drain ends once everything has been read. Done is closed
// after that, when the last handler has returned.
type Link struct {
	name string // for people
	log  *zap.Logger
	conn *conn
	enc  *wire.Encoder // the writer's; ID is anybody's
	dec  *wire.Decoder // the reader's

	trace    *trace.Tracer
	to, from trace.Track // of the writer and of the reader

	onMessage func(*wire.Message) // called on the reader
	onEnd     func(error)         // called on the reader, last, with what ended the connection

	wake chan struct{} // cap 1: the queue has something, or the link has ended
	done chan struct{} // both goroutines have ended

	mu    sync.Mutex
	ended bool                // nothing more can be queued
	queue []outgoing          // in the order of their numbers
	last  uint64              // number of the last message queued
	calls map[string]waitCall // by msg_id; every entry is answered or closed exactly once
}

type outgoing struct {
	n       uint64
	msgType string
	content []byte

	metadata []byte // nil: none
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
	return &Link{
		name:  name,
		log:   log,
		conn:  c,
		enc:   wire.NewEncoder(key),
		dec:   wire.NewDecoder(key),
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		calls: make(map[string]waitCall),
	}
}

// TraceTo makes the link record in a trace what its writer (to) and its reader (from) do. It must be called before Start.
func (l *Link) TraceTo(t *trace.Tracer, to, from trace.Track) { l.trace, l.to, l.from = t, to, from }

// Start starts the goroutines. onMessage gets every message that is not the answer to a call, and onEnd, last, what ended the conversation. Both are
// called on the reader goroutine.
func (l *Link) Start(onMessage func(*wire.Message), onEnd func(error)) {
	l.onMessage, l.onEnd = onMessage, onEnd
	var wg sync.WaitGroup
	wg.Go(l.read)
	wg.Go(l.write)
	go func() { wg.Wait(); close(l.done) }()
}

// Close ends a link that has not been started.
func (l *Link) Close() { l.conn.close() }

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
	select {
	case l.wake <- struct{}{}:
	default:
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

// read is the reader goroutine.
func (l *Link) read() {
	var dropped int
	for {
		frames, err := l.conn.recv()
		if err != nil {
			l.end()
			l.onEnd(err)
			return
		}
		came := l.trace.Now()
		m, err := l.dec.Decode(frames)
		if err != nil {
			// The 1st, 2nd, 4th, 8th … is logged, so that a peer that sends nothing else does not fill the log.
			if dropped++; dropped&(dropped-1) == 0 {
				l.log.Warn("dropped a message", zap.String("process", l.name), zap.Int("dropped", dropped), zap.Error(err))
			}
			continue
		}
		l.trace.Since(l.from, "verify", came)
		if fault := contain.Do(func() { l.deliver(m) }); fault != nil {
			l.log.Error("a fault of ours", zap.String("process", l.name), zap.String("message", m.Header.MsgType),
				zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
		}
		l.trace.Since(l.from, m.Header.MsgType, came)
	}
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

// end refuses further requests, fails those that wait, and ends the writer.
func (l *Link) end() {
	l.mu.Lock()
	l.ended = true
	l.queue = nil
	for id, c := range l.calls {
		close(c.ch)
		delete(l.calls, id)
	}
	l.mu.Unlock()
	l.conn.close()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine. What is queued during a write goes out together in the next one.
func (l *Link) write() {
	var batch []outgoing
	for range l.wake {
		l.mu.Lock()
		if l.ended {
			l.mu.Unlock()
			return
		}
		batch, l.queue = l.queue, batch[:0]
		l.mu.Unlock()

		if err := l.writeBatch(batch); err != nil {
			l.log.Debug("write failed", zap.String("process", l.name), zap.Error(err))
			l.conn.close() // the reader ends the link
		}
		clear(batch)
	}
}

func (l *Link) writeBatch(batch []outgoing) error {
	for _, m := range batch {
		began := l.trace.Now()
		if err := l.conn.send(l.enc.EncodeWith(m.metadata, m.n, m.msgType, nil, m.content)); err != nil {
			return err
		}
		l.trace.Since(l.to, m.msgType, began)
	}
	began := l.trace.Now()
	err := l.conn.flush()
	l.trace.Since(l.to, "write", began)
	return err
}
