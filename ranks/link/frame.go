package link

import (
	"encoding/binary"
	"fmt"

	"dipls/ranks/wire"
)

// ZMTP frame flags (https://rfc.zeromq.org/spec/23/).
const (
	flagMore    = 1 << 0
	flagLong    = 1 << 1
	flagCommand = 1 << 2

	flagsKnown = flagMore | flagLong | flagCommand
)

// maxHead is the size of the head of a long frame: flags and an eight-byte length. That of others is two bytes.
const maxHead = 9

func headSize(flags byte) int {
	if flags&flagLong != 0 {
		return maxHead
	}
	return 2
}

// A frameError tells that the peer broke ZMTP or our limits. The connection is of no more use.
type frameError struct{ msg string }

func (e *frameError) Error() string { return e.msg }

// appendMessage appends the frames of a message to b.
func appendMessage(b []byte, frames [][]byte) []byte {
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = flagMore
		}
		if len(f) > 255 {
			b = append(b, flags|flagLong)
			b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
		} else {
			b = append(b, flags, byte(len(f)))
		}
		b = append(b, f...)
	}
	return b
}

// cutter cuts what comes after the handshake into messages, and refuses what is not ZMTP, or larger than we allow, before it takes memory for it.
type cutter struct {
	head    [maxHead]byte // of the next frame
	hasHead int           // how much of it has come

	body    []byte // of a frame of which only a part has come; nil: there is none
	hasBody int

	frames [][]byte // of the message that goes on
	size   int      // of these
	more   bool     // the last frame that began is not the message's last
}

// cut takes the bytes that have come next, and calls take with each message that they complete. The frames keep the bytes; their list is valid
// during the call.
func (c *cutter) cut(b []byte, take func(frames [][]byte)) error {
	for len(b) > 0 {
		if c.body != nil {
			n := copy(c.body[c.hasBody:], b)
			c.came(n, take)
			b = b[n:]
			continue
		}
		if c.hasHead == 0 {
			c.head[0], c.hasHead, b = b[0], 1, b[1:]
		}
		size := headSize(c.head[0])
		n := copy(c.head[c.hasHead:size], b)
		c.hasHead += n
		b = b[n:]
		if c.hasHead < size {
			return nil
		}
		c.hasHead = 0
		length, err := c.begin(c.head[:size])
		switch {
		case err != nil:
			return err
		case length <= len(b):
			c.add(b[:length:length], take)
			b = b[length:]
		default:
			c.body = make([]byte, length)
		}
	}
	return nil
}

// missing is the room for what has not come yet of a frame of which a part has.
func (c *cutter) missing() []byte { return c.body[c.hasBody:] }

// came says that n bytes were written into missing.
func (c *cutter) came(n int, take func(frames [][]byte)) {
	if c.hasBody += n; c.hasBody == len(c.body) {
		body := c.body
		c.body, c.hasBody = nil, 0
		c.add(body, take)
	}
}

// begin reads the head of a frame.
func (c *cutter) begin(head []byte) (length int, err error) {
	flags, size := head[0], uint64(head[1])
	if flags&flagLong != 0 {
		size = binary.BigEndian.Uint64(head[1:])
	}
	switch {
	case flags&^flagsKnown != 0:
		return 0, &frameError{fmt.Sprintf("not ZMTP: frame flags %#02x", flags)}
	case flags&flagCommand != 0:
		return 0, &frameError{"a ZMTP command after the handshake"}
	case size > wire.MaxMessage || c.size+int(size) > wire.MaxMessage:
		return 0, &frameError{fmt.Sprintf("a frame of %d bytes makes the message longer than %d bytes", size, wire.MaxMessage)}
	case len(c.frames) == wire.MaxFrames:
		return 0, &frameError{fmt.Sprintf("a message of more than %d frames", wire.MaxFrames)}
	}
	c.more = flags&flagMore != 0
	return int(size), nil
}

// add adds a frame.
func (c *cutter) add(frame []byte, take func(frames [][]byte)) {
	c.frames = append(c.frames, frame)
	c.size += len(frame)
	if c.more {
		return
	}
	take(c.frames)
	clear(c.frames)
	c.frames, c.size = c.frames[:0], 0
}
