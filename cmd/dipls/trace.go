package main

import (
	"go.uber.org/zap"

	"dipls/internal/trace"
)

const traceUsage = "write what happens to each cell, and when, to this file, for chrome://tracing or ui.perfetto.dev"

// openTrace begins a trace; without a path there is none.
func openTrace(path string) (*trace.Tracer, error) {
	if path == "" {
		return nil, nil
	}
	t, err := trace.Create(path)
	if err != nil {
		return nil, usagef("--trace: %w", err)
	}
	return t, nil
}

// closeTrace ends a trace. A trace that could not be written does not make the run fail.
func closeTrace(t *trace.Tracer, log *zap.Logger) {
	if err := t.Close(); err != nil {
		log.Warn("the trace is not complete", zap.Error(err))
	}
}
