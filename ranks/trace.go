package ranks

import (
	"encoding/json"

	"go.uber.org/zap"

	"dipls/internal/trace"
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
	t.NameProcess(p.id.PID, p.name, order)
	t.NameTrack(trace.Track{PID: p.id.PID, TID: mainThread}, "main thread")
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
	pid := p.PID()
	main := trace.Track{PID: pid, TID: mainThread}
	run := trace.Text("run", e.run)
	// Waits, and what the I/O thread does, are phases, for they may overlap with what the main thread does for others.
	ahead := p.node.host.Clock().Nanoseconds()
	moment := func(there int64) trace.Time { return trace.Time(there - ahead) }
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
