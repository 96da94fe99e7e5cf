package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Path is the name of a file. Names are bytes, but JSON has text: a byte that is not UTF-8 is written as Python writes it, as a lone
// surrogate \udc80 to \udcff ("surrogateescape"). encoding/json would replace it.
type Path string

// MarshalJSON implements [json.Marshaler]. For usual names it avoids an encoder inside the encoder, which would take time and stack.
func (p Path) MarshalJSON() ([]byte, error) {
	if p.isPlain() {
		out := make([]byte, 0, len(p)+2)
		return append(append(append(out, '"'), p...), '"'), nil
	}
	if utf8.ValidString(string(p)) {
		return json.Marshal(string(p))
	}
	out := []byte{'"'}
	for rest := string(p); rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && n == 1 {
			out = fmt.Appendf(out, `\udc%02x`, rest[0])
		} else {
			text, err := json.Marshal(rest[:n])
			if err != nil {
				return nil, err
			}
			out = append(out, text[1:len(text)-1]...)
		}
		rest = rest[n:]
	}
	return append(out, '"'), nil
}

// isPlain reports whether a name is written in JSON as it is.
func (p Path) isPlain() bool {
	for i := range len(p) {
		if b := p[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}

// UnmarshalJSON implements [json.Unmarshaler].
func (p *Path) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	*p = Path(s)
	if !strings.Contains(s, "\ufffd") {
		return nil
	}
	// In a valid string, take the escapes of bytes as they are, and decode everything between them.
	var out strings.Builder
	text := string(data[1 : len(data)-1])
	for start, i := 0, 0; ; {
		if i < len(text) && text[i] != '\\' {
			i++
			continue
		}
		b, escaped := byteEscape(text[i:])
		switch {
		case i < len(text) && !escaped && isHighSurrogate(text[i:]):
			i += len(`\ud83d\ude00`) // a pair, or what is none in either half
		case i < len(text) && !escaped:
			i += len(`\n`)
		default:
			var part string
			if err := json.Unmarshal([]byte(`"`+text[start:i]+`"`), &part); err != nil {
				return err
			}
			out.WriteString(part)
			if !escaped {
				*p = Path(out.String())
				return nil
			}
			out.WriteByte(b)
			i += len(`\udc80`)
			start = i
		}
	}
}

// byteEscape reads the escape of a byte, with which text begins.
func byteEscape(text string) (b byte, ok bool) {
	n, ok := unicodeEscape(text)
	return byte(n), ok && 0xdc80 <= n && n <= 0xdcff
}

func isHighSurrogate(text string) bool {
	n, ok := unicodeEscape(text)
	next, pair := uint64(0), false
	if ok && 0xd800 <= n && n < 0xdc00 {
		next, pair = unicodeEscape(text[len(`\ud83d`):])
	}
	return pair && 0xdc00 <= next && next < 0xe000
}

func unicodeEscape(text string) (n uint64, ok bool) {
	if len(text) < len(`\udc80`) || text[:2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(text[2:6], 16, 16)
	return n, err == nil
}
