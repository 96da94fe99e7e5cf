package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/session"
	"dipls/session/history"
)

// ServerOptions configure a [Server].
type ServerOptions struct {
	API   session.API
	Log   *zap.Logger // is told who attached, ran, interrupted, answered and stopped; nil: nobody is
	Build string      // version of dipls

	// About completes what About says: the name, how long the session is kept, and so on. Clients and runs are there already. Nil: nothing is missing.
	About func(*session.About)
	// Admit is asked before a client counts: what its user should know, sentences, or why it cannot attach. Nil: all may.
	Admit func(Hello) (remarks []string, err error)
	// Changed is told when clients or runs have come or gone, one call at a time. What happens in quick succession may be one call. Nil: nobody is.
	Changed func(State)
	// Stop is told that somebody wants the session to end: by is "dipls stop (pid 12)". It does not wait. Nil: nothing but API.Close ends it.
	Stop func(by string)
	// Rename and KeepFor do what the API's methods say. Nil: the API does.
	Rename  func(ctx context.Context, name string) error
	KeepFor func(ctx context.Context, d time.Duration) error

	History history.Options
}

// State is who uses a session.
type State struct {
	Clients []session.Client // that are attached, the earliest first
	Runs    int              // that have not ended
}

// Server serves a session to clients.
type Server struct {
	o      ServerOptions
	log    *zap.Logger
	events *history.Log
	filler *filler

	ctx    context.Context // ends with the server
	cancel context.CancelFunc
	tasks  sync.WaitGroup // that Close waits for

	mu        sync.Mutex // guards what follows; locks of the log are not taken with it held
	closing   bool
	retired   bool // nobody may attach any more
	over      bool // a client has closed the session: nothing of it is left
	accepted  int
	listeners []net.Listener
	peers     map[*peer]bool
	attached  []*peer // that have said hello and do not only look, the earliest first
	runs      []*activeRun
	questions map[string]asked // by id: that are not over
	changed   chan struct{}    // cap 1
}

// activeRun is a run that has not ended.
type activeRun struct {
	session.AboutRun
	front *front // whose call has started it, if that front can be asked; nil: none
}

// NewServer makes a server for a session, which it listens to from now on. Close ends it.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	s := &Server{
		o: o, log: o.Log, peers: map[*peer]bool{}, questions: map[string]asked{}, changed: make(chan struct{}, 1),
	}
	o.History.Encode = s.encode
	s.events = history.New(o.History)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	sub, err := o.API.Subscribe(s.ctx, session.SubscribeRequest{})
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.filler = newFiller(sub)
	s.tasks.Go(s.fill)
	s.tasks.Go(s.tellChanges)
	return s, nil
}

// Serve accepts connections until the server or the listener is closed, and closes the listener.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	closing := s.closing
	s.mu.Unlock()
	if closing {
		l.Close()
		return nil
	}
	defer l.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.closing || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		s.mu.Lock()
		if s.closing { // Close does not wait for tasks that begin now
			s.mu.Unlock()
			c.Close()
			return nil
		}
		s.tasks.Go(func() { s.ServeConn(c) })
		s.mu.Unlock()
	}
}

// ServeConn serves one connection until it ends.
func (s *Server) ServeConn(c net.Conn) {
	uid, pid, err := credentials(c)
	if err == nil {
		err = sameUser(uid)
	}
	if err != nil {
		s.log.Warn("a connection was refused", zap.Error(err))
		c.Close()
		return
	}
	p := s.newPeer(c, pid)
	s.mu.Lock()
	closing := s.closing
	if !closing {
		s.accepted++
		p.number = s.accepted
		s.peers[p] = true
	}
	s.mu.Unlock()
	if closing {
		p.close()
		return
	}
	p.run(s.ctx)
	p.leave()
	s.mu.Lock()
	delete(s.peers, p)
	s.mu.Unlock()
}

// State is who uses the session now.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

// state is State. mu is held.
func (s *Server) state() State {
	state := State{Runs: len(s.runs)}
	for _, p := range s.attached {
		state.Clients = append(state.Clients, p.client)
	}
	return state
}

// change says that the state has changed. mu may be held.
func (s *Server) change() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// tellNews tells the clients that the session is different. It waits for none of them. mu is held.
func (s *Server) tellNews() {
	for p := range s.peers {
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
}

// isDifferent is tellNews for who does not hold mu.
func (s *Server) isDifferent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellNews()
}

func (s *Server) tellChanges() {
	for {
		select {
		case <-s.changed:
			if s.o.Changed != nil {
				s.o.Changed(s.State())
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// Retire lets nobody attach any more, if nobody is attached and every run has ended. Otherwise it does nothing, and returns false.
func (s *Server) Retire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = s.retired || len(s.attached) == 0 && len(s.runs) == 0
	return s.retired
}

// closeSession closes the session for a client. While it ends nobody attaches to it, and then nobody finds it.
func (s *Server) closeSession(ctx context.Context, r session.CloseRequest) error {
	s.mu.Lock()
	s.retired = true
	s.mu.Unlock()
	err := s.o.API.Close(ctx, r)
	s.mu.Lock()
	s.over = s.over || err == nil
	s.mu.Unlock()
	return err
}

// Close ends all connections, after the session was closed: clients get the rest of the events, and are told the reason, a sentence. It returns when nothing
// of the server is left.
func (s *Server) Close(reason string) {
	s.mu.Lock()
	s.closing = true
	listeners := s.listeners
	s.listeners = nil
	var peers []*peer
	for p := range s.peers {
		peers = append(peers, p)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	after := time.AfterFunc(endPatience, s.filler.sub.Close) // of a session that was not closed
	<-s.filler.ended
	after.Stop()
	var ends sync.WaitGroup
	for _, p := range peers {
		ends.Go(func() { p.end(reason) })
	}
	ends.Wait()
	s.cancel()
	s.tasks.Wait()
}

// fill records what the session tells until its end.
func (s *Server) fill() {
	defer s.events.Close()
	defer close(s.filler.ended)
	for {
		events, err := s.filler.sub.Next(s.ctx)
		if err != nil {
			return
		}
		if fault := contain.Do(func() { s.filler.record(s.events, events) }); fault != nil {
			s.fault("events", fault)
		}
		for _, ev := range events {
			switch ev := ev.(type) {
			case *event.RunStarted:
				s.runStarted(ev)
			case *event.RunFinished:
				s.runFinished(ev.Run)
			}
		}
		s.filler.advance()
	}
}

func (s *Server) runStarted(ev *event.RunStarted) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.find(ev.Run); r != nil {
		r.Since = &now
		return
	}
	s.runs = append(s.runs, &activeRun{AboutRun: session.AboutRun{
		ID: ev.Run, Title: ev.Title, Path: string(ev.Path), Line: ev.Line, Since: &now,
	}})
	s.change()
}

func (s *Server) runFinished(run string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(run)
	if r == nil {
		return
	}
	s.runs = slices.DeleteFunc(s.runs, func(other *activeRun) bool { return other == r })
	s.change()
	if r.front != nil {
		r.front.release()
	}
}

// find is a run that has not ended. mu is held.
func (s *Server) find(run string) *activeRun {
	i := slices.IndexFunc(s.runs, func(r *activeRun) bool { return r.ID == run })
	if i < 0 {
		return nil
	}
	return s.runs[i]
}

// fault logs a panic.
func (s *Server) fault(in string, fault *contain.Fault) {
	s.log.Error("a fault of ours", zap.String("in", in), zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
}

// about is what there is to know of the session.
func (s *Server) about(ctx context.Context, memory bool) (session.About, error) {
	a, err := s.o.API.About(ctx, memory)
	if err != nil {
		return a, err
	}
	s.mu.Lock()
	over := s.over
	a.Clients, a.Runs = s.state().Clients, nil
	for _, r := range s.runs {
		a.Runs = append(a.Runs, r.AboutRun)
	}
	s.mu.Unlock()
	if over {
		return session.About{}, errEnding
	}
	if s.o.About != nil {
		s.o.About(&a)
	}
	return a, nil
}

// queued appends what says that runs were started, and remembers them. start starts them.
func (s *Server) queued(p *peer, by session.Caller, list []session.Cell, start func() ([]string, error)) (runs []string, err error) {
	s.events.AppendFirst(func() []event.Event {
		if runs, err = start(); err != nil {
			return nil
		}
		autodip, _ := s.o.API.Autodip(s.ctx)
		return s.remember(p, by, list, runs, autodip)
	})
	if err == nil && len(runs) > 0 {
		s.log.Info("runs", p.field(), zap.Strings("runs", runs), zap.String("first", placeOf(list[0])))
	}
	return runs, err
}

// remember remembers runs that have been started. It returns their events.
func (s *Server) remember(p *peer, by session.Caller, list []session.Cell, runs []string, autodip string) (events []event.Event) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	front := p.fronts[by.Front]
	for i, run := range runs {
		c := list[i]
		r := &activeRun{
			AboutRun: session.AboutRun{ID: run, Title: c.Title, Path: c.Path, Line: c.Line, By: p.client.Program}, front: front,
		}
		s.runs = append(s.runs, r)
		if front != nil {
			front.uses++
		}
		events = append(events, runQueued(run, c, autodip, p.client.Program, now))
	}
	s.change()
	return events
}

// placeOf names a cell in a log: "/home/me/train.py:12".
func placeOf(c session.Cell) string {
	if c.Path == "" {
		return c.Title
	}
	return fmt.Sprintf("%s:%d", c.Path, c.Line)
}

// who names a client in a log.
func who(c session.Client) string {
	return strings.TrimSpace(fmt.Sprintf("%s (pid %d)", c.Program, c.PID))
}
