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
	past   uint64          // up to which position all has happened before; End is at least that
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
	c.wake()
	return c
}

// Seek skips what is not after a position. Nothing was taken before.
func (c *Cursor) Seek(pos uint64) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.pos, c.seek, c.past = max(c.pos, pos), max(c.seek, pos), max(c.past, pos)
}

// Begin says that for the reader the log up to a position is the past, also if it has not come to that yet.
func (c *Cursor) Begin(pos uint64) {
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
	for {
		items, open := c.Take()
		if len(items) > 0 {
			events := make([]event.Event, len(items))
			for i, it := range items {
				events[i] = it.Event
			}
			return events, nil
		}
		if !open {
			return nil, io.EOF
		}
		if err := c.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// Wait waits until there may be something to take, or nothing will come.
func (c *Cursor) Wait(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Item is an event in its place.
type Item struct {
	Event    event.Event
	Position uint64
	JSON     []byte // as the log was given it, if it was
}

// Take takes some of the events that are there, and does not wait. open is false once all have been taken that will ever be there. Log events that tell what
// was left out are at the position of the event that follows.
func (c *Cursor) Take() (items []Item, open bool) {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.ended {
		return nil, false
	}
	for _, ev := range c.told {
		items = append(items, Item{Event: ev, Position: c.pos})
	}
	c.heard += uint64(len(c.told))
	c.told = nil
	size := 0
	i := l.index(c.seq + 1)
	for ; i < len(l.entries) && len(items) < batchEvents && size < batchBytes; i++ {
		e := &l.entries[i]
		if c.pos < c.past && e.pos > c.past {
			c.pos = c.past
			if len(items) > 0 {
				break // the past is not taken together with what came later
			}
		}
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
			items = c.tellMissed(items, e.run, e.pos)
		}
		if c.gets(e.ev) {
			items = append(items, Item{e.ev, e.pos, e.json})
			size += e.size
		}
		c.pos = max(c.pos, e.pos)
	}
	if i == len(l.entries) {
		for r := range c.missed {
			items = c.tellMissed(items, r, l.end)
		}
		c.pos = max(c.pos, l.end)
	} else {
		c.wake()
	}
	return items, !l.closed || len(items) > 0 || i < len(l.entries)
}

// tellMissed adds a log event about what was left out of a run's output. mu is held.
func (c *Cursor) tellMissed(items []Item, r *run, pos uint64) []Item {
	m := c.missed[r]
	delete(c.missed, r)
	if r.forgotten || len(c.kinds) > 0 && !slices.Contains(c.kinds, event.KindLog) {
		return items
	}
	text := fmt.Sprintf("%s of output of %s left out here", bytesize.Format(m.bytes), ranklist.InSentence(slices.Collect(maps.Keys(m.who))))
	if r.journal != "" {
		text += "; all of it is in " + r.journal
	}
	return append(items, Item{Event: &event.Log{
		Header: event.Header{Kind: event.KindLog, Run: r.id, Cell: r.index}, Level: event.LevelWarning, Text: text, Path: r.journal, Missing: true,
	}, Position: pos})
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

// Past implements [session.Subscription].
func (c *Cursor) Past() uint64 {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return c.past
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
