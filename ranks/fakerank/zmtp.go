package fakerank

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"

	"dipls/ranks/wire"
)

// peer is the ROUTER end of one connection, in ZMTP 3.0 by hand (https://rfc.zeromq.org/spec/23/), because it must be able
// to break its rules.
type peer struct {
	nc  net.Conn
	r   *bufio.Reader
	dec *wire.Decoder

	mu  sync.Mutex // what is written
	w   *bufio.Writer
	enc *wire.Encoder
	buf wire.Buffer
	n   uint64
}

// accept waits for the one connection of a listener and shakes hands.
func accept(l net.Listener, key []byte) (*peer, error) {
	nc, err := l.Accept()
	if err != nil {
		return nil, err
	}
	p := &peer{
		nc:  nc,
		r:   bufio.NewReader(nc),
		w:   bufio.NewWriter(nc),
		dec: wire.NewDecoder(key),
		enc: wire.NewEncoder(key),
	}
	if err := p.greet(); err != nil {
		nc.Close()
		return nil, err
	}
	return p, nil
}

func (p *peer) greet() error {
	greeting := make([]byte, 64)
	greeting[0], greeting[8], greeting[9], greeting[10] = 0xff, 1, 0x7f, 3
	copy(greeting[12:], "NULL")
	ready := append([]byte("\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"), "\x08Identity\x00\x00\x00\x00"...)
	p.w.Write(greeting)
	p.w.Write(append([]byte{4, byte(len(ready))}, ready...))
	if err := p.w.Flush(); err != nil {
		return err
	}
	if _, err := io.ReadFull(p.r, greeting); err != nil {
		return err
	}
	_, _, err := p.readFrame()
	return err
}

func (p *peer) readFrame() (flags byte, body []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(p.r, head[:2]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	if head[0]&2 != 0 {
		if _, err := io.ReadFull(p.r, head[2:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(head[1:])
	}
	body = make([]byte, size)
	_, err = io.ReadFull(p.r, body)
	return head[0], body, err
}

// receive reads one message.
func (p *peer) receive() (*wire.Message, error) {
	var frames [][]byte
	for {
		flags, body, err := p.readFrame()
		if err != nil {
			return nil, err
		}
		frames = append(frames, body)
		if flags&1 == 0 {
			break
		}
	}
	m, err := p.dec.Decode(frames)
	if err != nil {
		return nil, fmt.Errorf("the server sent nonsense: %w", err)
	}
	return m, nil
}

// send sends one message.
func (p *peer) send(msgType string, parent []byte, content any, buffers ...[]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeFrames(p.encode(msgType, parent, content, buffers...))
	p.w.Flush()
}

// encode makes the next message. p.mu is held.
func (p *peer) encode(msgType string, parent []byte, content any, buffers ...[]byte) [][]byte {
	data, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	p.n++
	return p.enc.Encode(&p.buf, p.n, msgType, parent, data, buffers...)
}

// writeFrames writes a message's frames. p.mu is held.
func (p *peer) writeFrames(frames [][]byte) {
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = 1
		}
		head := []byte{flags, byte(len(f))}
		if len(f) > 255 {
			head = binary.BigEndian.AppendUint64([]byte{flags | 2}, uint64(len(f)))
		}
		p.w.Write(head)
		p.w.Write(f)
	}
}

// raw writes bytes as they are.
func (p *peer) raw(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w.Write(b)
	p.w.Flush()
}
