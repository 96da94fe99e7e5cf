package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"dipls/cells"
	"dipls/dipexec/journal"
	"dipls/session"
)

// turn is how many passes one front runs before it is the other's turn.
const turn = 10

// caller is a front whose folder is trusted.
func (p *plan) caller() session.Caller {
	return session.Caller{Settings: session.Settings{Python: p.python, Trust: session.TrustYes, Pool: session.Choice{Ranks: p.ranks}}}
}

// front is a front that reads all events.
type front struct {
	session.API
	sub session.Subscription
}

func newFront(ctx context.Context, s session.API) (*front, error) {
	sub, err := s.Subscribe(ctx, session.SubscribeRequest{})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			if _, err := sub.Next(context.Background()); err != nil {
				return
			}
		}
	}()
	return &front{s, sub}, nil
}

// remote runs code on all ranks and answers how long it took.
func (f *front) remote(ctx context.Context, by session.Caller, code string) (time.Duration, error) {
	return f.run(ctx, by, cells.Remote, code)
}

// local runs code in the local namespace.
func (f *front) local(ctx context.Context, by session.Caller, code string) (time.Duration, error) {
	return f.run(ctx, by, cells.Local, code)
}

// run runs code; a run that does not succeed is an error.
func (f *front) run(ctx context.Context, by session.Caller, where cells.Where, code string) (time.Duration, error) {
	begin := time.Now()
	runs, err := f.Start(ctx, by, session.Sequence{Cells: []session.Cell{{Code: code, Line: 1, Target: cells.Target{Where: where}}}})
	if err != nil {
		return 0, err
	}
	report, err := f.Wait(ctx, runs[0])
	took := time.Since(begin)
	if err == nil {
		err = failure(code, report)
	}
	return took, err
}

// passes runs pass several times, and returns how long each took, in milliseconds.
func (f *front) passes(ctx context.Context, by session.Caller, times int) (samples []float64, err error) {
	for range times {
		took, err := f.remote(ctx, by, "pass")
		if err != nil {
			return nil, err
		}
		samples = append(samples, milliseconds(took))
	}
	return samples, nil
}

// ownSession is a session in this process, with a front.
type ownSession struct {
	*front
	dir   string // with what it keeps
	close func(context.Context) error
}

func openSession() (*ownSession, error) {
	dir, err := os.MkdirTemp("", "session-")
	if err != nil {
		return nil, err
	}
	store := journal.Open(journal.Options{Dir: filepath.Join(dir, "runs")})
	s := session.New(session.Options{Dir: dir, Journal: store})
	end := func(ctx context.Context) error {
		err := s.Close(context.WithoutCancel(ctx), session.CloseRequest{})
		store.Close()
		return errors.Join(err, os.RemoveAll(dir))
	}
	f, err := newFront(context.Background(), s)
	if err != nil {
		return nil, errors.Join(err, end(context.Background()))
	}
	return &ownSession{f, dir, end}, nil
}
