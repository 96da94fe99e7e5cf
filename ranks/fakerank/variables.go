package fakerank

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"dipls/ranks/wire"
)

// errSilent keeps a request from being answered: the rank has ended.
var errSilent = errors.New("no answer")

// misbehave does what one of the names asks for. It returns the error to answer with, if any.
func (r *rank) misbehave(names ...string) error {
	for _, name := range names {
		switch name {
		case "missing":
			return errors.New("name 'missing' is not defined")
		case "slow":
			r.wait(false)
			return errors.New("interrupted")
		case "late":
			r.wait(false)
		case "tardy":
			r.waitUntil(func() bool { return r.struck > 1 })
		case "stuck":
			r.wait(true)
		case "fatal":
			r.die(9, syscall.Signal(0), false)
			return errSilent
		}
	}
	return nil
}

// answer serves a request other than a cell: do makes the content of its answer.
func (r *rank) answer(m *wire.Message, replyType string, names []string, do func() any) {
	aborted := !r.begin(m.Header.MsgID)
	err := errors.New("interrupted")
	if !aborted {
		err = r.misbehave(names...)
	}
	if !r.end() {
		return
	}
	switch {
	case err == nil && slices.Contains(names, "rubbish"):
		do()
		r.peer.send(replyType, m.RawHeader, []int{1, 2, 3})
	case err == nil:
		r.peer.send(replyType, m.RawHeader, do())
	default:
		failed := wire.Status{Status: "error", EName: "KeyboardInterrupt"}
		if err.Error() != "interrupted" {
			failed.EName, failed.EValue = "NameError", err.Error()
		}
		r.peer.send(replyType, m.RawHeader, wire.PushReply{Status: failed, Name: names[0]})
	}
}

// push makes the variables wait for push_commit.
func (r *rank) push(m *wire.Message) {
	var req wire.PushRequest
	json.Unmarshal(m.Content, &req)
	r.answer(m, wire.TypePushReply, req.Names, func() any {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting = req.Names
		return wire.PushReply{Status: wire.Status{Status: "ok"}}
	})
}

func (r *rank) endPush(m *wire.Message) {
	var req wire.PushCommit
	json.Unmarshal(m.Content, &req)
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Commit {
		r.pushed = append(r.pushed, r.waiting...)
		for _, name := range r.waiting {
			r.bind(wire.Object{Name: name, Type: "object", Kind: "instance"})
		}
	}
	r.waiting = nil
}

// pull answers with a payload that says which rank made it.
func (r *rank) pull(m *wire.Message) {
	var req wire.PullRequest
	json.Unmarshal(m.Content, &req)
	r.answer(m, wire.TypePullReply, req.Names, func() any {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held[m.Header.MsgID] = true
		payload, _ := json.Marshal(map[string]any{"rank": r.spec.Rank, "names": req.Names})
		return wire.PullReply{Status: wire.Status{Status: "ok"}, Payload: payload}
	})
}

func (r *rank) setApp(m *wire.Message) {
	var req wire.AppRequest
	json.Unmarshal(m.Content, &req)
	r.mu.Lock()
	app := r.app
	r.mu.Unlock()
	if req.App != nil {
		app = *req.App
	}
	r.answer(m, wire.TypeAppReply, []string{app}, func() any {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.app = app
		reply := wire.AppReply{Status: wire.Status{Status: "ok"}, App: app}
		if app == "loud" {
			reply.Notices = []string{"app loud is loud"}
		}
		return reply
	})
}

// ask sends a command_request, whose content the code gives, and prints its reply.
func (r *rank) ask(m *wire.Message, content string) *pyError {
	reply, failed := r.command(m, content)
	if reply != nil {
		r.print(m, "stdout", fmt.Appendf(nil, "%s\n", reply))
	}
	return failed
}

// transfer gives the command that a push or a pull is, and fails as that does.
func (r *rank) transfer(m *wire.Message, number int, t *wire.Transfer) *pyError {
	name, payload := "push", map[string]any{}
	if t.Pull {
		name, payload = "pull", nil
	}
	content, _ := json.Marshal(map[string]any{"id": number, "command": name, "names": t.Names, "ranks": t.Ranks, "payload": payload})
	reply, failed := r.command(m, string(content))
	var status wire.Status
	if json.Unmarshal(reply, &status) == nil && status.Status == "error" {
		return &pyError{status.EName, status.EValue}
	}
	if failed == nil && t.Pull {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, name := range t.Names {
			r.bind(wire.Object{Name: name, Type: "object", Kind: "instance"})
		}
	}
	return failed
}

// makePool gives the command that makes a pool, and prints what was done.
func (r *rank) makePool(m *wire.Message, number int) *pyError {
	reply, failed := r.command(m, fmt.Sprintf(`{"id":%d,"command":"make"}`, number))
	var made wire.MakeCommandReply
	switch {
	case json.Unmarshal(reply, &made) != nil:
	case made.Status.Status == "error":
		return &pyError{made.EName, made.EValue}
	default:
		r.print(m, "stdout", []byte(made.Text+"\n"))
	}
	return failed
}

// command sends a command_request, and command_end when it has the reply.
func (r *rank) command(m *wire.Message, content string) (reply []byte, failed *pyError) {
	var c wire.Command
	if err := json.Unmarshal([]byte(content), &c); err != nil {
		return nil, &pyError{"ValueError", err.Error()}
	}
	end := func() { r.peer.send(wire.TypeCommandEnd, m.RawHeader, map[string]int{"id": c.ID}) }
	r.peer.send(wire.TypeCommandRequest, m.RawHeader, json.RawMessage(content))
	replied := func() bool { return r.commands[c.ID] != nil }
	r.waitUntil(func() bool { return r.interrupt || replied() })
	r.mu.Lock()
	interrupted, dead := !replied(), r.isDead
	r.mu.Unlock()
	if dead {
		return nil, nil
	}
	if interrupted {
		end()
		r.waitUntil(replied)
	}
	r.mu.Lock()
	reply = r.commands[c.ID]
	delete(r.commands, c.ID)
	r.interrupt = false
	r.mu.Unlock()
	if interrupted {
		return reply, &pyError{"KeyboardInterrupt", ""}
	}
	end()
	return reply, nil
}

func (r *rank) commandReply(m *wire.Message) {
	var c wire.CommandStatus
	json.Unmarshal(m.Content, &c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands[c.ID] = m.Content
	r.cond.Broadcast()
}
