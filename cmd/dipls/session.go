package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"dipls/dipexec/journal"
	"dipls/session"
	"dipls/session/daemon"
	"dipls/session/registry"
)

const sessionHelp = `Be the process of a session that outlives its clients. Editors, and dipls run --session, start it themselves.

It goes on without a terminal, and ends by "dipls stop", by SIGTERM or SIGINT (in order; the second time at once), or when it was idle for as long as
--keep says. SIGHUP is ignored: it says that a terminal has gone, and to outlive that is what a session is for.`

func newSession() *cobra.Command {
	var dir, name, keep string
	var stay bool
	cmd := &cobra.Command{
		Use:    "session",
		Short:  "be the process of a session that outlives its clients",
		Long:   sessionHelp,
		Hidden: true,
		Args:   nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := session.ParseKeep(keep)
			if err != nil {
				return usagef("--keep %q: %w", keep, err)
			}
			if !stay {
				return registry.Detach([]string{"--dir", dir, "--name", name, "--keep", keep}, cmd.OutOrStdout())
			}
			return beSession(daemon.Options{Keep: d, Build: version + revision()}, dir, name)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "its folder")
	cmd.Flags().StringVar(&name, "name", "", "its name (default: the folder's)")
	cmd.Flags().StringVar(&keep, "keep", session.FormatKeep(session.KeepDefault), "how long it stays with nobody attached and nothing running")
	cmd.Flags().BoolVar(&stay, registry.StayFlag, false, "be the process, instead of starting it")
	return cmd
}

// openRegistry is where sessions are that outlive their clients.
func openRegistry() *registry.Registry {
	return registry.Open(registry.Options{Build: version + revision()})
}

// beSession is the whole life of a session's process.
func beSession(o daemon.Options, dir, name string) error {
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE) // a file that may not grow any more, and a client that has gone, are errors of that write
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // and nobody listens; ignored, it would be ignored by ranks, too
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		end(errors.New(daemon.Signalled(<-signals)))
		signal.Stop(signals) // a second one ends the process at once; the node sees that and cleans up
	}()
	if err := prepare(&o, dir, name); err != nil {
		registry.Reply(err)
		return &exitError{exitFailed, nil}
	}
	store := journal.Open(journal.Options{})
	defer store.Close()
	trusted, err := openTrust()
	if err != nil {
		o.Log.Warn("which folders' code may run is not remembered", zap.Error(err))
	}
	o.API = session.New(session.Options{Dir: o.Claim.Dir(), Journal: store, Trust: trusted, Log: o.Log})
	registry.Reply(nil)
	return daemon.Run(ctx, o)
}

// prepare claims the session's place and opens its log.
func prepare(o *daemon.Options, dir, name string) error {
	if err := session.CheckLimits(); err != nil {
		return err
	}
	var err error
	if o.Claim, err = openRegistry().Claim(context.Background(), dir, name); err != nil {
		return err
	}
	if err = os.Chdir(o.Claim.Dir()); err == nil {
		o.Log, err = daemon.OpenLog(o.Claim.Log())
	}
	if err != nil {
		return errors.Join(err, o.Claim.End("", ""))
	}
	if err := session.AdoptOrphans(); err != nil {
		o.Log.Warn("what a killed node leaves behind will not be cleaned up", zap.Error(err))
	}
	return nil
}
