package lsp

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/lsp/rpc"
	"dipls/session"
)

// methodEvent is the notification that carries an event; see docs/language-server.md.
const methodEvent = "dip/event"

// output shows what runs print and how they fail. Clients that ask for events get events. The others get folded lines of text in their output window, and
// failures as messages.
//
// It reads its own subscriptions as fast as the client reads. If the client is slow, the subscription leaves output out, and says that and where all of it
// is; it never waits for long.
type output struct {
	s      *server
	asking chan struct{} // filled by questions that the user has not answered
}

// maxAsking is how many questions may wait for the user. Further ones become messages.
const maxAsking = 4

func newOutput(s *server) feature {
	o := &output{s, make(chan struct{}, maxAsking)}
	return feature{follow: o.follow}
}

// follow shows a workspace's events until the connection ends.
func (o *output) follow(w *workspace) {
	switch {
	case !o.s.wants.Events:
		o.read(w, o.fold)
	case o.s.wants.Folded:
		o.read(w, o.tellFolded)
	default:
		o.read(w, o.forward)
	}
}

// inPast reports whether what a subscription returned last has happened before, and was shown to somebody else.
func inPast(sub session.Subscription) bool { return sub.Position() <= sub.Past() }

// read lets a function read a workspace's events.
func (o *output) read(w *workspace, show func(*workspace, session.Subscription)) {
	sub, err := w.Subscribe(o.s.ctx, session.SubscribeRequest{History: true})
	if err != nil {
		o.s.log.Warn("what runs print is not shown", zap.String("folder", w.dir), zap.Error(err))
		return
	}
	o.s.tasks.Go(func() {
		defer sub.Close()
		// After a panic it goes on: the events that caused it have been taken from the subscription.
		for !o.s.contained("output", func() { show(w, sub) }) {
		}
	})
}

// forward sends events as they are.
func (o *output) forward(w *workspace, sub session.Subscription) {
	for {
		events, err := o.next(o.s.ctx, w, sub)
		if err != nil {
			return
		}
		o.send(events)
	}
}

// send sends events to the client.
func (o *output) send(events []event.Event) {
	var b bytes.Buffer
	for _, ev := range events {
		b.Reset()
		if err := event.WriteJSON(&b, ev); err == nil { // an event can always be written to memory
			o.s.client.Notify(methodEvent, protocol.LSPAny(bytes.TrimSpace(b.Bytes())))
		}
	}
}

// next waits until the client has caught up, and then for events. The board has those that the client may ask about before next returns them. Between what
// happened before and what comes the client is told so.
func (o *output) next(ctx context.Context, w *workspace, sub session.Subscription) ([]event.Event, error) {
	if sub.Position() >= sub.Past() {
		o.s.announcer.pastOver(w)
	}
	if err := o.s.client.AwaitRoom(ctx, sub.Progress); err != nil {
		return nil, err
	}
	events, err := sub.Next(ctx)
	if err == nil && !inPast(sub) {
		o.s.announcer.pastOver(w)
	}
	if err == nil && slices.ContainsFunc(events, isState) {
		_ = o.s.catchUp(o.s.ctx, w) // the events have been taken: they are shown even if ctx ends
	}
	return events, err
}

// nextUntil is next, but also returns, without events, when something in the folder is due, or at a time that is not zero.
func (o *output) nextUntil(folder *view.Folder, at time.Time, w *workspace, sub session.Subscription) ([]event.Event, error) {
	deadline, ok := folder.Deadline()
	if !at.IsZero() && (!ok || at.Before(deadline)) {
		deadline, ok = at, true
	}
	if !ok {
		return o.next(o.s.ctx, w, sub)
	}
	ctx, cancel := context.WithDeadline(o.s.ctx, deadline)
	defer cancel()
	events, err := o.next(ctx, w, sub)
	if err != nil && ctx.Err() != nil && o.s.ctx.Err() == nil {
		return nil, nil
	}
	return events, err
}

// isState reports whether an event is one that the board keeps.
func isState(ev event.Event) bool {
	switch ev.(type) {
	case *event.RunQueued, *event.RunStarted, *event.RankState, *event.Failure, *event.RunFinished, *event.PoolState, *event.Hang:
		return true
	}
	return false
}

// fold sends what a person wants to see.
func (o *output) fold(w *workspace, sub session.Subscription) {
	v := &reading{output: o, w: w, told: map[string]map[string]bool{}, past: map[event.Event]bool{}}
	folder := view.NewFolder(view.FoldOptions{})
	for {
		events, err := o.nextUntil(folder, time.Time{}, w, sub)
		if err != nil {
			return
		}
		before := inPast(sub)
		for _, ev := range events {
			if _, printed := ev.(*event.Stream); before && !printed {
				v.past[ev] = true
			}
		}
		var items []view.Item
		for _, ev := range events {
			items = append(items, folder.Add(ev, time.Now())...)
		}
		v.show(append(items, folder.Flush(time.Now())...))
		for _, ev := range events {
			if _, ended := ev.(*event.RunFinished); ended {
				delete(v.told, ev.Head().Run)
			}
		}
		if _, waits := folder.Deadline(); !before && !waits {
			clear(v.past) // all that was to be shown of it has been
		}
	}
}

// reading is the text output of a workspace for a person.
type reading struct {
	*output
	w    *workspace
	told map[string]map[string]bool // by run: what it has been told of already
	past map[event.Event]bool       // events that happened before, as long as something may be shown of them: nothing pops up
}

// show sends items. Lines that come together go in one message.
func (v *reading) show(items []view.Item) {
	var lines []byte
	flush := func() {
		if len(lines) > 0 {
			v.s.client.LogMessage(protocol.MessageTypeLog, string(lines[:len(lines)-1]))
			lines = lines[:0]
		}
	}
	for _, item := range items {
		text := clean.Text(item.String())
		if len(text) > rpc.LoggedBytes || strings.Count(text, "\n") >= rpc.LoggedLines {
			text = clean.Excerpt(text, rpc.LoggedLines, rpc.LoggedBytes, v.journal(item.Run))
		}
		switch item.Kind {
		case view.ItemFailure:
			flush()
			v.s.client.LogMessage(protocol.MessageTypeError, text)
			v.failure(item)
		case view.ItemNotice:
			flush()
			t := typeOfNotice(item.Event)
			v.s.client.LogMessage(t, text)
			if t == protocol.MessageTypeError && !v.past[item.Event] && !session.IsUnattended(item.Event) {
				v.s.client.ShowMessage(t, item.Text)
			}
			if ev, ok := item.Event.(*event.Hang); ok && t == protocol.MessageTypeWarning {
				v.hang(item, ev)
			}
		default:
			lines = append(append(lines, text...), '\n')
			v.picture(item)
		}
	}
	flush()
}

// journal is the directory with all output of a run; "" if it is not kept.
func (v *reading) journal(run string) string {
	r, _ := v.s.board.run(run)
	return r.Journal
}

// first reports whether this is the first time that something is told about a run.
func (v *reading) first(run, what string) bool {
	if v.told[run] == nil {
		v.told[run] = map[string]bool{}
	}
	defer func() { v.told[run][what] = true }()
	return !v.told[run][what]
}

// failure shows a failure, once for all that are the same.
func (v *reading) failure(item view.Item) {
	f, ok := item.Event.(*event.Failure)
	how := v.s.config.of(v.w.dir).Failures
	if !ok || how == failuresOff || !v.first(item.Run, fmt.Sprintf("%s: %s at %s:%d", f.EName, f.EValue, f.Path, f.Line)) {
		return
	}
	v.tell(item, protocol.MessageTypeError, describeFailure(f, item, v.s.hostsOf(v.w), v.journal(item.Run)), way{"Show output", func(ctx context.Context) error {
		_, err := v.s.showOutput(ctx, &showOutputArgs{Run: item.Run})
		return err
	}})
}

// hang shows, once, that ranks wait and may not go on by themselves. Corrections of that are in the output window.
func (v *reading) hang(item view.Item, ev *event.Hang) {
	if v.s.config.of(v.w.dir).Failures == failuresOff || !v.first(ev.Run, fmt.Sprintf("hang %d", ev.Hang)) {
		return
	}
	v.tell(item, protocol.MessageTypeWarning, item.Text,
		way{freeTitle, func(ctx context.Context) error {
			_, err := v.s.free(ctx, &freeArgs{Run: ev.Run})
			return err
		}},
		way{stacksTitle, func(ctx context.Context) error {
			_, err := v.s.showStacks(ctx, &showStacksArgs{Run: ev.Run})
			return err
		}})
}

// picture shows where a run's first picture is: the output window has only text.
func (v *reading) picture(item view.Item) {
	path := pictureOf(item.Event)
	if path == "" || !v.first(item.Run, "picture") {
		return
	}
	text := "the run shows a picture: " + path
	if item.Cell != nil {
		text = fmt.Sprintf("cell %d shows a picture: %s", *item.Cell, path)
	}
	v.tell(item, protocol.MessageTypeInfo, text, way{"Open", func(ctx context.Context) error {
		_, err := v.s.showFile(ctx, "the picture is", path)
		return err
	}})
}

// way is a choice that a message offers, and what it does.
type way struct {
	title string
	act   func(context.Context) error
}

// tell shows a message about an item; with its ways as buttons, if the setting dip.failures asks for that.
func (v *reading) tell(item view.Item, t protocol.MessageType, text string, ways ...way) {
	if v.past[item.Event] {
		return
	}
	if v.s.config.of(v.w.dir).Failures != failuresAsk {
		v.s.client.ShowMessage(t, text)
		return
	}
	select {
	case v.asking <- struct{}{}:
	default:
		v.s.client.ShowMessage(t, text)
		return
	}
	v.s.goOn("a question", func() {
		var titles []string
		for _, w := range ways {
			titles = append(titles, w.title)
		}
		chosen := v.s.client.Ask(v.s.ctx, t, text, titles...)
		<-v.asking
		for _, w := range ways {
			if w.title != chosen {
				continue
			}
			if err := w.act(v.s.ctx); err != nil && v.s.ctx.Err() == nil {
				v.s.client.ShowMessage(protocol.MessageTypeError, err.Error())
			}
		}
	})
}

// pictureOf returns the journal's file with the picture of an event; "" if there is none.
func pictureOf(ev event.Event) string {
	var files map[string]string
	switch ev := ev.(type) {
	case *event.Display:
		files = ev.Files
	case *event.Result:
		files = ev.Files
	}
	for _, mime := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(mime, "image/") || mime == "application/pdf" {
			return files[mime]
		}
	}
	return ""
}

// typeOfNotice returns the type of message for a sentence of ours.
func typeOfNotice(ev event.Event) protocol.MessageType {
	switch ev := ev.(type) {
	case *event.Log:
		switch ev.Level {
		case event.LevelError:
			return protocol.MessageTypeError
		case event.LevelWarning:
			return protocol.MessageTypeWarning
		}
		return protocol.MessageTypeInfo
	case *event.RunFinished:
		if ev.Status == event.StatusInterrupted {
			return protocol.MessageTypeWarning
		}
	case *event.Hang:
		if ev.Gone || ev.Level == event.LevelInfo {
			return protocol.MessageTypeInfo
		}
		return protocol.MessageTypeWarning
	}
	return protocol.MessageTypeError
}

// describeFailure describes a failure in one line or a few: "NameError: name 'x' is not defined (rank 0, line 12)". The journal has all of it.
func describeFailure(f *event.Failure, item view.Item, hostOf func(rank int) string, journal string) string {
	text := f.EName
	if f.EValue != "" {
		text += ": " + f.EValue
	}
	who, _ := f.Who()
	where := ranklist.NameOn([]ranklist.Who{who}, hostOf)
	if len(item.Ranks) > 1 {
		where = fmt.Sprintf("%d ranks", len(item.Ranks))
	}
	if f.Line > 0 {
		where += fmt.Sprintf(", line %d", f.Line)
	}
	return clean.Excerpt(clean.Text(text), rpc.ShownLines-2, rpc.ShownBytes-len(where)-len(journal)-100, journal) + " (" + where + ")"
}
