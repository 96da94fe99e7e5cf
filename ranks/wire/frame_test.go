package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vector is one file of testdata/wire: a signed message, and what a receiver makes of it.
type vector struct {
	Comment   string   `json:"comment"`
	Key       string   `json:"key"` // hex
	Header    string   `json:"header"`
	Parent    string   `json:"parent"`
	Metadata  string   `json:"metadata"`
	Content   string   `json:"content"`
	Buffers   []string `json:"buffers"` // hex
	Signature string   `json:"signature"`
	MsgType   string   `json:"msg_type"`
	ParentID  string   `json:"parent_id"`
	Error     string   `json:"error"` // "", "malformed", "signature"
}

var errorNames = map[string]error{
	"": nil, "malformed": ErrMalformed, "signature": ErrSignature, "session": ErrSession, "replay": ErrReplay,
}

func (v *vector) frames(t *testing.T) (key []byte, frames [][]byte) {
	key, err := ParseKey(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	frames = [][]byte{delimiter, []byte(v.Signature), []byte(v.Header), []byte(v.Parent), []byte(v.Metadata), []byte(v.Content)}
	for _, b := range v.Buffers {
		var data []byte
		if _, err := fmt.Sscanf(b, "%x", &data); err != nil && b != "" {
			t.Fatal(err)
		}
		frames = append(frames, data)
	}
	return key, frames
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob("../../testdata/wire/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v vector
			d := json.NewDecoder(bytes.NewReader(data))
			d.DisallowUnknownFields()
			if err := d.Decode(&v); err != nil {
				t.Fatal(err)
			}
			key, frames := v.frames(t)
			signature := signed(key, frames[2], frames[3], frames[4], frames[5])
			if v.Error != "signature" && signature != v.Signature {
				t.Errorf("signature %s, want %s", signature, v.Signature)
			}
			m, err := NewDecoder(key).Decode(frames)
			if !errors.Is(err, errorNames[v.Error]) {
				t.Fatalf("error %v, want %q", err, v.Error)
			}
			if err != nil {
				return
			}
			if m.Header.MsgType != v.MsgType || m.ParentID != v.ParentID {
				t.Errorf("type %q, parent %q; want %q, %q", m.Header.MsgType, m.ParentID, v.MsgType, v.ParentID)
			}
		})
	}
}

var testKey = bytes.Repeat([]byte{7}, KeySize)

// clone copies frames out of an encoder's buffers.
func clone(frames [][]byte) [][]byte {
	out := make([][]byte, len(frames))
	for i, f := range frames {
		out[i] = bytes.Clone(f)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	e, d := NewEncoder(testKey), NewDecoder(testKey)
	first, err := d.Decode(clone(e.Encode(new(Buffer), 1, TypeHello, nil, []byte(`{"protocol":1}`))))
	if err != nil {
		t.Fatal(err)
	}
	if first.Header.MsgID != e.ID(1) || first.ParentID != "" {
		t.Errorf("header %+v, parent %q", first.Header, first.ParentID)
	}
	var header map[string]string
	if err := json.Unmarshal(first.RawHeader, &header); err != nil || header["version"] != JupyterVersion {
		t.Errorf("header %s, %v", first.RawHeader, err)
	}
	if _, err := time.Parse(time.RFC3339Nano, header["date"]); err != nil {
		t.Error(err)
	}
	m, err := d.Decode(clone(e.Encode(new(Buffer), 2, TypeStream, first.RawHeader, []byte(`{"name":"stdout","seq":3}`), []byte("abc"))))
	if err != nil {
		t.Fatal(err)
	}
	if m.ParentID != first.Header.MsgID || m.Header.MsgType != TypeStream {
		t.Errorf("parent %q, type %q", m.ParentID, m.Header.MsgType)
	}
	if diff := cmp.Diff([][]byte{[]byte("abc")}, m.Buffers); diff != "" {
		t.Error(diff)
	}
	s, err := ParseStream(m.Content)
	if err != nil || s != (Stream{"stdout", 3}) {
		t.Errorf("stream %+v, %v", s, err)
	}
}

// signed is the signature of a message.
func signed(key []byte, frames ...[]byte) string {
	mac := hmac.New(sha256.New, key)
	for _, f := range frames {
		mac.Write(f)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// A signature is HMAC-SHA256, whatever the lengths of the frames and of the key.
func TestSign(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 100)
	for _, key := range [][]byte{testKey, nil, text[:sha256.BlockSize], text} {
		s := newSigner(key)
		for _, size := range []int{0, 1, 55, 56, 64, maxShort - 65, maxShort - 64, maxShort - 63, maxShort, 1600} {
			if got, want := s.sign(text[:size/2], nil, text[size/2:size], nil), signed(key, text[:size]); string(got[:]) != want {
				t.Errorf("%d bytes with a key of %d: %s, want %s", size, len(key), got, want)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := func() [][]byte {
		return clone(NewEncoder(testKey).Encode(new(Buffer), 5, TypeStatus, nil, []byte(`{}`), []byte("x")))
	}
	resign := func(frames [][]byte) [][]byte {
		frames[1] = []byte(signed(testKey, frames[2], frames[3], frames[4], frames[5]))
		return frames
	}
	header := func(h string) [][]byte {
		frames := good()
		frames[2] = []byte(h)
		return resign(frames)
	}
	for name, test := range map[string]struct {
		frames [][]byte
		want   error
	}{
		"none":          {nil, ErrMalformed},
		"five frames":   {good()[:5], ErrMalformed},
		"no delimiter":  {append([][]byte{[]byte("identity")}, good()...), ErrMalformed},
		"many buffers":  {append(good(), make([][]byte, MaxFrames)...), ErrMalformed},
		"huge header":   {header(`{"msg_type":"` + strings.Repeat("x", MaxHeader) + `"}`), ErrMalformed},
		"no header":     {header(``), ErrMalformed},
		"header array":  {header(`[]`), ErrMalformed},
		"no type":       {header(`{"msg_id":"s_1","session":"s"}`), ErrMalformed},
		"no session":    {header(`{"msg_id":"_1","session":"","msg_type":"status"}`), ErrMalformed},
		"other session": {header(`{"msg_id":"a_1","session":"b","msg_type":"status"}`), ErrMalformed},
		"number 0":      {header(`{"msg_id":"s_0","session":"s","msg_type":"status"}`), ErrMalformed},
		"number 01":     {header(`{"msg_id":"s_01","session":"s","msg_type":"status"}`), ErrMalformed},
		"number +1":     {header(`{"msg_id":"s_+1","session":"s","msg_type":"status"}`), ErrMalformed},
		"number 1e3":    {header(`{"msg_id":"s_1e3","session":"s","msg_type":"status"}`), ErrMalformed},
		"number 2^64":   {header(`{"msg_id":"s_18446744073709551616","session":"s","msg_type":"status"}`), ErrMalformed},
		"bad parent":    {resign(func() [][]byte { f := good(); f[3] = []byte(`{"a":`); return f }()), ErrMalformed},
		"unsigned":      {func() [][]byte { f := good(); f[1] = nil; return f }(), ErrSignature},
		"upper case":    {func() [][]byte { f := good(); f[1] = bytes.ToUpper(f[1]); return f }(), ErrSignature},
		"changed":       {func() [][]byte { f := good(); f[5] = []byte(`{"a":1}`); return f }(), ErrSignature},
		"moved":         {func() [][]byte { f := good(); f[4], f[5] = []byte(`{`), []byte(`}{}`); return f }(), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := NewDecoder(testKey).Decode(test.frames); !errors.Is(err, test.want) {
				t.Errorf("message %v, error %v, want %v", m, err, test.want)
			}
		})
	}
	if _, err := NewDecoder(bytes.Repeat([]byte{8}, KeySize)).Decode(good()); !errors.Is(err, ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}

func TestReplay(t *testing.T) {
	e, other, d := NewEncoder(testKey), NewEncoder(testKey), NewDecoder(testKey)
	three := clone(e.Encode(new(Buffer), 3, TypeStatus, nil, []byte(`{}`)))
	five := clone(e.Encode(new(Buffer), 5, TypeStatus, nil, []byte(`{}`)))
	four := clone(e.Encode(new(Buffer), 4, TypeStatus, nil, []byte(`{}`)))
	for _, step := range []struct {
		frames [][]byte
		want   error
	}{
		{three, nil},
		{three, ErrReplay},
		{clone(other.Encode(new(Buffer), 9, TypeStatus, nil, []byte(`{}`))), ErrSession},
		{five, nil}, // a gap is a message that was dropped
		{four, ErrReplay},
		{five, ErrReplay},
		{clone(e.Encode(new(Buffer), 6, TypeStatus, nil, []byte(`{}`))), nil},
	} {
		if _, err := d.Decode(step.frames); !errors.Is(err, step.want) {
			t.Errorf("%s: error %v, want %v", step.frames[2], err, step.want)
		}
	}
}

// A message that is refused must not pin its session.
func TestRefusedMessagePinsNothing(t *testing.T) {
	d := NewDecoder(testKey)
	if _, err := d.Decode(clone(NewEncoder(bytes.Repeat([]byte{1}, KeySize)).Encode(new(Buffer), 1, TypeStatus, nil, []byte(`{}`)))); err == nil {
		t.Fatal("accepted")
	}
	if _, err := d.Decode(clone(NewEncoder(testKey).Encode(new(Buffer), 1, TypeStatus, nil, []byte(`{}`)))); err != nil {
		t.Error(err)
	}
}

func TestParseKey(t *testing.T) {
	if _, err := ParseKey("0123"); err == nil {
		t.Error("a short key was accepted")
	}
	if _, err := ParseKey("xy"); err == nil {
		t.Error("a key that is not hexadecimal was accepted")
	}
	if a, b := NewKey(), NewKey(); bytes.Equal(a, b) || len(a) != KeySize {
		t.Error("keys are not random")
	}
}

// FuzzDecode: no frames make Decode panic, and what it accepts is signed.
func FuzzDecode(f *testing.F) {
	add := func(frames [][]byte) { f.Add(frames[1], frames[2], frames[3], frames[5], []byte("buffer"), true) }
	add(NewEncoder(testKey).Encode(new(Buffer), 1, TypeStream, []byte(`{"msg_id":"p_1","msg_type":"hello"}`), []byte(`{"name":"stdout","seq":3}`)))
	add(NewEncoder(testKey).Encode(new(Buffer), 1, TypeStatus, nil, []byte(`{}`)))
	f.Add([]byte("xx"), []byte(`{"msg_type":"\u0061"}`), []byte(`null`), []byte(`0`), []byte(nil), true)
	f.Fuzz(func(t *testing.T, signature, header, parent, content, buffer []byte, resign bool) {
		frames := [][]byte{delimiter, signature, header, parent, emptyObject, content, buffer}
		if resign { // else the fuzzer would never get past the signature
			frames[1] = []byte(signed(testKey, header, parent, emptyObject, content))
		}
		m, err := NewDecoder(testKey).Decode(frames)
		if err != nil {
			return
		}
		if want := signed(testKey, header, parent, emptyObject, content); string(frames[1]) != want {
			t.Errorf("accepted signature %q, want %q", frames[1], want)
		}
		var h Header
		if err := json.Unmarshal(header, &h); err != nil {
			t.Errorf("accepted header %q: %v", header, err)
		}
		if !foldedKeys(header) && h != m.Header {
			t.Errorf("header %+v, want %+v", m.Header, h)
		}
	})
}

// foldedKeys reports whether an object has a key that encoding/json takes for a field's name although its case differs.
func foldedKeys(data []byte) bool {
	var object map[string]json.RawMessage
	json.Unmarshal(data, &object)
	for key := range object {
		for _, name := range []string{"msg_id", "session", "msg_type"} {
			if key != name && strings.EqualFold(key, name) {
				return true
			}
		}
	}
	return false
}

// FuzzScanner: the fast way gives what encoding/json gives, or gives up.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : "b" , "c":12 } `, `{"a":"\n"}`, `{"a":01}`, `{"a":-1}`, `{"a":1.5}`, `{"a":{}}`, `{"a":{"b":1 } , "c":2}`, `{"a":"b",}`,
		`{"a":"b"`, `{"a":18446744073709551616}`, `{"name": "stdout", "seq": 1048576}`, "{\"a\":\"\x7f\"}", `{"a":1 }x`, `{"a":}`, `{"a":"b" "c":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := scanner{text: []byte(text)}
		var object func(into map[string]any) bool
		object = func(into map[string]any) bool {
			return s.object(func(k []byte) bool {
				key := string(k)
				s.space()
				switch before := s.at; {
				case before < len(text) && text[before] == '"':
					var value []byte
					ok := s.string(&value)
					into[key] = string(value)
					return ok
				case before < len(text) && text[before] == '{':
					value := make(map[string]any)
					into[key] = value
					return object(value)
				default:
					var value uint64
					ok := s.natural(&value)
					into[key] = json.Number(fmt.Sprint(value))
					return ok
				}
			})
		}
		got := make(map[string]any)
		if !object(got) || !s.end() {
			return
		}
		want := make(map[string]any)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("accepted %q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	})
}

// A reply is read as encoding/json reads it, whichever way.
func TestParseExecuteReply(t *testing.T) {
	for _, content := range []string{
		`{"status":"ok","execution_count":5}`,
		`{"status":"ok","execution_count":5,"groups":{"0":12,"default_pg":0}}`,
		`{"status":"error","execution_count":5,"ename":"ValueError","evalue":"ü","traceback":["a\n"],"exit_code":3}`,
		`{"status":"aborted","execution_count":-1}`,
		`{"status":"ok","execution_count":5,"unknown":[1]}`,
	} {
		want := new(ExecuteReply)
		if err := json.Unmarshal([]byte(content), want); err != nil {
			t.Fatal(err)
		}
		got, err := ParseExecuteReply([]byte(content))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", content, err, diff)
		}
	}
	for _, content := range []string{``, `{"status":"ok"`, `{"status":1}`, `[]`} {
		if got, err := ParseExecuteReply([]byte(content)); err == nil {
			t.Errorf("%q is %+v", content, got)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := NewEncoder(testKey)
	content := []byte(`{"code":"pass","silent":false,"store_history":true,"path":"/home/user/train.py","line":12}`)
	b.ReportAllocs()
	var buffer Buffer
	for i := range b.N {
		e.Encode(&buffer, uint64(i+1), TypeExecuteRequest, nil, content)
	}
}

func BenchmarkDecodeStream(b *testing.B) {
	e := NewEncoder(testKey)
	parent := clone(e.Encode(new(Buffer), 1, TypeExecuteRequest, nil, []byte(`{}`)))[2]
	frames := clone(e.Encode(new(Buffer), 2, TypeStream, parent, []byte(`{"name": "stdout", "seq": 1048576}`), []byte("epoch 1\n")))
	d := NewDecoder(testKey)
	b.ReportAllocs()
	for b.Loop() {
		d.last = 1
		m, err := d.Decode(frames)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ParseStream(m.Content); err != nil {
			b.Fatal(err)
		}
	}
}
