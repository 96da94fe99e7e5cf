package lsp

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// largeResult is the result of a request, as JSON, in the buffer of the message that it will be sent in: megabytes that follow each keystroke are
// copied once, and into memory that the last ones were in. Fresh memory would cost more than to fill it, and that now and then, which
// is when a person notices.
type largeResult struct {
	buffer []byte // envelopeRoom, and the result
}

// envelopeRoom is what is kept free before a result, for the header and the beginning of the message. A client whose ids are longer than any that we
// have seen has its results copied once more.
const envelopeRoom = headerRoom + 120

// largeResult is a copy of a result that is JSON already.
func (s *stream) largeResult(json []byte) *largeResult {
	b := s.out.takeSpare()
	if cap(b) < envelopeRoom {
		b = make([]byte, envelopeRoom, envelopeRoom+len(json)+len(json)/16)
	}
	return &largeResult{append(b[:envelopeRoom], json...)}
}

// framed is the message of the result with its header; envelope is what the message begins with.
func (r *largeResult) framed(envelope []byte) []byte {
	begin := envelopeRoom - len(envelope)
	if begin < headerRoom {
		r.buffer = slices.Insert(r.buffer, 0, make([]byte, headerRoom-begin)...)
		begin = headerRoom
	}
	copy(r.buffer[begin:], envelope)
	return headed(append(r.buffer, '}'), begin)
}

// largeResults are results on their way from the codec to [stream.Write]. Between the two, the library handles nothing but bytes that it copies. So it is
// given a ticket in place of the result.
type largeResults struct {
	mu      sync.Mutex // guards what follows
	last    uint64
	waiting map[string]*largeResult // by ticket
}

// ticketSize is the length of any ticket. It is JSON, and nothing that a request is answered with.
var ticketSize = len(newTicket(0))

func newTicket(n uint64) string { return fmt.Sprintf(`"a large result: %016x"`, n) }

// ticket is JSON that stands for a result until redeem is given it.
func (l *largeResults) ticket(r *largeResult) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	ticket := newTicket(l.last)
	if l.waiting == nil {
		l.waiting = map[string]*largeResult{}
	}
	l.waiting[ticket] = r
	return []byte(ticket)
}

// redeem is a message, with its header, in which the result stands in place of its ticket; ok is false if there is none.
func (l *largeResults) redeem(frame []byte) (_ []byte, ok bool) {
	end := len(frame) - len("}") // a response's result is its last member
	if end < ticketSize {
		return nil, false
	}
	ticket := frame[end-ticketSize : end]
	l.mu.Lock()
	r, ok := l.waiting[string(ticket)]
	delete(l.waiting, string(ticket))
	l.mu.Unlock()
	if !ok {
		return nil, false
	}
	_, message, _ := bytes.Cut(frame[:end-ticketSize], []byte("\r\n\r\n"))
	return r.framed(message), true
}
