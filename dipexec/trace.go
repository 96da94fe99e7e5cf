package dipexec

import (
	"dipls/internal/trace"
)

// traceBegin tells the trace that the run was asked for.
func (r *run) traceBegin() {
	t := r.e.o.Trace
	if !t.On() {
		return
	}
	r.traced = t.Now()
	t.Begin(t.PID(), r.id, "run", r.traced, trace.Int("cell", int64(r.req.Cell)), trace.Text("title", r.req.Title))
}

// tracePhase tells the trace that the run is past a phase, which began where the last one ended.
func (r *run) tracePhase(name string) {
	t := r.e.o.Trace
	if !t.On() {
		return
	}
	now := t.Now()
	t.Phase(t.PID(), r.id, name, r.traced, now)
	r.traced = now
}

// traceEnd tells the trace that the run is over, and flushes it, so that a reader sees whole runs while cells run.
func (r *run) traceEnd() {
	t := r.e.o.Trace
	if !t.On() {
		return
	}
	r.tracePhase("finish")
	t.End(t.PID(), r.id, "run", r.traced)
	t.Flush()
}
