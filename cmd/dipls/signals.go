package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// signals are those that come to a command that shows runs.
type signals struct {
	presses chan os.Signal // what the user ends something by
	asks    chan os.Signal // SIGUSR1: where are all processes?
	resizes chan os.Signal // SIGWINCH
}

// notified takes Ctrl-C, SIGTERM and SIGHUP, others that end something in the command, and SIGUSR1. Those that would kill dipls at a bad moment are
// ignored.
func notified(others ...os.Signal) *signals {
	// A reader that has gone (dipls run … | head) must not kill dipls before it has ended the ranks.
	// And if a file may not grow any more (ulimit -f), only that write fails.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	s := &signals{presses: make(chan os.Signal, 8), asks: make(chan os.Signal, 1), resizes: make(chan os.Signal, 1)}
	for _, one := range slices.Concat([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}, others) {
		if !signal.Ignored(one) { // ignored by nohup, or in a shell's background job: the user wants that
			signal.Notify(s.presses, one)
		}
	}
	signal.Notify(s.asks, syscall.SIGUSR1)
	signal.Notify(s.resizes, syscall.SIGWINCH)
	return s
}

// stop takes no more signals.
func (s *signals) stop() {
	signal.Stop(s.presses)
	signal.Stop(s.asks)
	signal.Stop(s.resizes)
}

// during does something that ends with its context, which a signal ends. got is that signal; nil: none came.
func (s *signals) during(ctx context.Context, do func(context.Context)) (got os.Signal) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(ctx)
	}()
	select {
	case <-done:
	case got = <-s.presses:
		cancel()
		<-done
	}
	return got
}

// leaving is how a command ends that a signal has ended before it had anything to do with a session's runs.
func leaving(got os.Signal) error {
	if got == syscall.SIGQUIT {
		return nil
	}
	return &exitError{exitInterrupted, nil}
}

// heed calls press for each signal but SIGUSR1, which shows stacks, and SIGWINCH, which is told to the session, until stop is called. That waits for what
// has begun.
func (s *signals) heed(f *front, press func(os.Signal)) (stop func()) {
	finished := make(chan struct{})
	f.heeding.Go(func() {
		for {
			select {
			case <-finished:
				return
			case <-s.asks:
				f.heeding.Go(f.showStacks)
			case <-s.resizes:
				f.heeding.Go(f.resized)
			case got := <-s.presses:
				press(got)
			}
		}
	})
	return func() {
		close(finished)
		f.heeding.Wait()
	}
}
