package ranks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"dipls/internal/contain"
	"dipls/internal/trace"
	"dipls/ranks/wire"
)

// errLinkEnded is what a call returns when the conversation ends before the answer; the peer's own end says why.
var errLinkEnded = errors.New("connection ended")

// replyTypes says what answers a request. Requests with other answers are not made with call.
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

// link is the conversation with one process: the owner of its socket.
//
// Two goroutines belong to it. The writer numbers, signs and writes what is queued, so that nobody who sends ever waits for a
// peer. The reader verifies what comes and hands it on; it alone waits for those it hands to. Both end when the connection
// does, which drain brings about; done is closed after that, and when the handler that runs has returned.
type link struct {
	name string // for people
	log  *zap.Logger
	conn *conn
	enc  *wire.Encoder // the writer's; ID is anybody's
	dec  *wire.Decoder // the reader's

	trace    *trace.Tracer
	to, from trace.Track // of the writer and of the reader

	onMessage func(*wire.Message) // on the reader
	onEnd     func(error)         // on the reader, last; the error is what ended the connection

	wake chan struct{} // cap 1: the queue has something, or the link has ended
	done chan struct{} // both goroutines have ended

	mu    sync.Mutex
	ended bool                // nothing is queued or called any more
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

// newLink makes a link over a connection. Nothing moves until start.
func newLink(c *conn, name string, key []byte, log *zap.Logger) *link {
	return &link{
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

// start starts the goroutines.
func (l *link) start(onMessage func(*wire.Message), onEnd func(error)) {
	l.onMessage, l.onEnd = onMessage, onEnd
	var wg sync.WaitGroup
	wg.Go(l.read)
	wg.Go(l.write)
	go func() { wg.Wait(); close(l.done) }()
}

// drain ends the link when everything that has arrived is read. The process must have ended.
func (l *link) drain() { l.conn.drain() }

// post queues a message and returns its id; ok is false if the link has ended.
func (l *link) post(msgType string, content []byte) (id string, ok bool) {
	return l.postWith(nil, msgType, content)
}

// postWith is post with metadata.
func (l *link) postWith(metadata []byte, msgType string, content []byte) (id string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.postLocked(metadata, msgType, content)
}

func (l *link) postLocked(metadata []byte, msgType string, content []byte) (id string, ok bool) {
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

// begin sends a request and returns where its answer will come; the channel is closed without one if the link ends.
func (l *link) begin(msgType string, content []byte) (id string, answer <-chan *wire.Message) {
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

// forget gives up waiting for an answer.
func (l *link) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, id)
}

// call sends a request, waits for its answer and decodes it into reply. A refusal is a *ReplyError.
func (l *link) call(ctx context.Context, msgType string, request, reply any) error {
	content, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: encode %s: %w", l.name, msgType, err)
	}
	id, answer := l.begin(msgType, content)
	select {
	case m, ok := <-answer:
		if !ok {
			return fmt.Errorf("%s: %s: %w", l.name, msgType, errLinkEnded)
		}
		return l.decodeReply(msgType, m, reply)
	case <-ctx.Done():
		l.forget(id)
		return fmt.Errorf("%s: no answer to %s: %w", l.name, msgType, context.Cause(ctx))
	}
}

func (l *link) decodeReply(msgType string, m *wire.Message, reply any) error {
	var status struct {
		wire.Status
		Name string `json:"name"`
	}
	if err := json.Unmarshal(m.Content, &status); err != nil {
		return fmt.Errorf("%s: content of %s: %w", l.name, m.Header.MsgType, err)
	}
	if s := status.Status.Status; s == "error" || s == "aborted" {
		return &ReplyError{
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
func (l *link) read() {
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
			// The 1st, 2nd, 4th, 8th … is logged: a peer that sends nothing else must not fill the log.
			if dropped++; dropped&(dropped-1) == 0 {
				l.log.Warn("dropped a message", zap.String("process", l.name), zap.Int("dropped", dropped), zap.Error(err))
			}
			continue
		}
		l.trace.Since(l.from, "verify", came)
		if fault := contain.Do(func() { l.deliver(m) }); fault != nil {
			l.log.Error("a fault of ours", zap.String("process", l.name), zap.String("message", m.Header.MsgType), zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
		}
		l.trace.Since(l.from, m.Header.MsgType, came)
	}
}

// deliver hands a message to whom it is for.
func (l *link) deliver(m *wire.Message) {
	if !l.answer(m) {
		l.onMessage(m)
	}
}

// answer hands a message to the call that waits for it.
func (l *link) answer(m *wire.Message) bool {
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

// end refuses further requests, fails those that wait, and lets the writer go.
func (l *link) end() {
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

// write is the writer goroutine. What is queued while it writes goes out in one piece after that.
func (l *link) write() {
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

func (l *link) writeBatch(batch []outgoing) error {
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
