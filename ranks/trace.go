package ranks

import (
	"encoding/json"
	"fmt"

	"go.uber.org/zap"

	"dipls/internal/trace"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// mainThread is the track of a process's main thread, which runs cells.
const mainThread = 1

// beginTrace makes the process's link record in the trace. p.mu is held, and the link is not started.
func (p *Process) beginTrace() {
	t := p.node.opts.Trace
	if !t.On() {
		return
	}
	p.link.TraceTo(t, t.NewTrack("to "+p.name), t.NewTrack("from "+p.name))
	order := 0 // the local namespace, then the ranks
	if rank, ok := p.who.Rank(); ok {
		order = 1 + rank
	}
	name := p.name
	if p.traced = p.id.PID; p.node.host != (host.Local{}) {
		p.traced = t.NewProcess()
		name = fmt.Sprintf("%s, process %d of %s", p.name, p.id.PID, p.node.host.Name())
	}
	t.NameProcess(p.traced, name, order)
	t.NameTrack(trace.Track{PID: p.traced, TID: mainThread}, "main thread")
}

// traceExecution records in the trace what the process says about an execution.
func (p *Process) traceExecution(e *execution, metadata []byte) {
	t := p.node.opts.Trace
	var said wire.TraceMetadata
	if err := json.Unmarshal(metadata, &said); err != nil {
		p.log.Warn("metadata of a reply cannot be read", zap.Error(err))
		return
	}
	m := said.Trace
	if m == nil || !t.On() {
		return
	}
	p.mu.Lock()
	pid := p.traced
	p.mu.Unlock()
	main := trace.Track{PID: pid, TID: mainThread}
	run := trace.Text("run", e.run)
	ahead := p.node.host.Clock().Nanoseconds() // each machine has its own
	moment := func(there int64) trace.Time { return trace.Time(there - ahead) }
	// Waits, and what the I/O thread does, are phases, for they may overlap with what the main thread does for others.
	wait := func(name string, from, to int64) {
		if from > 0 && to > 0 {
			t.Phase(pid, e.id, name, moment(from), moment(to), run)
		}
	}
	do := func(name string, from, to int64) {
		if from > 0 && to > 0 {
			t.Span(main, name, moment(from), moment(to), run)
		}
	}
	wait("wait for the main thread", m.Received, m.Taken)
	do("cell", m.Taken, m.Replied)
	do("compile", m.Taken, m.Compiled)
	do("run", m.Compiled, m.Ran)
	do("settle", m.Ran, m.Replied)
	if m.Printed > 0 {
		t.Moment(main, "first byte", moment(m.Printed), run)
	}
	wait("first byte waits", m.Printed, m.Streamed)
	wait("reply waits", m.Replied, m.Sent)
}
