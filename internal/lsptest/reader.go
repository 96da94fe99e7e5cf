package lsptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// reader reads messages of LSP's base protocol, strictly: a server has no excuse.
type reader struct{ r *bufio.Reader }

func newReader(r io.Reader) *reader { return &reader{bufio.NewReader(r)} }

func (r *reader) next() (Message, error) {
	size := -1
	for {
		line, err := r.r.ReadString('\n')
		if err != nil {
			if line != "" {
				err = io.ErrUnexpectedEOF
			}
			return Message{}, err
		}
		line, crlf := strings.CutSuffix(line, "\r\n")
		if !crlf {
			return Message{}, fmt.Errorf("header line %q does not end in \\r\\n", line)
		}
		if line == "" {
			break
		}
		name, value, found := strings.Cut(line, ": ")
		if !found {
			return Message{}, fmt.Errorf("header line %q", line)
		}
		if strings.EqualFold(name, "Content-Length") {
			if size, err = strconv.Atoi(value); err != nil || size < 0 {
				return Message{}, fmt.Errorf("header line %q", line)
			}
		}
	}
	if size < 0 {
		return Message{}, fmt.Errorf("a header without Content-Length")
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r.r, body); err != nil {
		return Message{}, err
	}
	var m struct {
		Message
		Version string `json:"jsonrpc"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return Message{}, fmt.Errorf("%.200s: %w", body, err)
	}
	if m.Version != "2.0" {
		return Message{}, fmt.Errorf("%.200s: no jsonrpc 2.0", body)
	}
	m.body = body
	return m.Message, nil
}
