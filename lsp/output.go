package lsp

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"go.lsp.dev/protocol"

	"dipls/dipexec"
)

// methodEvent is the notification that carries an event, as docs/protocol.md has it.
const methodEvent = "dip/event"

// output shows what runs print and how they fail. Clients that ask for it get the events themselves, the others lines of text in their
// output window, folded, and failures as messages.
//
// It has subscriptions of its own and reads them as fast as the client reads: what a slow client cannot take is left out by the
// subscription, which says so and where all of it is, and never waits for the client for long.
type output struct{ s *server }

func newOutput(s *server) feature {
	o := &output{s}
	return feature{follow: o.follow}
}

// follow shows a workspace's events until the connection ends.
func (o *output) follow(w *workspace) {
	sub := w.executor.Subscribe()
	o.s.tasks.Go(func() {
		defer sub.Close()
		if o.s.client.events {
			o.forward(sub)
		} else {
			o.fold(sub)
		}
	})
}

// forward sends events as they are.
func (o *output) forward(sub *dipexec.Subscription) {
	var b bytes.Buffer
	for {
		events, err := o.next(o.s.ctx, sub)
		if err != nil {
			return
		}
		for _, ev := range events {
			b.Reset()
			if err := dipexec.WriteJSON(&b, ev); err == nil { // an event can always be written to memory
				o.s.client.notify(methodEvent, protocol.LSPAny(bytes.TrimSpace(b.Bytes())))
			}
		}
	}
}

// next waits for events, and before that for a client that is behind.
func (o *output) next(ctx context.Context, sub *dipexec.Subscription) ([]dipexec.Event, error) {
	if err := o.s.client.stream.out.awaitRoom(ctx); err != nil {
		return nil, err
	}
	return sub.Next(ctx)
}

// fold sends what a person wants to see.
func (o *output) fold(sub *dipexec.Subscription) {
	folder := dipexec.NewFolder(dipexec.FoldOptions{})
	for {
		ctx, cancel := o.s.ctx, context.CancelFunc(func() {})
		if deadline, ok := folder.Deadline(); ok {
			ctx, cancel = context.WithDeadline(ctx, deadline)
		}
		events, err := o.next(ctx, sub)
		expired := ctx.Err() != nil && o.s.ctx.Err() == nil
		cancel()
		if err != nil && !expired {
			return
		}
		for _, ev := range events {
			o.show(folder.Add(ev, time.Now()))
		}
		o.show(folder.Flush(time.Now()))
	}
}

// show sends items. Lines that come together go in one message.
func (o *output) show(items []dipexec.Item) {
	var lines []byte
	flush := func() {
		if len(lines) > 0 {
			o.s.client.logMessage(protocol.MessageTypeLog, string(lines[:len(lines)-1]))
			lines = lines[:0]
		}
	}
	for _, item := range items {
		switch item.Kind {
		case dipexec.ItemFailure:
			flush()
			o.s.client.logMessage(protocol.MessageTypeError, item.String())
			if failure, ok := item.Event.(*dipexec.Failure); ok {
				o.s.client.showMessage(protocol.MessageTypeError, describeFailure(failure, item))
			}
		case dipexec.ItemNotice:
			flush()
			t := typeOfNotice(item.Event)
			o.s.client.logMessage(t, item.String())
			if t == protocol.MessageTypeError {
				o.s.client.showMessage(t, item.Text)
			}
		default:
			lines = append(lines, item.String()...)
			lines = append(lines, '\n')
		}
	}
	flush()
}

// typeOfNotice is how much a sentence of ours matters.
func typeOfNotice(ev dipexec.Event) protocol.MessageType {
	switch ev := ev.(type) {
	case *dipexec.Log:
		switch ev.Level {
		case dipexec.LevelError:
			return protocol.MessageTypeError
		case dipexec.LevelWarning:
			return protocol.MessageTypeWarning
		}
		return protocol.MessageTypeInfo
	case *dipexec.RunFinished:
		if ev.Status == dipexec.StatusInterrupted {
			return protocol.MessageTypeWarning
		}
	}
	return protocol.MessageTypeError
}

// describeFailure is a failure in a line: "NameError: name 'x' is not defined (rank 0, line 12)".
func describeFailure(f *dipexec.Failure, item dipexec.Item) string {
	text := f.EName
	if f.EValue != "" {
		text += ": " + f.EValue
	}
	where := f.Who()
	if len(item.Ranks) > 1 {
		where = fmt.Sprintf("%d ranks", len(item.Ranks))
	}
	if f.Line > 0 {
		where += fmt.Sprintf(", line %d", f.Line)
	}
	return text + " (" + where + ")"
}
