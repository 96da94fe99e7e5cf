package history

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"dipls/dipexec/event"
	"dipls/internal/bytesize"
	"dipls/internal/ranklist"
	"dipls/session"
)

// How much one Next returns.
const (
	batchEvents = 500
	batchBytes  = 32 << 10
)

// Cursor is one reader's place in a [Log].
type Cursor struct {
	l     *Log
	kinds []event.Kind // that the reader gets; none: all
	ready chan struct{}

	// Under the log's mu:
	seq    uint64          // of the last entry that was taken or skipped
	pos    uint64          // up to which position everything was taken or skipped
	seek   uint64          // what is not after this position is skipped
	past   uint64          // End is at least that
	missed map[*run]missed // what was dropped before it was taken, and has not been told
	lags   bool            // output is skipped until the backlog is half of what the log keeps
	told   []event.Event   // for this reader alone
	tells  uint64          // how many of those there have been
	heard  uint64          // how many of those were taken
	ended  bool
}

var _ session.Subscription = (*Cursor)(nil)

// Cursor returns a reader of what is appended from now on.
func (l *Log) Cursor(kinds ...event.Kind) *Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor(l.seq, l.end, kinds)
}

// CursorAtStart returns a reader of all that is kept, and of what is appended later.
func (l *Log) CursorAtStart(kinds ...event.Kind) *Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.cursor(0, 0, kinds)
	for _, r := range l.runs {
		if r.missed.bytes > 0 {
			c.missed[r] = missed{r.missed.first, r.missed.bytes, maps.Clone(r.missed.who)}
		}
	}
	return c
}

// cursor makes a cursor. mu is held.
func (l *Log) cursor(seq, pos uint64, kinds []event.Kind) *Cursor {
	c := &Cursor{l: l, kinds: kinds, ready: make(chan struct{}, 1), seq: seq, pos: pos, missed: map[*run]missed{}}
	l.cursors = append(l.cursors, c)
	return c
}

// Seek skips what is not after a position. Nothing was taken before.
func (c *Cursor) Seek(pos uint64) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.pos, c.seek, c.past = max(c.pos, pos), max(c.seek, pos), max(c.past, pos)
}

// Past says that the log will come to a position that is past for the reader, so [Cursor.End] is at least that.
func (c *Cursor) Past(pos uint64) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.past = max(c.past, pos)
}

// gets reports whether the reader gets an event.
func (c *Cursor) gets(ev event.Event) bool {
	return len(c.kinds) == 0 || slices.Contains(c.kinds, ev.Head().Kind)
}

// wake says that there may be something to read.
func (c *Cursor) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// miss notes that an entry is not taken. mu is held.
func (c *Cursor) miss(e *entry) {
	if e.run == nil || e.pos <= c.seek {
		return
	}
	m := c.missed[e.run]
	m.add(e.seq, e.size, e.ev)
	c.missed[e.run] = m
}

// Next implements [session.Subscription].
func (c *Cursor) Next(ctx context.Context) ([]event.Event, error) {
	events, _, err := c.NextAt(ctx)
	return events, err
}

// NextAt is Next with the position of each event. Log events that tell what was left out are at the position of the event that follows.
func (c *Cursor) NextAt(ctx context.Context) ([]event.Event, []uint64, error) {
	for {
		events, positions, open := c.take()
		switch {
		case len(events) > 0:
			return events, positions, nil
		case !open:
			return nil, nil, io.EOF
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// take takes some events. open is false if none will come.
func (c *Cursor) take() (events []event.Event, positions []uint64, open bool) {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.ended {
		return nil, nil, false
	}
	events, c.told = c.told, nil
	c.heard += uint64(len(events))
	for range events {
		positions = append(positions, c.pos)
	}
	give := func(ev event.Event, pos uint64) {
		events, positions = append(events, ev), append(positions, pos)
	}
	size := 0
	i := l.index(c.seq + 1)
	for ; i < len(l.entries) && len(events) < batchEvents && size < batchBytes; i++ {
		e := &l.entries[i]
		c.seq = e.seq
		if e.ev == nil || e.pos <= c.seek {
			continue
		}
		if c.lags && l.total-e.total <= uint64(l.o.Bytes/2) {
			c.lags = false
		}
		if c.lags && e.size > 0 && e.run != nil {
			if c.gets(e.ev) {
				c.miss(e)
			}
			continue
		}
		if m, ok := c.missed[e.run]; ok && m.first < e.seq {
			c.tellMissed(e.run, e.pos, give)
		}
		if c.gets(e.ev) {
			give(e.ev, e.pos)
			size += e.size
		}
		c.pos = max(c.pos, e.pos)
	}
	if i == len(l.entries) {
		for r := range c.missed {
			c.tellMissed(r, l.end, give)
		}
		c.pos = max(c.pos, l.end)
	} else {
		c.wake()
	}
	return events, positions, !l.closed || len(events) > 0 || i < len(l.entries)
}

// tellMissed gives a log event about what was left out of a run's output. mu is held.
func (c *Cursor) tellMissed(r *run, pos uint64, give func(event.Event, uint64)) {
	m := c.missed[r]
	delete(c.missed, r)
	if r.forgotten || len(c.kinds) > 0 && !slices.Contains(c.kinds, event.KindLog) {
		return
	}
	text := fmt.Sprintf("%s of output of %s left out here", bytesize.Format(m.bytes), ranklist.InSentence(slices.Collect(maps.Keys(m.who))))
	if r.journal != "" {
		text += "; all of it is in " + r.journal
	}
	give(&event.Log{
		Header: event.Header{Kind: event.KindLog, Run: r.id, Cell: r.index}, Level: event.LevelWarning, Text: text, Path: r.journal,
	}, pos)
}

// Tell gives this reader alone an event. It never waits.
func (c *Cursor) Tell(ev event.Event) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.told = append(c.told, ev)
	c.tells++
	c.wake()
}

// Progress implements [session.Subscription]. Nobody waits for a reader.
func (c *Cursor) Progress() {}

// Position implements [session.Subscription].
func (c *Cursor) Position() uint64 {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return c.pos + c.heard
}

// End implements [session.Subscription].
func (c *Cursor) End() uint64 {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return max(c.l.end, c.past) + c.tells
}

// Close ends the reader.
func (c *Cursor) Close() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.cursors = slices.DeleteFunc(c.l.cursors, func(other *Cursor) bool { return other == c })
	c.ended, c.told, c.missed = true, nil, nil
	c.wake()
}
