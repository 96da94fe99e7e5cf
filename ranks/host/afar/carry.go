package afar

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"dipls/ranks/host"
	"dipls/ranks/host/mux"
)

// carrierAnswer is a line of a carrier (dip_agent/hosts/carrier.py).
type carrierAnswer struct {
	Files []host.SharedFile `json:"files"`  // that it keeps
	Hash  string            `json:"sha256"` // of all bytes; it is the last word
	Error string            `json:"error"`
	Has   int64             `json:"has"` // how many bytes there are

	// In a chain.
	Port      int    `json:"port"`      // where it waits for the host before it; 0: nowhere
	Lost      string `json:"lost"`      // why no more comes from the host before it
	Unreached string `json:"unreached"` // why the next host cannot be reached
	Refused   string `json:"refused"`   // who has come instead of the host before it
}

// carrier is a process there that keeps or fetches bytes, and ends with its channel.
type carrier struct {
	host    *Host
	channel *mux.Channel
	answers *bufio.Reader
}

// newCarrier starts a carrier with its request.
func (h *Host) newCarrier(ctx context.Context, request any) (*carrier, error) {
	channel, err := h.conn.Open(map[string]string{"serve": "carrier"})
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { channel.Close() })()
	c := &carrier{h, channel, bufio.NewReaderSize(channel, 64<<10)}
	if err := c.say(request); err != nil {
		channel.Close()
		return nil, c.explain(ctx, err)
	}
	return c, nil
}

// say writes a line.
func (c *carrier) say(what any) error {
	line, err := json.Marshal(what)
	if err == nil {
		_, err = c.channel.Write(append(line, '\n'))
	}
	return err
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

// agree compares the SHA-256, in hexadecimal, of what was sent and of what has come.
func agree(sent, come string) error {
	if sent != come {
		return fmt.Errorf("what has come is not what was sent (SHA-256 %.12s… and %.12s…)", come, sent)
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

// Keep implements [host.Host].
func (h *Host) Keep(ctx context.Context, sizes []int64, r io.Reader) (files []host.SharedFile, free func(), err error) {
	var total int64
	for _, size := range sizes {
		total += size
	}
	kept, err := h.KeepAlong(ctx, nil, sizes, func(_ context.Context, w io.Writer, _ int64) error {
		_, err := io.CopyN(w, r, total)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}, nil)
	if err != nil {
		return nil, nil, err
	}
	return kept[0].Files, kept[0].Free, nil
}

// Fetch implements [host.Host].
func (h *Host) Fetch(ctx context.Context, files []host.SharedFile, w io.Writer) error {
	c, err := h.newCarrier(ctx, map[string][]host.SharedFile{"fetch": files})
	if err != nil {
		return err
	}
	defer c.channel.Close()
	defer context.AfterFunc(ctx, func() { c.channel.Close() })()
	var total int64
	for _, f := range files {
		total += f.Size
	}
	sum := sha256.New()
	if _, err = c.answer(); err == nil {
		_, err = io.CopyN(io.MultiWriter(w, sum), c.answers, total)
	}
	if err == nil {
		var a carrierAnswer
		if a, err = c.answer(); err == nil {
			err = agree(a.Hash, hex.EncodeToString(sum.Sum(nil)))
		}
	}
	return c.explain(ctx, err)
}
