package lsp

import (
	"encoding/json"
	"fmt"
	"sync"

	"dipls/dipexec/event"
)

const (
	// queuedOutput is how much output may wait to be entered. Of more, the older part is left out.
	queuedOutput = 4 << 20
	// eventOverhead is about how much memory an event takes besides its text.
	eventOverhead = 256
)

// eventQueue is the events that wait to be entered. Putting one in never waits.
type eventQueue struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards what follows
	events []queuedEvent
	bytes  int // the sum of the sizes
}

// queuedEvent is an event that waits. size is 0 if it is not output.
type queuedEvent struct {
	ev   event.Event
	size int
}

// leftOut stands for output of a run that has been left out of the queue.
type leftOut struct {
	event.Header
	bytes int
}

// text returns what is shown in its place. journal is the directory that has all of the output; "" is none.
func (l *leftOut) text(journal string) string {
	text := fmt.Sprintf("%.1f MB of output left out here: it came faster than it was read", float64(l.bytes)/1e6)
	if journal != "" {
		text += "; the journal of the run is " + journal
	}
	return text
}

func newEventQueue() eventQueue { return eventQueue{wake: make(chan struct{}, 1)} }

// put queues an event. It keeps only the text of rich output: nothing else is read here.
func (q *eventQueue) put(ev event.Event) {
	e := queuedEvent{ev: ev}
	switch ev := ev.(type) {
	case *event.Stream:
		e.size = len(ev.Text) + eventOverhead
	case *event.Display:
		text := *ev
		text.Data, text.Metadata = textIn(ev.Data), nil
		e = queuedEvent{&text, len(text.Data[plainText]) + eventOverhead}
	case *event.Result:
		text := *ev
		text.Data, text.Metadata = textIn(ev.Data), nil
		e = queuedEvent{&text, len(text.Data[plainText]) + eventOverhead}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, e)
	q.bytes += e.size
	if q.bytes > queuedOutput {
		q.shorten()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// plainText is the MIME type of text.
const plainText = "text/plain"

// textIn reduces rich output to its text, and the types of the rest.
func textIn(data map[string]json.RawMessage) map[string]json.RawMessage {
	text := make(map[string]json.RawMessage, len(data))
	for mime := range data {
		text[mime] = nil
	}
	if plain, ok := data[plainText]; ok {
		text[plainText] = plain
	}
	return text
}

// shorten drops the older half of the output, since the end counts most. A [leftOut] takes the place of each run's first missing output. mu is held.
func (q *eventQueue) shorten() {
	gone := map[string]*leftOut{}
	left := q.events[:0]
	for _, e := range q.events {
		before, again := e.ev.(*leftOut)
		if e.size == 0 && !again || q.bytes <= queuedOutput/2 {
			left = append(left, e)
			continue
		}
		run := e.ev.Head().Run
		if gone[run] == nil {
			gone[run] = &leftOut{Header: event.Header{Run: run}}
			left = append(left, queuedEvent{ev: gone[run]})
		}
		if again {
			gone[run].bytes += before.bytes
			continue
		}
		gone[run].bytes += e.size
		q.bytes -= e.size
	}
	clear(q.events[len(left):])
	q.events = left
}

func (q *eventQueue) take() []queuedEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events, q.bytes = nil, 0
	return events
}
