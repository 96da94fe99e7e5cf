package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// scanner reads JSON of the simplest kind without reflection: objects whose strings are printable ASCII without escapes, and whose numbers are natural.
// Its methods report false as soon as they meet anything else. Then the caller forgets what it has so far, and uses encoding/json.
type scanner struct {
	text []byte // strings share it
	at   int
}

// parseHeader decodes a header. known is the session that it probably has.
func parseHeader(data []byte, known string) (Header, error) {
	id, session, msgType, simple := scanHeader(data)
	if !simple {
		var h Header
		if err := json.Unmarshal(data, &h); err != nil {
			return Header{}, err
		}
		if h.MsgType == "" {
			return Header{}, errNoType
		}
		return h, nil
	}
	if len(msgType) == 0 {
		return Header{}, errNoType
	}
	h := Header{MsgID: string(id), Session: known}
	if known != string(session) {
		h.Session = string(session)
	}
	switch string(msgType) { // most of all answer a cell, or are what it prints
	case TypeExecuteReply:
		h.MsgType = TypeExecuteReply
	case TypeStream:
		h.MsgType = TypeStream
	default:
		h.MsgType = string(msgType)
	}
	return h, nil
}

// parseParentID gives the msg_id of a parent header, "" if there is none.
func parseParentID(data []byte) (string, error) {
	if bytes.Equal(data, emptyObject) {
		return "", nil
	}
	if id, _, msgType, simple := scanHeader(data); simple && len(msgType) > 0 {
		return string(id), nil
	}
	h, err := parseHeader(data, "")
	return h.MsgID, err
}

var errNoType = errors.New("no msg_type")

func scanHeader(data []byte) (id, session, msgType []byte, simple bool) {
	var other []byte
	s := scanner{text: data}
	simple = s.object(func(key []byte) bool {
		switch string(key) {
		case "msg_id":
			return s.string(&id)
		case "session":
			return s.string(&session)
		case "msg_type":
			return s.string(&msgType)
		}
		return s.string(&other)
	}) && s.end()
	return id, session, msgType, simple
}

// ParseStream decodes the content of a stream message, the most frequent one.
func ParseStream(content []byte) (Stream, error) {
	var name []byte
	var seq uint64
	s := scanner{text: content}
	if s.object(func(key []byte) bool {
		switch string(key) {
		case "name":
			return s.string(&name)
		case "seq":
			return s.natural(&seq)
		}
		return false
	}) && s.end() {
		return Stream{string(name), seq}, nil
	}
	var m Stream
	err := json.Unmarshal(content, &m)
	return m, err
}

// ParseExecuteReply decodes the content of an execute_reply. That of code without an exception is the fast one.
func ParseExecuteReply(content []byte) (*ExecuteReply, error) {
	var status []byte
	var count uint64
	var groups map[string]uint64
	s := scanner{text: content}
	if s.object(func(key []byte) bool {
		switch string(key) {
		case "status":
			return s.string(&status)
		case "execution_count":
			return s.natural(&count) && count <= math.MaxInt32
		case "groups":
			groups = make(map[string]uint64)
			return s.object(func(group []byte) bool {
				var n uint64
				ok := s.natural(&n)
				groups[string(group)] = n
				return ok
			})
		}
		return false
	}) && s.end() && string(status) == "ok" {
		return &ExecuteReply{Status: Status{Status: "ok"}, ExecutionCount: int(count), Groups: groups}, nil
	}
	m := new(ExecuteReply)
	if err := json.Unmarshal(content, m); err != nil {
		return nil, err
	}
	return m, nil
}

// object reads an object. member is called with the key of each member, and reads its value.
func (s *scanner) object(member func(key []byte) bool) bool {
	if !s.token('{') {
		return false
	}
	if s.token('}') {
		return true
	}
	for {
		var key []byte
		if !s.string(&key) || !s.token(':') || !member(key) {
			return false
		}
		if s.token('}') {
			return true
		}
		if !s.token(',') {
			return false
		}
	}
}

func (s *scanner) string(value *[]byte) bool {
	if !s.token('"') {
		return false
	}
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			*value = s.text[s.at:i]
			s.at = i + 1
			return true
		case c == '\\' || c < 0x20 || c >= 0x7f:
			return false
		}
	}
	return false
}

func (s *scanner) natural(value *uint64) bool {
	s.space()
	start := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	digits := s.text[start:s.at]
	n, err := strconv.ParseUint(string(digits), 10, 64)
	*value = n
	return err == nil && (digits[0] != '0' || len(digits) == 1)
}

// end reports whether nothing follows.
func (s *scanner) end() bool {
	s.space()
	return s.at == len(s.text)
}

// token reads a character if it is the next one.
func (s *scanner) token(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\n' || s.text[s.at] == '\t' || s.text[s.at] == '\r') {
		s.at++
	}
}
