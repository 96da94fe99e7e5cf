package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/ranks"
)

// server is what stands behind every editor and command line: a node, its pool, and an executor with a journal.
type server struct {
	node     *ranks.Node
	pool     *ranks.Pool
	journal  *journal.Store
	dir      string // of the journal
	executor *dipexec.Executor
}

// open starts a node and an executor; there is no pool yet.
func open(ctx context.Context, python string) (_ *server, err error) {
	s := &server{}
	if s.dir, err = os.MkdirTemp("", "journal-"); err != nil {
		return nil, err
	}
	if s.node, err = ranks.StartNode(ctx, ranks.Options{Python: python}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	s.journal = journal.Open(journal.Options{Dir: s.dir})
	s.executor = dipexec.New(dipexec.Options{Pool: s, Journal: s.journal})
	return s, nil
}

// close ends all that open and startPool have started, also after an interrupt.
func (s *server) close() error {
	ctx := context.Background()
	s.executor.CancelAll()
	s.executor.Close(ctx)
	err := s.node.Close(ctx)
	s.journal.Close()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Local is the local namespace, for the executor.
func (s *server) Local(ctx context.Context) (dipexec.Process, error) { return s.node.Local(ctx) }

// Ranks are the pool's, for the executor.
func (s *server) Ranks(context.Context) ([]dipexec.Process, error) {
	return dipexec.ProcessesOf(s.pool), nil
}

// startPool starts a pool, whose app is torch if app is "".
func (s *server) startPool(ctx context.Context, size int, app string) (err error) {
	s.pool, err = s.node.StartPool(ctx, ranks.PoolSpec{Ranks: size, App: app})
	return err
}

// endPool ends the pool.
func (s *server) endPool(ctx context.Context) error {
	return s.pool.Shutdown(ctx, ranks.DefaultLadder)
}

// remote runs code on all ranks and answers how long it took until the last reply.
func (s *server) remote(ctx context.Context, code string) (time.Duration, error) {
	return s.run(ctx, cells.Remote, code)
}

// local runs code in the local namespace.
func (s *server) local(ctx context.Context, code string) (time.Duration, error) {
	return s.run(ctx, cells.Local, code)
}

// run runs code and answers how long it took; a run that does not succeed is an error.
func (s *server) run(ctx context.Context, where cells.Where, code string) (time.Duration, error) {
	begin := time.Now()
	id, err := s.executor.Start(dipexec.Request{Code: code, Target: cells.Target{Where: where}})
	if err != nil {
		return 0, err
	}
	report, err := s.executor.Wait(ctx, id)
	took := time.Since(begin)
	if err == nil {
		err = failure(code, report)
	}
	return took, err
}

// failure says why a run failed; nil if it did not.
func failure(code string, report event.Report) error {
	if report.Status == event.StatusOK {
		return nil
	}
	reason := report.Reason
	for _, part := range report.Parts {
		if part.Failure != nil {
			reason = fmt.Sprintf("%s: %s", part.Failure.EName, part.Failure.EValue)
		}
	}
	return fmt.Errorf("%.60q: %s %s", code, report.Status, reason)
}

// repeat runs code on all ranks several times, after a first time that does not count. It returns how long each took, in milliseconds.
func (s *server) repeat(ctx context.Context, times int, code string) (samples []float64, err error) {
	if _, err := s.remote(ctx, code); err != nil {
		return nil, err
	}
	for range times {
		took, err := s.remote(ctx, code)
		if err != nil {
			return nil, err
		}
		samples = append(samples, milliseconds(took))
	}
	return samples, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
