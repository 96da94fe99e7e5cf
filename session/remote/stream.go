package remote

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.lsp.dev/jsonrpc2"
)

// maxMessage is how many bytes a message has at most; a longer one is refused.
var maxMessage = 64 << 20

const (
	maxHeader = 64 // bytes of a header

	writePiece = 64 << 10 // bytes that are written at a time
)

// patience is how long a peer may read nothing of what is written to it.
var patience = time.Minute

var errHeader = errors.New("what came is no message")

// tooLongError refuses a message of so many bytes.
type tooLongError struct{ size int }

func (e *tooLongError) Error() string {
	return fmt.Sprintf("a message of %d bytes is too long: at most %d are read", e.size, maxMessage)
}

// stream is a connection as messages.
type stream struct {
	conn     net.Conn
	in       *bufio.Reader
	patience time.Duration
	lost     func(error) // is told once why nothing more can be read, or written

	mu  sync.Mutex // held while a message is written
	buf []byte

	losing sync.Once
}

func newStream(conn net.Conn, lost func(error)) *stream {
	return &stream{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), patience: patience, lost: lost}
}

// lose tells why the connection has ended, and ends it.
func (s *stream) lose(err error) {
	s.losing.Do(func() {
		s.lost(err)
		_ = s.conn.Close() // there is nobody who could be told
	})
}

// next reads the next message. After one that makes no sense there is no other.
func (s *stream) next() (jsonrpc2.Message, error) {
	m, err := s.read()
	if err != nil {
		s.lose(err)
	}
	return m, err
}

func (s *stream) read() (jsonrpc2.Message, error) {
	size, err := s.readHeader()
	if err != nil {
		return nil, err
	}
	if size > maxMessage {
		return nil, &tooLongError{size}
	}
	body, err := io.ReadAll(io.LimitReader(s.in, int64(size))) // which takes room as it comes: a length alone takes none
	if err == nil && len(body) < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return jsonrpc2.DecodeMessage(body)
}

// readHeader reads a header and the empty line after it. It returns the length of the message.
func (s *stream) readHeader() (size int, err error) {
	for size = -1; ; {
		line, err := s.in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) > 0:
			return 0, io.ErrUnexpectedEOF
		case errors.Is(err, bufio.ErrBufferFull), len(line) > maxHeader:
			return 0, errHeader
		case err != nil:
			return 0, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" && size >= 0 {
			return size, nil
		}
		name, value, _ := strings.Cut(text, ":")
		if !strings.EqualFold(name, "Content-Length") {
			return 0, errHeader
		}
		if size, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || size < 0 {
			return 0, errHeader
		}
	}
}

// write writes a message. It waits until the peer has room for it.
func (s *stream) write(m jsonrpc2.Message) error {
	body, err := jsonrpc2.EncodeMessage(m)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return &tooLongError{len(body)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = fmt.Appendf(s.buf[:0], "Content-Length: %d\r\n\r\n", len(body))
	s.buf = append(s.buf, body...)
	for rest := s.buf; len(rest) > 0; {
		piece := rest[:min(len(rest), writePiece)]
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.patience)) // an error comes with the write, too
		if _, err := s.conn.Write(piece); err != nil {
			if isTimeout(err) {
				err = fmt.Errorf("it has read nothing for %v", s.patience)
			}
			s.lose(err)
			return err
		}
		rest = rest[len(piece):]
	}
	if cap(s.buf) > 1<<20 {
		s.buf = nil
	}
	return nil
}

// hasGone reports whether an error means that the connection was closed, here or there, be it in the middle of something.
func hasGone(err error) bool {
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// close ends the connection.
func (s *stream) close() { s.lose(net.ErrClosed) }
