package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
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

// signatureSize is the length of a signature in its hexadecimal form.
const signatureSize = 2 * sha256.Size

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

// sign writes the signature of a message's signed frames: lower-case hex of HMAC-SHA256 over header, parent header, metadata
// and content.
func sign(mac hash.Hash, dst *[signatureSize]byte, frames ...[]byte) {
	mac.Reset()
	for _, f := range frames {
		mac.Write(f)
	}
	var sum [sha256.Size]byte
	hex.Encode(dst[:], mac.Sum(sum[:0]))
}

// Encoder is the sending end of a conversation. It belongs to one goroutine, ID excepted.
type Encoder struct {
	session string
	mac     hash.Hash
	header  []byte
	sum     [signatureSize]byte
	frames  [][]byte
}

// NewEncoder starts a session of its own under key.
func NewEncoder(key []byte) *Encoder {
	var session [16]byte
	rand.Read(session[:])
	return &Encoder{session: hex.EncodeToString(session[:]), mac: hmac.New(sha256.New, key)}
}

// ID is the msg_id of the session's nth message, counted from 1. It may be called from any goroutine.
func (e *Encoder) ID(n uint64) string {
	id := make([]byte, 0, len(e.session)+8)
	id = append(append(id, e.session...), '_')
	return string(strconv.AppendUint(id, n, 10))
}

// Encode makes the frames of the session's nth message; n must grow from call to call. parent is the header of the message
// that this one answers, as it came, or nil. The frames are valid until the next call.
func (e *Encoder) Encode(n uint64, msgType string, parent, content []byte, buffers ...[]byte) [][]byte {
	return e.EncodeWith(nil, n, msgType, parent, content, buffers...)
}

// EncodeWith is Encode with metadata: a JSON object, or nil.
func (e *Encoder) EncodeWith(metadata []byte, n uint64, msgType string, parent, content []byte, buffers ...[]byte) [][]byte {
	if parent == nil {
		parent = emptyObject
	}
	if metadata == nil {
		metadata = emptyObject
	}
	h := append(e.header[:0], `{"msg_id":"`...)
	h = append(append(h, e.session...), '_')
	h = strconv.AppendUint(h, n, 10)
	h = append(append(h, `","session":"`...), e.session...)
	h = append(h, `","username":"dipls","date":"`...)
	h = time.Now().UTC().AppendFormat(h, "2006-01-02T15:04:05.000000Z")
	h = append(append(h, `","msg_type":"`...), msgType...)
	h = append(h, `","version":"`+JupyterVersion+`"}`...)
	e.header = h

	sign(e.mac, &e.sum, h, parent, metadata, content)
	e.frames = append(e.frames[:0], delimiter, e.sum[:], h, parent, metadata, content)
	e.frames = append(e.frames, buffers...)
	return e.frames
}

// Decoder is the receiving end of a conversation: it accepts each message of one session once. It belongs to one goroutine.
type Decoder struct {
	mac     hash.Hash
	session string // "" until the first message that verifies
	last    uint64 // number of the last message accepted
	sum     [signatureSize]byte
}

// NewDecoder expects messages signed with key.
func NewDecoder(key []byte) *Decoder {
	return &Decoder{mac: hmac.New(sha256.New, key)}
}

// Decode verifies one message. The message keeps the frames. An error wraps ErrMalformed, ErrSignature, ErrSession or
// ErrReplay; then the message must be dropped, and the decoder is as it was before.
func (d *Decoder) Decode(frames [][]byte) (*Message, error) {
	if err := checkFrames(frames); err != nil {
		return nil, err
	}
	header, parent, metadata, content := frames[2], frames[3], frames[4], frames[5]
	sign(d.mac, &d.sum, header, parent, metadata, content)
	if !hmac.Equal(d.sum[:], frames[1]) {
		return nil, fmt.Errorf("%w on %s", ErrSignature, describe(header))
	}

	m := &Message{RawHeader: header, Content: content, Buffers: frames[fixedFrames:]}
	var err error
	if m.Header, err = parseHeader(header); err != nil {
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
	h, err := parseHeader(header)
	if err != nil {
		return fmt.Sprintf("a message with header %.64q", header)
	}
	return fmt.Sprintf("%.64q (msg_id %.64q)", h.MsgType, h.MsgID)
}

// sequence gives N of the msg_id SESSION_N.
func sequence(h Header) (uint64, error) {
	num, ok := strings.CutPrefix(h.MsgID, h.Session+"_")
	if !ok || h.Session == "" {
		return 0, fmt.Errorf("msg_id %.64q is not session %.64q and a number", h.MsgID, h.Session)
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n == 0 || num[0] == '0' || num[0] == '+' {
		return 0, fmt.Errorf("msg_id %.64q does not end in a number from 1 up", h.MsgID)
	}
	return n, nil
}

// parseHeader decodes a header. Every message has two, so there is a fast way without reflection for the shape that senders use.
func parseHeader(data []byte) (Header, error) {
	var h Header
	text := string(data) // the fields share it
	if !scanFlat(text, func(key, value string) {
		switch key {
		case "msg_id":
			h.MsgID = value
		case "session":
			h.Session = value
		case "username":
			h.Username = value
		case "date":
			h.Date = value
		case "msg_type":
			h.MsgType = value
		case "version":
			h.Version = value
		}
	}, nil) {
		h = Header{}
		if err := json.Unmarshal(data, &h); err != nil {
			return Header{}, err
		}
	}
	if h.MsgType == "" {
		return Header{}, errors.New("no msg_type")
	}
	return h, nil
}

// parseParentID gives the msg_id of a parent header, "" if there is none.
func parseParentID(data []byte) (string, error) {
	if bytes.Equal(data, emptyObject) {
		return "", nil
	}
	h, err := parseHeader(data)
	return h.MsgID, err
}

// ParseStream decodes the content of a stream message, the most frequent one, without reflection.
func ParseStream(content []byte) (Stream, error) {
	var s Stream
	if scanFlat(string(content), func(key, value string) {
		if key == "name" {
			s.Name = value
		}
	}, func(key string, value uint64) {
		if key == "seq" {
			s.Seq = value
		}
	}) {
		return s, nil
	}
	s = Stream{}
	err := json.Unmarshal(content, &s)
	return s, err
}

// scanFlat walks a JSON object of the simplest kind: its values are strings of printable ASCII without escapes or, if
// number is not nil, natural numbers. It returns false as soon as it meets anything else. Then the caller forgets what it was
// given so far, and uses encoding/json.
func scanFlat(s string, str func(key, value string), number func(key string, value uint64)) bool {
	i := 0
	space := func() {
		for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
			i++
		}
	}
	token := func(c byte) bool {
		space()
		if i < len(s) && s[i] == c {
			i++
			return true
		}
		return false
	}
	quoted := func() (string, bool) {
		if !token('"') {
			return "", false
		}
		start := i
		for ; i < len(s); i++ {
			switch c := s[i]; {
			case c == '"':
				i++
				return s[start : i-1], true
			case c == '\\' || c < 0x20 || c >= 0x7f:
				return "", false
			}
		}
		return "", false
	}

	if !token('{') {
		return false
	}
	for first := true; ; first = false {
		if first && token('}') {
			break
		}
		key, ok := quoted()
		if !ok || !token(':') {
			return false
		}
		space()
		switch {
		case i < len(s) && s[i] == '"':
			value, ok := quoted()
			if !ok {
				return false
			}
			str(key, value)
		case number != nil:
			start := i
			for i < len(s) && s[i] >= '0' && s[i] <= '9' {
				i++
			}
			value, err := strconv.ParseUint(s[start:i], 10, 64)
			if err != nil || s[start] == '0' && i > start+1 {
				return false
			}
			number(key, value)
		default:
			return false
		}
		if token('}') {
			break
		}
		if !token(',') {
			return false
		}
	}
	space()
	return i == len(s)
}
