package mux

import "fmt"

const (
	smallBlock = 4 << 10 // what a quiet conversation takes
	largeBlock = 64 << 10
)

// spool holds counted frames until the peer has them, as one long stream of bytes. Positions count from its beginning.
//
// Bytes are never changed once they are in it, so the writer reads them without the lock.
type spool struct {
	blocks [][]byte
	start  uint64 // of the first block
	acked  uint64 // the peer has everything before
	sent   uint64 // the connection of the moment has been given everything before
	end    uint64
}

// add appends a frame.
func (s *spool) add(h head, payload []byte) {
	s.room(headSize)
	last := &s.blocks[len(s.blocks)-1]
	*last = appendHead(*last, h)
	s.end += headSize
	for len(payload) > 0 {
		s.room(1)
		last := &s.blocks[len(s.blocks)-1]
		n := min(cap(*last)-len(*last), len(payload))
		*last = append(*last, payload[:n]...)
		payload = payload[n:]
		s.end += uint64(n)
	}
}

// room makes sure that the last block takes n bytes more.
func (s *spool) room(n int) {
	size := smallBlock
	if len(s.blocks) > 0 {
		last := s.blocks[len(s.blocks)-1]
		if cap(last)-len(last) >= n {
			return
		}
		size = min(max(int(s.end-s.acked), smallBlock), largeBlock)
	}
	s.blocks = append(s.blocks, make([]byte, 0, size))
}

// unsent appends what the connection has not been given yet, and counts it as given.
func (s *spool) unsent(parts [][]byte) [][]byte {
	at := s.start
	for _, b := range s.blocks {
		next := at + uint64(len(b))
		if next > s.sent {
			parts = append(parts, b[max(at, s.sent)-at:])
		}
		at = next
	}
	s.sent = s.end
	return parts
}

// ack forgets what the peer has.
func (s *spool) ack(position uint64) error {
	if position < s.acked || position > s.sent {
		return fmt.Errorf("it claims to have %d bytes, and has been sent %d to %d", position, s.acked, s.sent)
	}
	s.acked = position
	n := 0
	for n < len(s.blocks) {
		next := s.start + uint64(len(s.blocks[n]))
		full := n < len(s.blocks)-1 || cap(s.blocks[n]) > smallBlock
		if next > s.acked || !full && next == s.end {
			break
		}
		s.start = next
		n++
	}
	clear(s.blocks[:n])
	s.blocks = s.blocks[n:]
	if len(s.blocks) == 0 {
		s.blocks = nil
	}
	return nil
}

// rewind has everything sent again that the peer does not have.
func (s *spool) rewind(position uint64) error {
	if err := s.ack(position); err != nil {
		return err
	}
	s.sent = position
	return nil
}
