package ranks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"dipls/ranks/host"
	"dipls/ranks/link"
	"dipls/ranks/wire"
)

// interruptPatience is how long a process may take to answer a request that was interrupted.
const interruptPatience = 5 * time.Second

// PreparedPush is a push_request that is encoded once for many processes.
type PreparedPush struct {
	request wire.PushRequest
	content map[string][]byte // by the name of the host whose processes can map the variables; "": any
	free    []func()          // copies
}

// PreparePush encodes a push_request.
func PreparePush(req wire.PushRequest) (*PreparedPush, error) {
	p := &PreparedPush{request: req, content: map[string][]byte{}}
	return p, p.encode(req.Payload)
}

func (p *PreparedPush) encode(payload wire.Payload) error {
	content, err := json.Marshal(wire.PushRequest{Names: p.request.Names, Payload: payload})
	if err != nil {
		return fmt.Errorf("encode %s: %w", wire.TypePushRequest, err)
	}
	p.content[payload.Host()] = content
	return nil
}

// Spread copies the variables from their host to those of processes, once to each where they are not yet. told hears how much there is on the host that
// has least. Free frees the copies, also after an error.
func (p *PreparedPush) Spread(ctx context.Context, from host.Host, to []host.Host, told func(moved, total int64)) error {
	var missing []host.Host
	for _, h := range to {
		if p.content[""] == nil && p.content[h.Name()] == nil && !slices.Contains(missing, h) {
			missing = append(missing, h)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	copies, free, err := carry(ctx, p.request.Payload, from, missing, told)
	if err != nil {
		return err
	}
	p.free = append(p.free, free)
	for _, there := range copies {
		if err := p.encode(there); err != nil {
			return err
		}
	}
	return nil
}

// Free frees the copies. Processes that have taken the variables keep them.
func (p *PreparedPush) Free() {
	for _, free := range p.free {
		free()
	}
	p.free = nil
}

// Push has the process unpickle variables, which then wait for EndPush. After an error nothing waits. An error of the process itself is a
// *[wire.ReplyError]. When ctx ends, the process is interrupted; if that comes too late, the error is nil. Only one push at a time is allowed.
func (p *Process) Push(ctx context.Context, req *PreparedPush) error {
	here := p.node.host.Name()
	content := req.content[here]
	if content == nil {
		content = req.content[""]
	}
	if content == nil {
		return fmt.Errorf("%s, on %s, cannot map what lies in the memory of %s", p.who, here, req.request.Payload.Host())
	}
	_, err := p.request(ctx, wire.TypePushRequest, content, nil)
	if err != nil && !refused(err) {
		p.EndPush(false) // the process may still serve the request, and after it this
	}
	return err
}

// EndPush has the process bind the variables that wait, or forget them. It does not wait. The process serves it before later requests.
func (p *Process) EndPush(commit bool) {
	content, _ := json.Marshal(wire.PushCommit{Commit: commit})
	p.post(wire.TypePushCommit, content)
}

// Pull has the process pickle variables. The payload exists until release is called, which must be done. After an error there is none. An error of the
// process itself is a *[wire.ReplyError]. When ctx ends, the process is interrupted; if that comes too late, the error is nil.
func (p *Process) Pull(ctx context.Context, names []string) (payload wire.Payload, release func(), err error) {
	return p.pull(ctx, wire.PullRequest{Names: names})
}

// PullBeside is Pull, but a process whose main thread waits in a collective answers while it waits.
func (p *Process) PullBeside(ctx context.Context, names []string) (payload wire.Payload, release func(), err error) {
	return p.pull(ctx, wire.PullRequest{Names: names, WhileBusy: true})
}

func (p *Process) pull(ctx context.Context, req wire.PullRequest) (payload wire.Payload, release func(), err error) {
	content, err := json.Marshal(req)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", wire.TypePullRequest, err)
	}
	var reply wire.PullReply
	id, err := p.request(ctx, wire.TypePullRequest, content, &reply)
	if err != nil {
		if id != "" && !refused(err) {
			p.releasePull(id) // there may be a payload, even if the answer could not be read
		}
		return nil, nil, err
	}
	return reply.Payload, func() { p.releasePull(id) }, nil
}

// releasePull has the process free the payload with which it answered a pull_request.
func (p *Process) releasePull(id string) {
	content, _ := json.Marshal(wire.PullRelease{Parent: id})
	p.post(wire.TypePullRelease, content)
}

// SetApp gives the process another app, or changes the one that it has. An error of the process itself is a *[wire.ReplyError]. When ctx ends, the
// process is interrupted.
func (p *Process) SetApp(ctx context.Context, req wire.AppRequest) (*wire.AppReply, error) {
	content, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", wire.TypeAppRequest, err)
	}
	reply := new(wire.AppReply)
	if _, err := p.request(ctx, wire.TypeAppRequest, content, reply); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hello.App = reply.App
	if reply.Device != "" {
		p.hello.Backend, p.hello.Device = reply.Backend, reply.Device
	}
	return reply, nil
}

// Mend forms the process groups of the rank anew, when its main thread is free. It is for all ranks of a pool at once, for they wait for each other.
func (p *Process) Mend(ctx context.Context, req wire.MendRequest) (*wire.MendReply, error) {
	content, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	reply := new(wire.MendReply)
	if _, err := p.request(ctx, wire.TypeMendRequest, content, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// Answer sends a command_reply, one of wire's.
func (p *Process) Answer(reply any) error {
	content, err := json.Marshal(reply)
	if err != nil {
		return fmt.Errorf("encode %s: %w", wire.TypeCommandReply, err)
	}
	p.post(wire.TypeCommandReply, content)
	return nil
}

// AnswerInput answers an [Input]. It does not wait.
func (p *Process) AnswerInput(reply wire.InputReply) {
	content, _ := json.Marshal(reply) // strings and a number can be encoded
	p.post(wire.TypeInputReply, content)
}

// post sends a message that has no answer. It does nothing if the process has ended.
func (p *Process) post(msgType string, content []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		p.link.Post(msgType, content)
	}
}

// refused reports whether an error is the answer of a process.
func refused(err error) bool {
	var reply *wire.ReplyError
	return errors.As(err, &reply)
}

// request makes a request that the process's main thread serves, after earlier ones. Until then the process is busy. When ctx ends, the request is
// interrupted, and its answer is still waited for, so that both sides know how it ended. id is "" if the request was not made.
func (p *Process) request(ctx context.Context, msgType string, content []byte, reply any) (id string, err error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	l, id, answer, err := p.beginServing(msgType, content)
	if err != nil {
		return "", err
	}
	var m *wire.Message
	ok := true
	select {
	case m, ok = <-answer:
	case <-ctx.Done():
		p.interruptServing(id)
		select {
		case m, ok = <-answer:
		case <-time.After(p.node.interruptPatience):
			l.Forget(id)
			select {
			case m, ok = <-answer: // it came in the last moment
			default:
				// It stays busy: see answeredLate.
				return id, fmt.Errorf("%s does not answer: %w", p.name, context.Cause(ctx))
			}
		}
	}
	p.endServing()
	if !ok {
		return id, p.end(ctx, fmt.Errorf("%s: %s: %w", p.name, msgType, link.ErrEnded))
	}
	err = l.DecodeReply(msgType, m, reply)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return id, err
}

// beginServing sends a request and counts it.
func (p *Process) beginServing(msgType string, content []byte) (l *link.Link, id string, answer <-chan *wire.Message, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Final() {
		return nil, "", nil, p.endError()
	}
	if p.link == nil {
		return nil, "", nil, fmt.Errorf("%s is not connected", p.name)
	}
	id, answer = p.link.Begin(msgType, p.laden(content))
	p.serving++
	p.busy()
	return p.link, id, answer, nil
}

func (p *Process) endServing() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving > 0 {
		p.serving--
		p.served()
	}
}

// answeredLate handles the answer to a request that was given up.
func (p *Process) answeredLate(m *wire.Message) {
	p.endServing()
	if m.Header.MsgType == wire.TypePullReply {
		p.releasePull(m.ParentID)
	}
}

func (p *Process) interruptServing(id string) {
	content, _ := json.Marshal(wire.InterruptRequest{Parent: id})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupting()
	if p.link != nil {
		p.link.Post(wire.TypeInterruptRequest, content)
	}
}
