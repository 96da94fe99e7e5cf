package remote

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/internal/bytesize"
	"dipls/session"
	"dipls/session/history"
)

// endPatience is how long a client that reads may take to get the last events.
const endPatience = 2 * time.Second

// peer is a connection of a client.
type peer struct {
	*conn
	s      *Server
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	number int
	pid    int

	sending sync.Mutex    // held while events are taken and sent
	news    chan struct{} // cap 1: "changed" is to be sent

	client   session.Client    // under the server's mu, like the rest; its program is "" before the hello
	welcomed bool              // it has said hello
	cursor   *history.Cursor   // of the events that are sent; nil before that
	feed     chan struct{}     // closed when no more events are sent; nil before that
	fronts   map[string]*front // by the names that the client gives them
	earlier  map[int]*earlier
	replays  int // how many of earlier there have been
	why      error
}

func (s *Server) newPeer(c net.Conn, pid int) *peer {
	p := &peer{s: s, pid: pid, news: make(chan struct{}, 1), fronts: map[string]*front{}, earlier: map[int]*earlier{}}
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	p.conn = newConn(c, p.lost)
	p.conn.serve, p.conn.fault = p.request, s.fault
	return p
}

// field names the client in a log.
func (p *peer) field() zap.Field { return zap.String("client", who(p.client)) }

// lost is told why the connection has ended.
func (p *peer) lost(err error) {
	p.s.mu.Lock()
	p.why = err
	p.s.mu.Unlock()
	p.cancel()
}

// leave gives up what belongs to a connection that has ended.
func (p *peer) leave() {
	p.close()
	s := p.s
	s.mu.Lock()
	fronts, why := p.fronts, p.why
	p.fronts = map[string]*front{}
	for _, e := range p.earlier {
		e.close()
	}
	p.earlier = nil
	s.mu.Unlock()
	for _, f := range fronts {
		f.abandon()
	}
	p.requests.Wait() // what it has begun for all goes on, and is its own until then
	if p.feed != nil {
		<-p.feed
	}
	s.mu.Lock()
	was := slices.Contains(s.attached, p)
	s.attached = slices.DeleteFunc(s.attached, func(other *peer) bool { return other == p })
	if was {
		s.change()
		s.tellNews()
	}
	s.mu.Unlock()
	switch {
	case was && (why == nil || hasGone(why)):
		s.log.Info("detached", p.field())
	case was:
		s.log.Warn("detached: the connection has ended", p.field(), zap.Error(why))
	case why != nil && !hasGone(why):
		s.log.Warn("a connection has ended", zap.Int("pid", p.pid), zap.Error(why))
	}
}

// end sends the rest of the events, and ends the connection for a reason.
func (p *peer) end(reason string) {
	after := time.AfterFunc(endPatience, p.close) // a client that does not read gets no more
	defer after.Stop()
	p.s.mu.Lock()
	feed := p.feed
	p.s.mu.Unlock()
	if feed != nil {
		<-feed
	}
	p.cancel() // calls that wait
	p.requests.Wait()
	_ = p.notify(methodEnded, endedParams{reason}) // an error means that it has gone
	p.close()
}

// request serves a request.
func (p *peer) request(ctx context.Context, name string, params jsonrpc2.RawMessage) (any, error) {
	m, known := methods[name]
	p.s.mu.Lock()
	welcomed := p.welcomed
	p.s.mu.Unlock()
	switch {
	case !known:
		return nil, &session.Error{
			Code: session.CodeVersion, Text: fmt.Sprintf("the session runs dipls %s, which does not know %q", cmp.Or(p.s.o.Build, "of another version"), name),
			Hint: "what else there is works; to use this, end the session and start it anew with this dipls",
		}
	case !welcomed && !m.always:
		return nil, &session.Error{Code: session.CodeInvalid, Text: "the first request is hello, of the same major version"}
	}
	if !m.lasts {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.ctx, cancel)()
	}
	result, err := m.serve(ctx, p, params)
	if m.ordered {
		p.flush(ctx)
	}
	return result, err
}

// flush sends what has happened by now.
func (p *peer) flush(ctx context.Context) {
	p.s.filler.await(ctx)
	p.s.mu.Lock()
	cursor := p.cursor
	p.s.mu.Unlock()
	if cursor != nil {
		p.sendNow()
	}
}

// hello attaches a client.
func (p *peer) hello(ctx context.Context, h Hello) (w Welcome, err error) {
	s := p.s
	w = Welcome{Major: Major, Minor: Minor, Build: s.o.Build}
	if p.pid > 0 {
		h.PID = p.pid
	}
	if h.Major == Major {
		s.mu.Lock()
		twice := p.welcomed
		s.mu.Unlock()
		if twice {
			return w, &session.Error{Code: session.CodeInvalid, Text: "hello is said once"}
		}
		if s.o.Admit != nil {
			if w.Remarks, err = s.o.Admit(h); err != nil {
				return w, err
			}
		}
		s.filler.await(ctx)
		if w.End, err = p.attach(h); err != nil {
			return w, err
		}
		if !h.Looks {
			s.log.Info("attached", p.field(), zap.String("build", h.Build), zap.String("cwd", h.Cwd))
		}
	}
	w.About, err = s.about(ctx, false)
	return w, err
}

// attach makes the connection that of a client, which is sent events from now on, or from the beginning.
func (p *peer) attach(h Hello) (end uint64, err error) {
	s := p.s
	var cursor *history.Cursor
	if h.History {
		cursor = s.events.CursorAtStart()
	} else {
		cursor = s.events.Cursor()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.retired || p.welcomed || p.ctx.Err() != nil {
		cursor.Close()
		return 0, errEnding
	}
	p.client = session.Client{Program: h.Program, PID: h.PID, Since: time.Now()}
	p.welcomed = true
	p.cursor, p.feed = cursor, make(chan struct{})
	if !h.Looks {
		s.attached = append(s.attached, p)
		s.change()
		s.tellNews()
	}
	s.tasks.Go(p.sendEvents)
	s.tasks.Go(p.sendNews)
	return cursor.End(), nil
}

// errEnding refuses a client that comes too late.
var errEnding = &session.Error{Code: session.CodeClosed, Text: "the session is ending"}

// sendEvents sends events until there are none, or the connection ends.
func (p *peer) sendEvents() {
	defer close(p.feed)
	defer p.cursor.Close()
	for open := true; open; {
		if p.cursor.Wait(p.ctx) != nil {
			return
		}
		open = p.sendNow() // at once: what is sent while ranks run need not be read at the end of the run
	}
}

// sendNews tells the client that the session is different, until the connection ends.
func (p *peer) sendNews() {
	for {
		select {
		case <-p.news:
			if p.notify(methodChanged, nil) != nil {
				return
			}
		case <-p.ctx.Done():
			return
		}
	}
}

// sendNow sends the events that are there. open is false if there will be no others, or the connection has ended.
func (p *peer) sendNow() (open bool) {
	p.sending.Lock()
	defer p.sending.Unlock()
	for {
		items, open := p.cursor.Take()
		if len(items) == 0 {
			return open
		}
		if p.send(items, p.cursor.Position()) != nil {
			return false
		}
	}
}

// send sends events, up to a position. Those that are too long for one message come in several, and one that is too long itself is told of instead.
func (p *peer) send(items []history.Item, end uint64) error {
	err := p.write(jsonrpc2.NewNotification(methodEvents, p.s.encodeEvents(items, end)))
	switch {
	case !is[*tooLongError](err):
		return err
	case len(items) > 1:
		half := len(items) / 2
		if err := p.send(items[:half], min(items[half-1].Position, items[half].Position-1)); err != nil {
			return err
		}
		return p.send(items[half:], end)
	}
	h := *items[0].Event.Head()
	text := fmt.Sprintf("a %s event of %s is too long to be shown here; the run's journal has it", h.Kind, bytesize.Format(int64(len(items[0].JSON))))
	h.Kind = event.KindLog
	instead := &event.Log{Header: h, Level: event.LevelWarning, Text: text}
	return p.send([]history.Item{{Event: instead, Position: items[0].Position}}, end)
}

// encodeEvents are the parameters of a message of events: eventsParams.
func (s *Server) encodeEvents(items []history.Item, end uint64) jsonrpc2.RawMessage {
	b := []byte(`{"at":[`)
	for i, it := range items {
		b = strconv.AppendUint(comma(b, i), it.Position, 10)
	}
	b = strconv.AppendUint(append(b, `],"end":`...), end, 10)
	b = append(b, `,"sizes":[`...)
	for i := range items {
		if items[i].JSON == nil {
			items[i].JSON = s.encode(items[i].Event)
		}
		b = strconv.AppendInt(comma(b, i), int64(len(items[i].JSON)), 10)
	}
	b = append(b, eventsFollow...)
	for i, it := range items {
		b = append(comma(b, i), it.JSON...)
	}
	return append(b, `]}`...)
}

// comma appends one before all but the first of a list.
func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

// encode is an event as it is sent. One that cannot be written is replaced by a log event.
func (s *Server) encode(ev event.Event) []byte {
	raw, err := encode(ev)
	if err != nil {
		s.log.Error("an event cannot be written", zap.Error(err))
		raw, _ = encode(event.NewLog(event.LevelError, fmt.Sprintf("a %s event cannot be written: %v", ev.Head().Kind, err)))
	}
	return raw
}
