package mux

import (
	"encoding/binary"
	"fmt"
)

// kind is what a frame is for. The two ends count the bytes of frames up to kindReset, so that after an interruption each can say how much it has.
// Other frames are about the connection of the moment, and are lost with it.
type kind uint8

const (
	kindOpen   kind = iota + 1 // a channel, by whoever sends it; payload: JSON, what it is for
	kindData                   // bytes of a channel
	kindWindow                 // 4 bytes: how many more bytes the channel may send
	kindClose                  // no more bytes come on the channel
	kindReset                  // the channel is over; payload: why, for people. Channel 0: the conversation is over
	kindAck                    // 8 bytes: how many bytes of counted frames have come
	kindPing                   // 8 bytes: the sender's clock, in ns
	kindPong                   // 16 bytes: the clock of the ping, and the sender's
)

const (
	headSize   = 9 // kind, channel (4 bytes), length of the payload (4 bytes); big endian
	maxPayload = 64 << 10
)

func (k kind) counted() bool { return k <= kindReset }

// head is the first part of a frame.
type head struct {
	kind    kind
	channel uint32
	size    int // of the payload
}

// appendHead appends the bytes of a head.
func appendHead(b []byte, h head) []byte {
	b = append(b, byte(h.kind))
	b = binary.BigEndian.AppendUint32(b, h.channel)
	return binary.BigEndian.AppendUint32(b, uint32(h.size))
}

// parseHead reads a head from headSize bytes.
func parseHead(b []byte) (head, error) {
	h := head{kind: kind(b[0]), channel: binary.BigEndian.Uint32(b[1:])}
	size := binary.BigEndian.Uint32(b[5:])
	h.size = int(min(size, maxPayload+1))
	switch {
	case h.kind < kindOpen || h.kind > kindPong:
		return h, fmt.Errorf("a frame of unknown kind %d", h.kind)
	case size > maxPayload:
		return h, fmt.Errorf("a frame of %d bytes", size)
	}
	want := h.size
	switch h.kind {
	case kindClose:
		want = 0
	case kindWindow:
		want = 4
	case kindAck, kindPing:
		want = 8
	case kindPong:
		want = 16
	}
	if h.size != want {
		return h, fmt.Errorf("a frame of kind %d with %d bytes", h.kind, h.size)
	}
	return h, nil
}
