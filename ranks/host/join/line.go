package join

import (
	"crypto/tls"
	"encoding/json"
	"net"
)

// protocol is the version of the lines, and of what follows them.
const protocol = 1

// maxLine bounds a line in bytes.
const maxLine = 64 << 10

// Hello is the first line of a host. Either it resumes, or it has a token.
type Hello struct {
	Protocol int             `json:"protocol"`
	Token    string          `json:"token"`
	Fetch    string          `json:"fetch"`  // what the host wants besides; "": it joins
	Facts    json.RawMessage `json:"host"`   // what it says of itself
	Resume   *Resume         `json:"resume"` // it has joined before
}

// Resume is how a host goes on.
type Resume struct {
	Index    int    `json:"index"`    // the host's number
	Received uint64 `json:"received"` // bytes of counted frames that it has
}

// welcome is the first line of the session.
type welcome struct {
	Refused     string  `json:"refused,omitempty"`
	Again       bool    `json:"again,omitempty"` // it may ask again in a moment
	Index       int     `json:"index"`
	Lease       float64 `json:"lease"` // seconds
	Certificate string  `json:"certificate,omitempty"`
	Key         string  `json:"key,omitempty"`
	Authority   string  `json:"authority,omitempty"` // the certificate of who has signed those of all hosts
	Received    uint64  `json:"received"`
}

// confirmation is the second line of a host that joins.
type confirmation struct {
	Joined bool `json:"joined"`
}

// connection is a TLS connection whose Close does not wait for the peer, as [tls.Conn.Close] does to take leave.
type connection struct {
	*tls.Conn
	raw net.Conn
}

func (c *connection) Close() error { return c.raw.Close() }

func (c *connection) writeLine(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Write(append(b, '\n'))
	return err
}

// readLine reads a line and nothing behind it.
func (c *connection) readLine(v any) error {
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := c.Read(one); err != nil {
			return explainSilence(err)
		}
		if one[0] == '\n' {
			break
		}
		if line = append(line, one[0]); len(line) > maxLine {
			return refuse("a line of more than %d bytes", maxLine)
		}
	}
	if err := json.Unmarshal(line, v); err != nil {
		return refuse("not the line of a host: %v", err)
	}
	return nil
}
