package fakerank

import (
	"encoding/json"

	"dipls/ranks/wire"
)

// input asks for a line and prints it. If it is interrupted, it says that it waits no more, and goes on when the server has agreed.
func (r *rank) input(m *wire.Message, prompt string, password bool) *pyError {
	r.mu.Lock()
	r.asked++
	q := wire.InputRequest{ID: r.asked, Prompt: prompt, Password: password}
	r.typed = nil
	r.mu.Unlock()
	r.peer.send(wire.TypeInputRequest, m.RawHeader, q)
	r.waitUntil(func() bool { return r.typed != nil || r.interrupt })
	r.mu.Lock()
	typed := r.typed
	r.mu.Unlock()
	if typed == nil {
		r.peer.send(wire.TypeInputEnd, m.RawHeader, q)
		r.waitUntil(func() bool { return r.typed != nil })
		return &pyError{"KeyboardInterrupt", ""}
	}
	switch typed.Status {
	case "ok":
		r.print(m, "stdout", []byte(typed.Value+"\n"))
		return nil
	case "error":
		return &pyError{"NoKeyboardError", "no keyboard is connected to this process"}
	}
	return &pyError{"EOFError", typed.Status}
}

func (r *rank) inputReply(m *wire.Message) {
	var reply wire.InputReply
	json.Unmarshal(m.Content, &reply)
	r.mu.Lock()
	defer r.mu.Unlock()
	if reply.ID == r.asked {
		r.typed = &reply
	}
	r.cond.Broadcast()
}
