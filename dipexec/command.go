package dipexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dipls/internal/contain"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// command is something that the local namespace has asked for. A goroutine of its own serves it and alone answers
// it, exactly once. The goroutine goes on after that while the command holds something.
//
// A command ends when the process says so, when the process ends, when the executor is closed, or when the run that gave it
// is given up. It does not end with its run: before the cell ends, the main thread of the local namespace waits for the answer
// to what the cell has asked for, or says that it does not want it any more. A command that is left then was given by
// another thread, which still waits.
type command struct {
	e    *Executor
	proc *process // that has asked, or that the executor has asked for
	id   int      // its number for it; less than 0: the executor's own
	at   place    // its place in the queues

	// giver is the run whose cell has given it; nil: a thread gave it while no cell ran.
	giver *run
	// last is giver, or the run that the process began last; nil: none.
	last *run

	ctx     context.Context // ends when the command does
	stop    context.CancelFunc
	turn    *ticket // on the ranks; nil: it needs none
	release func()  // releases what it holds; nil: nothing

	reply func(any) // takes the reply; nil: it goes to the process
}

// cancel implements holder.
func (c *command) cancel() { c.stop() }

// commandError is an error for the local namespace: an exception's class and text.
type commandError struct{ ename, evalue string }

func (e *commandError) Error() string { return e.ename + ": " + e.evalue }

func valueError(err error) error { return &commandError{"ValueError", err.Error()} }

// commandHandler serves one kind of command. What it returns is the reply, one of wire's, or an error.
type commandHandler struct {
	turn   bool // it takes its turn on the ranks
	beside bool // while the ranks hang it need not wait for its turn
	serve  func(c *command, content json.RawMessage) (reply any, err error)
}

// handlerOf gives the handler of a command.
func handlerOf(name string) (h commandHandler, known bool) {
	switch name {
	case "push":
		h = commandHandler{turn: true, serve: decoded((*command).push)}
	case "pull":
		h = commandHandler{turn: true, beside: true, serve: decoded((*command).pull)}
	case "make":
		h = commandHandler{turn: true, serve: decoded((*command).makePool)}
	case "info":
		h = commandHandler{serve: decoded((*command).info)}
	case "run":
		h = commandHandler{serve: decoded((*command).run)} // what it runs takes a turn
	case "result":
		h = commandHandler{serve: decoded((*command).result)}
	case "autodip":
		h = commandHandler{serve: decoded((*command).autodip)}
	case "pxconfig":
		h = commandHandler{serve: decoded((*command).pxconfig)}
	case "interrupt":
		h = commandHandler{serve: decoded((*command).interrupt)}
	}
	return h, h.serve != nil
}

// decoded wraps a method that takes a decoded command into one that takes it as it came.
func decoded[T any](serve func(*command, T) (any, error)) func(*command, json.RawMessage) (any, error) {
	return func(c *command, content json.RawMessage) (any, error) {
		var cmd T
		if err := json.Unmarshal(content, &cmd); err != nil {
			return nil, valueError(err)
		}
		return serve(c, cmd)
	}
}

// commandKey identifies a command.
type commandKey struct {
	proc *process
	id   int
}

// command takes a command. It waits for nothing, since it is called by the reader of the process. last is the run that
// the process began last, running tells whether its cell still runs.
func (e *Executor) command(p *process, last *run, running bool, said ranks.Command) {
	c := &command{e: e, proc: p, id: said.ID, last: last}
	if running {
		c.giver = last
	}
	h, known := handlerOf(said.Command.Command)
	err := valueError(fmt.Errorf("there is no command %q", said.Command.Command))
	if known {
		err = e.begin(c, h, said.Content)
	}
	if err != nil {
		c.answer(c.failed(err))
	}
}

// commandEnd ends a command that the process needs nothing more of.
func (e *Executor) commandEnd(p *process, id int) {
	e.mu.Lock()
	c := e.commands[commandKey{p, id}]
	e.mu.Unlock()
	if c != nil { // it may have ended already
		c.cancel()
	}
}

// begin gives a command its place and starts to serve it.
func (e *Executor) begin(c *command, h commandHandler, content json.RawMessage) error {
	key := commandKey{c.proc, c.id}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return errEnding
	case c.giver != nil && c.giver.over(): // later runs wait for that process, and this command would wait for them
		return &commandError{"RuntimeError", "the cell that asks was given up when its time was over"}
	case !c.proc.who.IsLocal():
		return valueError(errors.New("only the local namespace may give commands"))
	case e.commands[key] != nil:
		return valueError(fmt.Errorf("command %d goes on already", c.id))
	}
	c.at = e.placeFor(c.giver)
	ctx := e.ctx
	if c.last != nil {
		ctx = withCaller(ctx, c.last.req.Caller)
	}
	c.ctx, c.stop = context.WithCancel(ctx)
	if h.turn {
		c.turn = e.queues[poolNamespace].enter(c.at, c)
	}
	e.commands[key] = c
	e.goOn(func() { c.live(h, content) })
	return nil
}

var errEnding = &commandError{"RuntimeError", "the session is ending"}

// placeFor is the place of something that is no run of its own: before giver, whose cell asks for it, or between cells if giver is nil. Then it comes
// after everything that was started, except for runs that wait for one before them in their sequence: if a thread asks, what these wait for may wait
// for the thread. The caller holds mu.
func (e *Executor) placeFor(giver *run) place {
	if giver != nil {
		return e.nextPlace(giver)
	}
	var first *run
	for _, r := range e.runs {
		if r.waits() && (first == nil || r.at.compare(first.at) < 0) {
			first = r
		}
	}
	return e.nextPlace(first)
}

// nextPlace is the next free place: before giver itself, for something that its cell asks for, or after everything else if giver is nil. The
// caller holds mu.
func (e *Executor) nextPlace(giver *run) place {
	e.places++
	if giver == nil {
		return place{e.places, itself}
	}
	return place{giver.at.run, e.places}
}

// live is the life of the command.
func (c *command) live(h commandHandler, content json.RawMessage) {
	c.e.work.Go(func() {
		select {
		case <-c.proc.p.Done():
			c.cancel()
		case <-c.ctx.Done():
		}
	})
	reply, err := c.serve(h, content)
	if err != nil {
		reply = c.failed(err)
	}
	if c.release == nil {
		c.end()
		c.answer(reply)
		return
	}
	c.answer(reply)
	<-c.ctx.Done()
	c.release()
	c.end()
}

// end removes the command.
func (c *command) end() {
	c.cancel()
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	delete(c.e.commands, commandKey{c.proc, c.id})
}

// serve does what was asked for, once its turn has come.
func (c *command) serve(h commandHandler, content json.RawMessage) (_ any, err error) {
	if c.turn != nil {
		defer c.turn.leave()
		if err := c.takeTurn(h.beside); err != nil {
			return nil, err
		}
	}
	defer contain.AsError(&err)
	return h.serve(c, content)
}

// takeTurn waits for the command's turn. If the command may be served beside the run on the ranks, it waits only until that run hangs.
func (c *command) takeTurn(beside bool) error {
	if !beside {
		return c.turn.take(c.ctx)
	}
	for {
		ctx, stop := context.WithTimeout(c.ctx, besidePause)
		err := c.turn.take(ctx)
		stop()
		if err == nil || c.ctx.Err() != nil || c.e.hangs() {
			return c.ctx.Err()
		}
	}
}

const besidePause = 500 * time.Millisecond // between two looks whether ranks hang

// answer sends the reply.
func (c *command) answer(reply any) {
	if c.reply != nil {
		c.reply(reply)
		return
	}
	_ = c.proc.p.Answer(reply) // of strings, numbers, and JSON that was parsed: can be encoded
}

// failed is the reply for an error. Whatever fails after a command has ended fails because of that.
func (c *command) failed(err error) wire.CommandStatus {
	s := wire.Status{Status: "error", EName: "RuntimeError", EValue: err.Error()}
	if ce, ok := errors.AsType[*commandError](err); ok {
		s.EName, s.EValue = ce.ename, ce.evalue
	}
	if c.ctx != nil && c.ctx.Err() != nil {
		s = wire.Status{Status: "aborted", EName: "KeyboardInterrupt", EValue: "interrupted"}
	}
	return wire.CommandStatus{ID: c.id, Status: s}
}

// ok is the beginning of a reply without an error.
func (c *command) ok() wire.CommandStatus {
	return wire.CommandStatus{ID: c.id, Status: wire.Status{Status: "ok"}}
}

// endCommands ends the commands for which f is true.
func (e *Executor) endCommands(f func(*command) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.commands {
		if f(c) {
			c.cancel()
		}
	}
}

// makePool makes, restarts or ends the ranks.
func (c *command) makePool(cmd wire.MakeCommand) (any, error) {
	if c.e.o.Manager == nil {
		return nil, errNoManager
	}
	defer c.e.forgetEnded()
	text, err := c.e.o.Manager.Make(c.ctx, cmd)
	if err != nil {
		return nil, err
	}
	return wire.MakeCommandReply{CommandStatus: c.ok(), Text: text}, nil
}

// info describes the processes.
func (c *command) info(struct{}) (any, error) {
	if c.e.o.Manager == nil {
		return nil, errNoManager
	}
	info := c.e.o.Manager.Info(c.ctx)
	info.Autodip = c.e.Autodip()
	return wire.InfoCommandReply{CommandStatus: c.ok(), Pool: info}, nil
}

var errNoManager = &commandError{"RuntimeError", "the pool of this session is not made from code"}
