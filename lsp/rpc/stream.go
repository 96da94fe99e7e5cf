package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"go.lsp.dev/jsonrpc2"

	"dipls/internal/contain"
)

// stream is the byte stream to one client as messages: LSP's base protocol.
//
// A message that cannot be read is answered with an error and skipped. After a header that makes no sense, it looks for the next one. A goroutine
// of its own reads, so that close ends a call of next even where nothing can interrupt a read (a terminal, some pipes). Writes go through an
// outbox and never block.
type stream struct {
	rwc      io.ReadWriteCloser
	out      *outbox
	messages chan jsonrpc2.Message
	end      error // why there are no more messages; set before the channel is closed

	closing sync.Once
	closed  chan struct{}
}

func newStream(rwc io.ReadWriteCloser) *stream {
	s := &stream{rwc: rwc, messages: make(chan jsonrpc2.Message), closed: make(chan struct{})}
	s.out = newOutbox(rwc, func(error) { s.close() })
	go s.read()
	return s
}

// next returns the next message. It waits while too many answers wait for a client that does not read them.
func (s *stream) next(ctx context.Context) (jsonrpc2.Message, error) {
	if err := s.out.await(ctx, func() bool { return s.out.bytes < fullBytes }); err != nil {
		return nil, io.EOF
	}
	select {
	case m, ok := <-s.messages:
		if !ok {
			return nil, s.end
		}
		return m, nil
	case <-s.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// send queues a message, which body appends to a buffer. A message with a key replaces an older one with the same key that has not been written. If
// body fails, nothing is sent. A large message reuses the buffer of an earlier one, if there is one.
func (s *stream) send(key string, body func([]byte) ([]byte, error)) (err error) {
	defer contain.AsError(&err)
	spare := s.out.takeSpare()
	f, err := framed(spare, body)
	if len(f) < cap(spare)/2 {
		f = bytes.Clone(f)
		s.out.keepSpare(spare)
	}
	if err != nil {
		return err
	}
	s.out.put(key, f)
	return nil
}

// close ends the stream. What has not been written is lost: see outbox.flush.
func (s *stream) close() {
	s.closing.Do(func() {
		close(s.closed)
		s.out.close()
		_ = s.rwc.Close() // there is nobody who could be told
	})
}

// headerRoom is more than any header takes.
const headerRoom = 40

// framed returns a message with its header, in the spare buffer if that is large enough.
func framed(spare []byte, body func([]byte) ([]byte, error)) ([]byte, error) {
	if cap(spare) < headerRoom {
		spare = make([]byte, 512)
	}
	b, err := body(spare[:headerRoom])
	if err != nil {
		return nil, err
	}
	header := "Content-Length: " + strconv.Itoa(len(b)-headerRoom) + "\r\n\r\n"
	b = b[headerRoom-len(header):]
	copy(b, header)
	return b, nil
}

// read reads messages until the stream ends.
func (s *stream) read() {
	defer close(s.messages)
	r := bufio.NewReaderSize(s.rwc, 64<<10)
	for {
		body, err := s.readBody(r)
		var fault *contain.Fault
		if errors.As(err, &fault) {
			s.refuse(fault)
			continue
		}
		if err != nil {
			s.end = err
			return
		}
		m, err := decode(body)
		if err != nil {
			s.refuse(err)
			continue
		}
		select {
		case s.messages <- m:
		case <-s.closed:
			s.end = io.EOF
			return
		}
	}
}

// refuse answers a message that cannot be read. Its id is not known, so the answer has none.
func (s *stream) refuse(err error) {
	_ = s.send("", func(b []byte) ([]byte, error) { return jsonrpc2.AppendResponse(b, jsonrpc2.ID{}, nil, err), nil }) // it has no error of its own
}

const (
	maxBody   = 256 << 20 // of a message; a longer one is skipped
	maxHeader = 4 << 10   // of a header line
)

// readBody reads the next message's bytes. The caller may keep them.
func (s *stream) readBody(r *bufio.Reader) (_ []byte, err error) {
	defer contain.AsError(&err)
	for {
		size, err := s.readHeader(r)
		if err != nil {
			return nil, err
		}
		if size > maxBody {
			s.refuse(jsonrpc2.Errorf(jsonrpc2.InvalidRequest, "a message of %d bytes is too long: at most %d are read", size, maxBody))
			if _, err := io.CopyN(io.Discard, r, size); err != nil {
				return nil, err
			}
			continue
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		return body, nil
	}
}

// readHeader reads up to the beginning of the next body, and returns that one's length.
func (s *stream) readHeader(r *bufio.Reader) (size int64, err error) {
	size = -1
	told := false
	garbage := func(what []byte) {
		if !told && len(bytes.TrimSpace(what)) > 0 {
			told = true
			s.refuse(jsonrpc2.NewError(jsonrpc2.ParseError, fmt.Sprintf("%.60q is no header of LSP's base protocol", what)))
		}
	}
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			garbage(line)
			continue
		case err != nil:
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if size >= 0 {
				return size, nil
			}
			continue // the lines above were no header
		}
		// The last header of a line counts. What is before it belongs to a body that was longer than its header said.
		field := line
		if i := lastHeader(line); i > 0 {
			garbage(line[:i])
			field = line[i:]
		}
		name, value, found := bytes.Cut(field, []byte(":"))
		switch {
		case !found, len(line) > maxHeader:
			garbage(line)
		case bytes.EqualFold(bytes.TrimSpace(name), []byte("content-length")):
			n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			if err != nil || n < 0 {
				garbage(line)
				size = -1
				continue
			}
			size = n
		}
	}
}

// contentLength is the header that counts.
const contentLength = "content-length:"

// lastHeader returns where the last Content-Length header of a line begins, -1 if there is none. It folds only ASCII letters: others may change
// their length with their case.
func lastHeader(line []byte) int {
	for i := len(line) - len(contentLength); i >= 0; i-- {
		if bytes.EqualFold(line[i:i+len(contentLength)], []byte(contentLength)) {
			return i
		}
	}
	return -1
}
