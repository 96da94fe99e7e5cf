package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"dipls/dipexec/event"
	"dipls/session"
)

// How much one answer has of what was told before.
const (
	earlierCount = 200
	earlierBytes = 128 << 10
)

// earlier are events from before a subscription began, of which the client asks for one batch after the other.
type earlier struct {
	mu     sync.Mutex // guards what follows
	first  []event.Event
	replay session.Replay // nil: it was closed
	number int            // of the last answer
	answer earlierEvents
}

// read is the answer of a number, which is the last one once more, for a client that has not waited for it, or the next.
func (e *earlier) read(number int, encode func(event.Event) []byte) earlierEvents {
	e.mu.Lock()
	defer e.mu.Unlock()
	if number != e.number {
		e.number, e.answer = number, earlierEvents{}
		events, more := e.next()
		for _, ev := range events {
			e.answer.Events = append(e.answer.Events, encode(ev))
		}
		e.answer.More = more
	}
	return e.answer
}

// next returns some of the events, at least one if there are any. more is false at the end. What cannot be read is replaced by a log event. mu is held.
func (e *earlier) next() (events []event.Event, more bool) {
	events, e.first = e.first, nil
	for size := 0; e.replay != nil && len(events) < earlierCount && size < earlierBytes; {
		ev, err := e.replay.Next()
		if err != nil {
			e.end()
			if errors.Is(err, io.EOF) {
				break
			}
			ev = event.NewLog(event.LevelWarning, fmt.Sprintf("not all of what was told before can be read: %v", err))
		}
		if text, ok := ev.(*event.Stream); ok {
			size += len(text.Text)
		}
		events = append(events, ev)
	}
	return events, e.replay != nil
}

func (e *earlier) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
}

// end closes what is read. mu is held.
func (e *earlier) end() {
	if e.replay != nil {
		e.replay.Close()
		e.replay = nil
	}
}

// replay is what was told of a run and of those after it, up to a position of the log.
func (s *Server) replay(ctx context.Context, run string) (e *earlier, at uint64, err error) {
	from, ok := s.filler.sub.(session.Replayer)
	if !ok {
		return nil, 0, &session.Error{Code: session.CodeNoRun, Text: "nothing is kept of run " + run}
	}
	replay, given, err := from.Replay(run)
	if err != nil {
		return nil, 0, err
	}
	// No journal has these, and they come before all else of their runs. The client may have got some of them already, before it asked.
	queued, at := s.events.Queued(run, s.filler.positionOf(ctx, given))
	return &earlier{first: queued, replay: replay}, at, nil
}

// subscribe begins a subscription of the client's.
func (p *peer) subscribe(ctx context.Context, m subscribeParams) (begun subscribed, err error) {
	if m.Front != "" {
		if err := p.newFront(ctx, m.Front, m.Types); err != nil {
			return begun, err
		}
	}
	if m.From == "" {
		p.s.filler.await(ctx)
		return subscribed{At: p.s.events.End()}, nil
	}
	e, at, err := p.s.replay(ctx, m.From)
	if err != nil {
		p.unsubscribe(m.Front)
		return begun, err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.earlier == nil { // it has gone
		e.close()
		return begun, context.Canceled
	}
	p.replays++
	p.earlier[p.replays] = e
	return subscribed{At: at, Earlier: p.replays}, nil
}

// unsubscribe ends a subscription whose user could be asked.
func (p *peer) unsubscribe(front string) {
	p.s.mu.Lock()
	f := p.fronts[front]
	p.s.mu.Unlock()
	if f != nil {
		f.leave()
	}
}

// readEarlier returns the next of the earlier events.
func (p *peer) readEarlier(m earlierParams) (answer earlierEvents, err error) {
	p.s.mu.Lock()
	e := p.earlier[m.Earlier]
	p.s.mu.Unlock()
	if e == nil {
		return answer, nil
	}
	if m.Close {
		e.close()
		p.s.mu.Lock()
		delete(p.earlier, m.Earlier)
		p.s.mu.Unlock()
		return answer, nil
	}
	return e.read(m.Number, p.s.encode), nil
}
