package afar

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"dipls/ranks/host"
	"dipls/ranks/host/mux"
)

// carrierAnswer is a line of a carrier (dip_agent/hosts/carrier.py).
type carrierAnswer struct {
	Files []host.SharedFile `json:"files"`  // that it keeps
	Hash  string            `json:"sha256"` // of all bytes
	Error string            `json:"error"`
}

// carrier is a process there that keeps or fetches bytes, and ends with its channel.
type carrier struct {
	host    *Host
	channel *mux.Channel
	answers *bufio.Reader
	hash    hash.Hash // of what has passed
}

// newCarrier starts a carrier with its request.
func (h *Host) newCarrier(request any) (*carrier, error) {
	channel, err := h.conn.Open(map[string]string{"serve": "carrier"})
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(request)
	if err == nil {
		_, err = channel.Write(append(line, '\n'))
	}
	if err != nil {
		channel.Close()
		return nil, err
	}
	return &carrier{h, channel, bufio.NewReaderSize(channel, 64<<10), sha256.New()}, nil
}

// answer reads a line.
func (c *carrier) answer() (a carrierAnswer, err error) {
	line, err := c.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, err
}

// agrees compares what has passed with what was kept or read there.
func (c *carrier) agrees(a carrierAnswer) error {
	if got := hex.EncodeToString(c.hash.Sum(nil)); got != a.Hash {
		return fmt.Errorf("what has come is not what was sent (SHA-256 %.12s… and %.12s…)", got, a.Hash)
	}
	return nil
}

// explain says what an error comes from.
func (c *carrier) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case c.host.conn.Err() != nil:
		return c.host.conn.Err()
	}
	return fmt.Errorf("%s: %w", c.host.name, err)
}

// Keep implements [host.Host]. The memory is that of a process there, which ends when it is freed.
func (h *Host) Keep(ctx context.Context, sizes []int64, r io.Reader) (files []host.SharedFile, free func(), err error) {
	c, err := h.newCarrier(map[string][]int64{"keep": sizes})
	if err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(ctx, func() { c.channel.Close() })()
	var total int64
	for _, size := range sizes {
		total += size
	}
	type outcome struct {
		carrierAnswer
		err error
	}
	answers := make(chan outcome, 1)
	go func() {
		a, err := c.answer()
		if err != nil {
			c.channel.Close() // it takes no more
		}
		answers <- outcome{a, err}
	}()
	source := &source{r: r}
	_, err = io.CopyN(io.MultiWriter(c.channel, c.hash), source, total)
	broken := err != nil && source.err != nil
	if broken {
		c.channel.Close() // there is nothing more to wait for
	}
	a := <-answers
	switch {
	case broken:
		err = source.err
	case a.err != nil:
		err = a.err
	case err == nil:
		err = c.agrees(a.carrierAnswer)
	}
	if err = c.explain(ctx, err); err != nil {
		c.channel.Close()
		return nil, nil, err
	}
	return a.Files, func() { c.channel.Close() }, nil
}

// source is a reader that remembers its error.
type source struct {
	r   io.Reader
	err error
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (n int, err error) {
	n, err = s.r.Read(p)
	if s.err = err; errors.Is(err, io.EOF) {
		s.err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Fetch implements [host.Host].
func (h *Host) Fetch(ctx context.Context, files []host.SharedFile, w io.Writer) error {
	c, err := h.newCarrier(map[string][]host.SharedFile{"fetch": files})
	if err != nil {
		return err
	}
	defer c.channel.Close()
	defer context.AfterFunc(ctx, func() { c.channel.Close() })()
	var total int64
	for _, f := range files {
		total += f.Size
	}
	if _, err = c.answer(); err == nil {
		_, err = io.CopyN(io.MultiWriter(w, c.hash), c.answers, total)
	}
	if err == nil {
		var a carrierAnswer
		if a, err = c.answer(); err == nil {
			err = c.agrees(a)
		}
	}
	return c.explain(ctx, err)
}
