package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.lsp.dev/jsonrpc2"

	"dipls/internal/contain"
)

// memory is a stream that has been written before it is read.
type memory struct {
	*bytes.Reader
	io.Writer
}

func (memory) Close() error { return nil }

// readAll reads messages until the end of what was sent.
func readAll(sent []byte) (got []jsonrpc2.Message, answered string) {
	var answers bytes.Buffer
	s := newStream(memory{bytes.NewReader(sent), &answers})
	for {
		m, err := s.next(context.Background())
		if err != nil {
			break
		}
		got = append(got, m)
	}
	_ = s.out.flush(context.Background())
	s.close()
	<-s.out.done
	return got, answers.String()
}

// FuzzFraming sends bytes of any kind, and then a message that must arrive. The seeds are run by every test: letters that change their length with
// their case stand before, in and behind headers.
func FuzzFraming(f *testing.F) {
	for _, seed := range []string{
		"Content-Length: 100\r\n\r\n" + strings.Repeat("Ⱥ", 100), // the length counts characters
		strings.Repeat("Ⱥ", 40) + "Content-Length: 2\r\n\r\n{}",
		"İİİİ Content-Length: 2\r\n\r\n{}", "ẞẞẞcontent-length:2\r\n\r\n{}", "Ω Content-Length: \u212a\r\n\r\n", "Content-Length: ٣\r\n\r\n",
		"CONTENT-LENGTH: 2\r\n\r\n{}", "\xff\xfe\x00Content-Length:\xff\r\n\r\n", "Content-Length: 9223372036854775807\r\n\r\n", "Content-Length", ":", "",
		"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n[]",
	} {
		f.Add([]byte(seed))
	}
	const last = `{"jsonrpc":"2.0","method":"last"}`
	f.Fuzz(func(t *testing.T, sent []byte) {
		whole := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(last), last)
		readAll(append(sent, whole...)) // no panic, and an end: a length may take what follows
		// After a line's end that no body takes, the next message is found.
		if n := bytes.Count(bytes.ToLower(sent), []byte("length")); n > 0 {
			return
		}
		got, answered := readAll(append(append(sent, "\r\n\r\n"...), whole...))
		if len(got) != 1 || got[0].(*jsonrpc2.Notification).Method() != "last" {
			t.Errorf("%q: got %v, answered %s", sent, got, answered)
		}
	})
}

// A message of Ⱥ whose length counts characters is answered, and the next message arrives.
func TestLengthOfCharacters(t *testing.T) {
	const last = `{"jsonrpc":"2.0","method":"last"}`
	for _, letter := range []string{"Ⱥ", "İ", "ẞ", "\u212a", "ı"} {
		body := `{"jsonrpc":"2.0","method":"` + strings.Repeat(letter, 200) + `"}`
		short := len([]rune(body))
		sent := fmt.Sprintf("Content-Length: %d\r\n\r\n%sContent-Length: %d\r\n\r\n%s", short, body, len(last), last)
		got, answered := readAll([]byte(sent))
		if len(got) != 1 || got[0].(*jsonrpc2.Notification).Method() != "last" || !strings.Contains(answered, "-32700") {
			t.Errorf("%s: got %v, answered %s", letter, got, answered)
		}
	}
}

// trap panics when it is encoded.
type trap struct{}

func (trap) MarshalJSON() ([]byte, error) { panic("a slip") }
func (*trap) UnmarshalJSON([]byte) error  { panic("a slip") }

// What cannot be encoded or decoded costs its message, not the process: that holds the user's variables.
func TestMessagesContainPanics(t *testing.T) {
	s := newStream(memory{bytes.NewReader(nil), io.Discard})
	defer func() {
		s.close()
		<-s.out.done
	}()
	var fault *contain.Fault
	if err := s.send("", func(b []byte) ([]byte, error) { return appendResult(b, jsonrpc2.NewNumberID(1), trap{}) }); !errors.As(err, &fault) {
		t.Errorf("send: %v", err)
	}
	if err := unmarshal([]byte(`{}`), &trap{}); !errors.As(err, &fault) {
		t.Errorf("unmarshal: %v", err)
	}
}
