package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"dipls/dipexec"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// session is the Python side of one command: a node, its local namespace and its pool, each started when it is first
// needed. It is the executor's dipexec.Pool.
type session struct {
	node  lazy[*ranks.Node]
	local lazy[*ranks.Process]
	pool  lazy[*ranks.Pool]
}

// sessionPlan says how to start what a session needs.
type sessionPlan struct {
	node    ranks.Options
	pool    ranks.PoolSpec
	notice  func(string)                                             // is told what the pool has to say about itself
	install func(context.Context, *ranks.MissingPackagesError) error // gets what the interpreter lacks, or says why not
}

// plan says how to start what the session needs, which then lives in ctx.
func (s *session) plan(ctx context.Context, plan sessionPlan) {
	s.node.start = func() (*ranks.Node, error) {
		node, err := ranks.StartNode(ctx, plan.node)
		var missing *ranks.MissingPackagesError
		if !errors.As(err, &missing) {
			return node, err
		}
		if err := plan.install(ctx, missing); err != nil {
			return nil, err
		}
		return ranks.StartNode(ctx, plan.node)
	}
	s.local.start = func() (*ranks.Process, error) {
		node, err := s.node.get(ctx)
		if err != nil {
			return nil, err
		}
		return node.Local(ctx)
	}
	s.pool.start = func() (*ranks.Pool, error) {
		node, err := s.node.get(ctx)
		if err != nil {
			return nil, err
		}
		pool, err := node.StartPool(ctx, plan.pool)
		if err != nil {
			return nil, err
		}
		for _, text := range pool.Notices() {
			plan.notice(text)
		}
		return pool, nil
	}
}

// begin starts the node, and has the pool and the local namespace start while the first cells may already run.
func (s *session) begin(ctx context.Context, withRanks, withLocal bool) error {
	if _, err := s.node.get(ctx); err != nil {
		return err
	}
	// The pool first: the node then has torch when it forks the local namespace, which need not import it again.
	if withRanks {
		s.pool.begin()
	}
	if withLocal {
		s.local.begin()
	}
	return nil
}

// close ends whatever was started.
func (s *session) close(ctx context.Context) error {
	node, err := s.node.started()
	if node == nil || err != nil {
		return nil // what could not be started has cleaned up after itself
	}
	return node.Close(ctx)
}

// Local returns the local namespace.
func (s *session) Local(ctx context.Context) (dipexec.Process, error) {
	local, err := s.local.get(ctx)
	if err != nil {
		return nil, err // not local: a nil *Process in an interface is not nil
	}
	return local, nil
}

// Ranks returns the ranks. A pool that died is not replaced: what its ranks held in memory is gone, and the cells that
// made it would have to run again.
func (s *session) Ranks(ctx context.Context) ([]dipexec.Process, error) {
	pool, err := s.pool.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := pool.Err(); err != nil {
		return nil, fmt.Errorf("the pool is dead and its variables are lost; run the file again (%w)", err)
	}
	return dipexec.ProcessesOf(pool), nil
}

// Make does what %makedip asks for.
func (s *session) Make(context.Context, wire.MakeCommand) (string, error) {
	return "", errors.New("not available yet")
}

// Info describes the processes.
func (s *session) Info(context.Context) wire.PoolInfo { return wire.PoolInfo{State: "none"} }

// lazy starts a thing for the first who asks and gives the outcome to all.
type lazy[T any] struct {
	start func() (T, error) // set before the first use

	mu    sync.Mutex
	done  chan struct{} // nil until begun; value and err are written before it is closed
	value T
	err   error
}

// begin starts the thing without waiting for it.
func (l *lazy[T]) begin() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		go func() {
			defer close(l.done)
			l.value, l.err = l.start()
		}()
	}
	return l.done
}

// get waits for the thing. Whoever gives up leaves it going for the others.
func (l *lazy[T]) get(ctx context.Context) (T, error) {
	select {
	case <-l.begin():
		return l.value, l.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// started waits for the thing if it was begun; otherwise it is the zero value.
func (l *lazy[T]) started() (T, error) {
	l.mu.Lock()
	done := l.done
	l.mu.Unlock()
	if done == nil {
		var zero T
		return zero, errors.New("not started")
	}
	<-done
	return l.value, l.err
}
