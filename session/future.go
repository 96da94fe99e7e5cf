package session

import (
	"context"

	"dipls/internal/contain"
)

// future is something that is being started, was started, or could not be started.
type future[T any] struct {
	cancel context.CancelCauseFunc // ends the start, not what was started
	done   chan struct{}           // value and err are set
	value  T
	err    error
}

// begin starts something that all calls share; the context that start gets ends with the session. s.mu is held.
func begin[T any](s *processes, start func(context.Context) (T, error)) *future[T] {
	if s.closed {
		return failed[T](errClosed)
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	f := &future[T]{cancel: cancel, done: make(chan struct{})}
	s.starts.Go(func() {
		defer cancel(nil)
		defer close(f.done)
		defer contain.AsError(&f.err)
		f.value, f.err = start(ctx)
	})
	return f
}

// failed is a future that could not be started.
func failed[T any](err error) *future[T] {
	f := &future[T]{cancel: func(error) {}, done: make(chan struct{}), err: err}
	close(f.done)
	return f
}

// wait waits for the outcome. If ctx ends, the start goes on for others.
func (f *future[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// known reports whether there is an outcome.
func (f *future[T]) known() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}
