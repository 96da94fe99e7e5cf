package ranks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dipls/ranks/wire"
)

// interruptPatience is how long a request that was interrupted may take to be answered.
const interruptPatience = 5 * time.Second

// PreparedPush is a push_request that is encoded once for many processes.
type PreparedPush struct{ content []byte }

// PreparePush encodes a push_request.
func PreparePush(req wire.PushRequest) (*PreparedPush, error) {
	content, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", wire.TypePushRequest, err)
	}
	return &PreparedPush{content}, nil
}

// Push has the process unpickle variables, which then wait for EndPush. An error of the process is a *[ReplyError], and then
// nothing waits. When ctx ends, the process is interrupted.
func (p *Process) Push(ctx context.Context, req *PreparedPush) error {
	_, err := p.request(ctx, wire.TypePushRequest, req.content, nil)
	return err
}

// EndPush binds the variables that wait, or has the process forget them. It does not wait; what the process is asked
// after it comes after it.
func (p *Process) EndPush(commit bool) {
	content, _ := json.Marshal(wire.PushCommit{Commit: commit})
	p.post(wire.TypePushCommit, content)
}

// Pull has the process pickle variables. The payload is there until release is called. An error of the process is a
// *[ReplyError]. When ctx ends, the process is interrupted.
func (p *Process) Pull(ctx context.Context, names []string) (payload wire.Payload, release func(), err error) {
	content, err := json.Marshal(wire.PullRequest{Names: names})
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", wire.TypePullRequest, err)
	}
	var reply wire.PullReply
	id, err := p.request(ctx, wire.TypePullRequest, content, &reply)
	release = func() {
		content, _ := json.Marshal(wire.PullRelease{Parent: id})
		p.post(wire.TypePullRelease, content)
	}
	if err != nil {
		release() // an answer may be on its way that nobody waits for any more
		return nil, nil, err
	}
	return reply.Payload, release, nil
}

// SetApp gives the process another app, or changes the one that it has.
func (p *Process) SetApp(ctx context.Context, req wire.AppRequest) (*wire.AppReply, error) {
	content, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", wire.TypeAppRequest, err)
	}
	reply := new(wire.AppReply)
	if _, err := p.request(ctx, wire.TypeAppRequest, content, reply); err != nil {
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

// post sends a message that has no answer; a process that has ended needs none.
func (p *Process) post(msgType string, content []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		p.link.post(msgType, content)
	}
}

// request makes a request that the process's main thread serves, after what it was asked before. When ctx ends, it
// is interrupted; the answer to that is waited for, so that both sides know what came of it.
func (p *Process) request(ctx context.Context, msgType string, content []byte, reply any) (id string, err error) {
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l == nil {
		return "", fmt.Errorf("%s is not connected", p.name)
	}
	id, answer := l.begin(msgType, content)
	var patience <-chan time.Time
	done := ctx.Done()
	for {
		select {
		case m, ok := <-answer:
			if !ok {
				<-p.done
				return id, p.Err()
			}
			err := l.decodeReply(msgType, m, reply)
			if err != nil && ctx.Err() != nil {
				err = errors.Join(context.Cause(ctx), err)
			}
			return id, err
		case <-done:
			done = nil
			interrupt, _ := json.Marshal(wire.InterruptRequest{Parent: id})
			p.post(wire.TypeInterruptRequest, interrupt)
			patience = time.After(interruptPatience)
		case <-patience:
			l.forget(id)
			return id, fmt.Errorf("%s does not answer: %w", p.name, context.Cause(ctx))
		}
	}
}
