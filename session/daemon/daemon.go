// Package daemon is the process of a session that outlives its fronts: it serves the session to clients, knows how long it lives, and ends it in order. Its
// log tells who did what.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/session"
	"dipls/session/lifetime"
	"dipls/session/registry"
	"dipls/session/remote"
)

// Options configure a session's process.
type Options struct {
	Claim *registry.Claim // the session's place; it is given up at the end
	API   session.API     // the session itself; it is closed at the end
	Keep  time.Duration   // how long it lives with nobody attached and nothing running
	Build string          // version of dipls
	Log   *zap.Logger
	Clock func() time.Duration // nil: [lifetime.Clock]
}

// closePatience bounds the end of a session if even the shutdown ladder, which takes three seconds at most, does not help.
const closePatience = 30 * time.Second

// look is how often a session looks whether its time has come: a timer stands still while the machine is suspended, the clock does not. It then looks to
// its directory, too.
const look = time.Minute

// daemon is a session that is served.
type daemon struct {
	o       Options
	server  *remote.Server
	serving sync.WaitGroup
	remarks remarks
	wake    chan struct{} // cap 1: something has changed
	stop    chan ending   // cap 1: somebody has ended it

	mu      sync.Mutex // guards what follows; taken before the server's
	life    *lifetime.Lifetime
	closing bool // nobody is let in any more
}

// ending is how a session ends.
type ending struct {
	why string // a sentence
	by  string // who has asked for it: "dipls stop (pid 12)"; "": nobody
	dud bool   // nothing is lost, so nobody has to be told
}

// Run serves a session until it ends: by itself, by somebody who stops it, or with ctx, whose cause says why. Then nothing is left of it.
func Run(ctx context.Context, o Options) error {
	if o.Clock == nil {
		o.Clock = lifetime.Clock
	}
	d := &daemon{o: o, wake: make(chan struct{}, 1), stop: make(chan ending, 1), life: lifetime.New(o.Keep, o.Clock())}
	server, err := remote.NewServer(remote.ServerOptions{
		API: o.API, Log: o.Log, Build: o.Build,
		About: d.about, Admit: d.admit, Changed: d.changed, Rename: d.rename, KeepFor: d.keepFor,
		Stop: func(by string) { d.end(ending{why: "it was stopped by " + by, by: by}) },
	})
	if err != nil {
		return errors.Join(err, o.Claim.End("it could not be served: "+err.Error(), ""))
	}
	d.server = server
	d.serve(o.Claim.Listener())
	o.Log.Info("session begins", zap.String("name", o.Claim.Name()), zap.String("folder", o.Claim.Dir()), zap.String("keep", session.FormatKeep(o.Keep)),
		zap.Int("pid", os.Getpid()), zap.String("version", o.Build))
	e := d.await(ctx)
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	o.Log.Info("session ends", zap.String("why", e.why))
	patience, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err = o.API.Close(patience, session.CloseRequest{})
	server.Close(e.why)
	d.serving.Wait()
	why := e.why
	if e.dud {
		why = ""
	}
	by, _, _ := strings.Cut(e.by, " (")
	err = errors.Join(err, o.Claim.End(why, by))
	if err != nil {
		o.Log.Warn("the session did not end in order", zap.Error(err))
	}
	return err
}

// serve accepts connections.
func (d *daemon) serve(l net.Listener) {
	d.serving.Go(func() {
		if err := d.server.Serve(l); err != nil {
			d.end(ending{why: "its socket has failed: " + err.Error()})
		}
	})
}

// tend sees to it that the session can be found, keeps its files, and takes no memory that it does not need.
func (d *daemon) tend(ctx context.Context) {
	l, err := d.o.Claim.Tend(ctx)
	if err != nil {
		d.o.Log.Warn("the session's directory is gone, and cannot be made anew", zap.Error(err))
	}
	if l != nil {
		d.o.Log.Warn("something has removed the session's directory; it was made anew", zap.String("name", d.o.Claim.Name()))
		d.serve(l)
	}
	session.KeepAgent()
	if d.server.State().Runs == 0 {
		debug.FreeOSMemory() // an idle session takes next to none
	}
}

// end ends the session, if nobody else does.
func (d *daemon) end(e ending) {
	select {
	case d.stop <- e:
	default:
	}
}

// await waits for the end of the session's life.
func (d *daemon) await(ctx context.Context) ending {
	for {
		wait, e := d.judge()
		if e != nil {
			return *e
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			return ending{why: context.Cause(ctx).Error()}
		case e := <-d.stop:
			return e
		case <-d.wake:
		case <-timer.C:
			d.tend(ctx)
		}
		timer.Stop()
	}
}

// judge says how the session ends now, or when to look again. Once it ends nobody can attach.
func (d *daemon) judge() (wait time.Duration, over *ending) {
	state := d.state(d.server.State())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life.Change(state, d.o.Clock())
	left, ends := d.life.Left(d.o.Clock())
	switch {
	case !ends:
		return look, nil
	case left > 0:
		return min(left, look), nil
	case !d.server.Retire(): // somebody has just come
		return look, nil
	}
	return 0, &ending{why: d.life.Why(), dud: !state.Used}
}

// state is what the end of the session depends on.
func (d *daemon) state(s remote.State) lifetime.State {
	known, err := d.o.API.About(context.Background(), false)
	return lifetime.State{Clients: len(s.Clients), Runs: s.Runs, Used: known.Used || err != nil}
}

// changed is told by the server.
func (d *daemon) changed(remote.State) {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// admit lets a client in, unless the session is ending. One that only looks does not begin its time anew.
func (d *daemon) admit(h remote.Hello) (remarks []string, err error) {
	known, err := d.o.API.About(context.Background(), false)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return nil, &session.Error{Code: session.CodeClosed, Text: "the session is ending"}
	}
	if h.Looks {
		return nil, nil
	}
	d.life.Come(d.o.Clock())
	known.Name = d.o.Claim.Name()
	return d.remarks.about(h, known), nil
}

// about completes what a session says of itself.
func (d *daemon) about(a *session.About) {
	a.Name, a.Dir, a.Log, a.Version = d.o.Claim.Name(), d.o.Claim.Dir(), d.o.Claim.Log(), d.o.Build
	d.mu.Lock()
	defer d.mu.Unlock()
	a.Keep = d.life.Keep()
	idle := len(a.Clients) == 0 && len(a.Runs) == 0 // life learns of it a little later
	if left, ends := d.life.Left(d.o.Clock()); idle && ends {
		a.Ends = new(time.Now().Add(left))
	}
}

func (d *daemon) rename(ctx context.Context, name string) error {
	old := d.o.Claim.Name()
	if err := d.o.Claim.Rename(ctx, name); err != nil {
		return err
	}
	d.o.Log.Info("session renamed", zap.String("from", old), zap.String("to", name))
	return nil
}

func (d *daemon) keepFor(_ context.Context, keep time.Duration) error {
	if keep < 0 {
		keep = session.KeepForever
	}
	d.mu.Lock()
	d.life.KeepFor(keep)
	d.mu.Unlock()
	d.changed(remote.State{})
	d.o.Log.Info("how long the session is kept has changed", zap.String("keep", session.FormatKeep(keep)))
	return nil
}

// remarks are what clients should know whose environment is another one. Each program is told once of each difference.
type remarks struct{ told map[string]bool }

// about are the remarks for a client.
func (r *remarks) about(h remote.Hello, s session.About) (said []string) {
	say := func(text string) {
		if key := h.Program + "\x00" + text; !r.told[key] {
			if r.told == nil {
				r.told = map[string]bool{}
			}
			r.told[key] = true
			said = append(said, text)
		}
	}
	const remedy = `; it stays with its own, "dipls stop" ends it`
	if h.Python != "" {
		if chosen, err := session.FindPython("", h.Python, s.Dir); err == nil && s.Python != "" && chosen.Path != s.Python {
			say(fmt.Sprintf("session %s runs %s, and %s would run %s%s", s.Name, s.Python, h.Program, chosen.Path, remedy))
		}
	}
	for _, name := range []string{"VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES"} {
		here, set := os.LookupEnv(name)
		there, sent := h.Env[name]
		switch {
		case here == there && set == sent:
		case name == "VIRTUAL_ENV" && (h.Python != "" || sent && strings.HasPrefix(s.Python, there+"/")):
			// It decides nothing.
		default:
			say(fmt.Sprintf("session %s was started with %s, and %s has %s%s", s.Name, setting(name, here, set), h.Program, setting(name, there, sent), remedy))
		}
	}
	return said
}

// setting writes a variable as one sets it.
func setting(name, value string, set bool) string {
	if !set {
		return "no " + name
	}
	return name + "=" + value
}
