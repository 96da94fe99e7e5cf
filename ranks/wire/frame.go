package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of one message. A peer that exceeds them is broken or hostile.
const (
	MaxMessage = 1 << 30 // bytes in all frames together
	MaxFrames  = 1024
	MaxHeader  = 8 << 10 // bytes of a header or a parent header
)

// KeySize is the size of a signing key in bytes.
const KeySize = 32

// fixedFrames is the number of frames before the buffers: delimiter, signature, header, parent header, metadata, content.
const fixedFrames = 6

var (
	delimiter   = []byte("<IDS|MSG>")
	emptyObject = []byte("{}")
)

// What can be wrong with a received message. Decode's errors wrap one of them.
var (
	ErrMalformed = errors.New("malformed message")
	ErrSignature = errors.New("bad signature")
	ErrSession   = errors.New("message from another session")
	ErrReplay    = errors.New("replayed message")
)

// NewKey makes a random signing key.
func NewKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: crypto/rand crashes the program instead
	return key
}

// ParseKey reads a key from its hexadecimal form.
func ParseKey(s string) ([]byte, error) {
	key, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("signing key: %d bytes, want %d", len(key), KeySize)
	}
	return key, nil
}

// maxShort is how many bytes of a message, with a block for the key, are put together and hashed at once. For each message, package hmac restores the
// states of two hashes, which takes longer.
const maxShort = 768

// signer signs with one key: lower-case hex of HMAC-SHA256 (RFC 2104).
type signer struct {
	key [sha256.BlockSize]byte // with zeros to fill the block
}

type signature [2 * sha256.Size]byte

var (
	innerPad = bytes.Repeat([]byte{0x36}, sha256.BlockSize)
	outerPad = bytes.Repeat([]byte{0x5c}, sha256.BlockSize)
)

func newSigner(key []byte) (s signer) {
	if len(key) > len(s.key) {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	copy(s.key[:], key)
	return s
}

// begin begins what end signs.
func (s *signer) begin(b []byte) []byte {
	b = append(b, s.key[:]...)
	subtle.XORBytes(b[len(b)-len(s.key):], s.key[:], innerPad)
	return b
}

// end signs what follows begin.
func (s *signer) end(b []byte) (signed signature) {
	var outer [sha256.BlockSize + sha256.Size]byte
	subtle.XORBytes(outer[:], s.key[:], outerPad)
	inner := sha256.Sum256(b)
	copy(outer[sha256.BlockSize:], inner[:])
	sum := sha256.Sum256(outer[:])
	hex.Encode(signed[:], sum[:])
	return signed
}

// sign signs a message: header, parent header, metadata and content.
func (s *signer) sign(header, parent, metadata, content []byte) (signed signature) {
	if sha256.BlockSize+len(header)+len(parent)+len(metadata)+len(content) <= maxShort {
		var short [maxShort]byte
		b := append(append(s.begin(short[:0]), header...), parent...)
		return s.end(append(append(b, metadata...), content...))
	}
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write(header)
	mac.Write(parent)
	mac.Write(metadata)
	mac.Write(content)
	hex.Encode(signed[:], mac.Sum(nil))
	return signed
}

// Encoder is the sending end of a conversation. It belongs to one goroutine, ID excepted.
type Encoder struct {
	session [sessionSize]byte
	signer  signer
}

const sessionSize = 32

// Buffer is memory for a message that is encoded. It is no part of an Encoder, since many of these are quiet most of the time.
type Buffer struct {
	signed    []byte // the key, the header, and the rest if that is short
	signature signature
	frames    [][]byte
}

// Clear forgets the message.
func (b *Buffer) Clear() { clear(b.frames) }

// NewEncoder starts a session of its own under key.
func NewEncoder(key []byte) *Encoder {
	e := &Encoder{signer: newSigner(key)}
	var session [sessionSize / 2]byte
	rand.Read(session[:])
	hex.Encode(e.session[:], session[:])
	return e
}

// ID is the msg_id of the session's nth message, counted from 1. It may be called from any goroutine.
func (e *Encoder) ID(n uint64) string {
	id := append(make([]byte, 0, sessionSize+21), e.session[:]...) // 21: of a number
	return string(strconv.AppendUint(append(id, '_'), n, 10))
}

// Encode makes the frames of the session's nth message in b; n must grow from call to call. parent is the header of the message that this one answers,
// as it came, or nil. The frames are valid until b is used again.
func (e *Encoder) Encode(b *Buffer, n uint64, msgType string, parent, content []byte, buffers ...[]byte) [][]byte {
	return e.EncodeWith(b, nil, n, msgType, parent, content, buffers...)
}

// EncodeWith is Encode with metadata: a JSON object, or nil.
func (e *Encoder) EncodeWith(b *Buffer, metadata []byte, n uint64, msgType string, parent, content []byte, buffers ...[]byte) [][]byte {
	if parent == nil {
		parent = emptyObject
	}
	if metadata == nil {
		metadata = emptyObject
	}
	s := append(e.signer.begin(b.signed[:0]), `{"msg_id":"`...)
	s = append(append(s, e.session[:]...), '_')
	s = strconv.AppendUint(s, n, 10)
	s = append(append(s, `","session":"`...), e.session[:]...)
	s = append(s, `","username":"dipls","date":"`...)
	s = time.Now().UTC().Truncate(time.Microsecond).AppendFormat(s, time.RFC3339Nano) // which is faster than other formats
	s = append(append(s, `","msg_type":"`...), msgType...)
	s = append(s, `","version":"`+JupyterVersion+`"}`...)
	header := s[sha256.BlockSize:]

	if len(s)+len(parent)+len(metadata)+len(content) <= maxShort {
		s = append(append(append(s, parent...), metadata...), content...)
		header = s[sha256.BlockSize:][:len(header):len(header)]
		b.signature = e.signer.end(s)
	} else {
		b.signature = e.signer.sign(header, parent, metadata, content)
	}
	b.signed = s
	b.frames = append(b.frames[:0], delimiter, b.signature[:], header, parent, metadata, content)
	b.frames = append(b.frames, buffers...)
	return b.frames
}

// Decoder is the receiving end of a conversation: it accepts each message of one session once. It belongs to one goroutine.
type Decoder struct {
	signer  signer
	session string // "" until the first message that verifies
	last    uint64 // number of the last message accepted
}

// NewDecoder expects messages signed with key.
func NewDecoder(key []byte) *Decoder {
	return &Decoder{signer: newSigner(key)}
}

// Decode verifies one message. The message keeps the frames, not their list. An error wraps ErrMalformed, ErrSignature, ErrSession or
// ErrReplay; then the message must be dropped, and the decoder is as it was before.
func (d *Decoder) Decode(frames [][]byte) (*Message, error) {
	if err := checkFrames(frames); err != nil {
		return nil, err
	}
	header, parent, metadata, content := frames[2], frames[3], frames[4], frames[5]
	if signature := d.signer.sign(header, parent, metadata, content); !hmac.Equal(signature[:], frames[1]) {
		return nil, fmt.Errorf("%w on %s", ErrSignature, describe(header))
	}

	m := &Message{RawHeader: header, Content: content, Buffers: slices.Clone(frames[fixedFrames:])}
	var err error
	if m.Header, err = parseHeader(header, d.session); err != nil {
		return nil, fmt.Errorf("%w: header: %v", ErrMalformed, err)
	}
	if m.ParentID, err = parseParentID(parent); err != nil {
		return nil, fmt.Errorf("%w: parent header of %s: %v", ErrMalformed, describe(header), err)
	}
	// The signature covers the frames joined together. Each frame must be complete JSON, so that no bytes can be moved from one
	// frame to the next.
	if !bytes.Equal(metadata, emptyObject) {
		if !json.Valid(metadata) {
			return nil, fmt.Errorf("%w: metadata of %s is not JSON", ErrMalformed, describe(header))
		}
		m.Metadata = metadata
	}
	n, err := sequence(m.Header)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	switch {
	case d.session != "" && m.Header.Session != d.session:
		return nil, fmt.Errorf("%w: %s, this conversation's is %q", ErrSession, describe(header), d.session)
	case n <= d.last:
		return nil, fmt.Errorf("%w: %s, the last one was number %d", ErrReplay, describe(header), d.last)
	}
	d.session, d.last = m.Header.Session, n
	return m, nil
}

// checkFrames checks number, sizes and delimiter: all that can be checked before the signature.
func checkFrames(frames [][]byte) error {
	if len(frames) < fixedFrames {
		return fmt.Errorf("%w: %d frames, at least %d are needed", ErrMalformed, len(frames), fixedFrames)
	}
	if len(frames) > MaxFrames {
		return fmt.Errorf("%w: %d frames, at most %d are allowed", ErrMalformed, len(frames), MaxFrames)
	}
	if !bytes.Equal(frames[0], delimiter) {
		return fmt.Errorf("%w: first frame is %.32q, not %q", ErrMalformed, frames[0], delimiter)
	}
	if len(frames[2]) > MaxHeader || len(frames[3]) > MaxHeader {
		return fmt.Errorf("%w: header of %d and parent header of %d bytes, at most %d are allowed",
			ErrMalformed, len(frames[2]), len(frames[3]), MaxHeader)
	}
	total := 0
	for _, f := range frames {
		if total += len(f); total > MaxMessage {
			return fmt.Errorf("%w: more than %d bytes", ErrMalformed, MaxMessage)
		}
	}
	return nil
}

// describe names a message in an error as well as its header allows; the header may be anything.
func describe(header []byte) string {
	h, err := parseHeader(header, "")
	if err != nil {
		return fmt.Sprintf("a message with header %.64q", header)
	}
	return fmt.Sprintf("%.64q (msg_id %.64q)", h.MsgType, h.MsgID)
}

// sequence gives N of the msg_id SESSION_N.
func sequence(h Header) (uint64, error) {
	num, ok := strings.CutPrefix(h.MsgID, h.Session)
	if ok {
		num, ok = strings.CutPrefix(num, "_")
	}
	if !ok || h.Session == "" {
		return 0, fmt.Errorf("msg_id %.64q is not session %.64q and a number", h.MsgID, h.Session)
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n == 0 || num[0] == '0' || num[0] == '+' {
		return 0, fmt.Errorf("msg_id %.64q does not end in a number from 1 up", h.MsgID)
	}
	return n, nil
}
