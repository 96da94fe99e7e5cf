package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"dipls/dipexec/journal"
	"dipls/internal/private"
	"dipls/lsp"
	"dipls/session"
)

const lspHelp = `Serve an editor on standard input and output, by the Language Server Protocol.

Editors start this themselves; it is also what dipls does when it is started without a command and its input is a pipe. Commands and settings
are described in docs/commands.md and docs/settings.md.

When the editor leaves (exit, end of input, death of its process), its server ends, and the sessions of its folders go on: see dipls sessions. If the
setting dip.session.keep is 0, everything that runs ends with the editor.

Exit codes:
    0  the editor has asked for the end
    1  it left without, or a signal came`

func newLSP() *cobra.Command {
	var logLevel, traceFile string
	cmd := &cobra.Command{
		Use:   "lsp",
		Short: "serve an editor on standard input and output",
		Long:  lspHelp,
		Args:  nothing,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serveLSP(cmd, logLevel, traceFile) },
	}
	cmd.Flags().StringVar(&traceFile, "trace", "", traceUsage)
	cmd.Flags().StringVar(&logLevel, "log-level", "warn", "what dipls logs on stderr: debug, info, warn or error")
	cmd.Flags().Bool("stdio", true, "accepted: editors that know other ways say so")
	return cmd
}

// serveLSP serves one editor. Whatever it starts has ended when it returns.
func serveLSP(cmd *cobra.Command, logLevel, traceFile string) error {
	log, err := newLogger(logLevel, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := session.CheckLimits(); err != nil {
		return &exitError{exitPool, err}
	}
	tracer, err := openTrace(traceFile)
	if err != nil {
		return err
	}
	defer closeTrace(tracer, log)
	if err := session.AdoptOrphans(); err != nil {
		log.Warn("what a killed node leaves behind will not be cleaned up", zap.Error(err))
	}
	signal.Ignore(syscall.SIGXFSZ) // a file that may not grow any more is an error of that write
	signal.Ignore(syscall.SIGPIPE) // an editor that went away must not kill dipls before it has ended the ranks
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	store := journal.Open(journal.Options{})
	defer store.Close()
	trusted, err := openTrust()
	if err != nil {
		log.Warn("which folders' code may run is not remembered", zap.Error(err))
	}
	sessions := lsp.NewSessions(func(dir string) session.API {
		return session.New(session.Options{Dir: dir, Journal: store, Trust: trusted, Trace: tracer, Log: log})
	}, openRegistry())
	served := lsp.Serve(ctx, stdio{os.Stdin, os.Stdout}, lsp.Deps{
		Sessions: sessions, Log: log, Version: version + revision(), Trace: tracer, FirstTime: func(what string) bool { return firstTime(what, log) },
	})

	stop() // a second signal ends the process at once; the node sees that and cleans up
	patience, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	closed := sessions.Close(patience)
	switch {
	case served == nil && closed == nil:
		return nil
	case served == nil:
		return fmt.Errorf("the session did not end in order: %w", closed)
	case errors.Is(served, lsp.ErrNoShutdown):
		log.Info("the end", zap.Error(errors.Join(served, closed)))
		return &exitError{exitFailed, nil}
	}
	return errors.Join(served, closed)
}

// firstTime reports whether something is told to the user for the first time, and remembers that in a file beside the journals. If it cannot be remembered, it
// is not told: nobody wants to read it in every window.
func firstTime(what string, log *zap.Logger) bool {
	runs, err := journal.DefaultDir()
	if err == nil {
		dir := filepath.Join(filepath.Dir(runs), "told")
		if err = private.Dir(dir); err == nil {
			var f *os.File
			if f, err = os.OpenFile(filepath.Join(dir, strings.ReplaceAll(what, " ", "-")), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
				err = f.Close()
			}
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		log.Warn("what the user has been told cannot be remembered", zap.Error(err))
	}
	return err == nil
}

// stdio is standard input and output as one stream.
type stdio struct {
	io.ReadCloser
	out *os.File
}

func (s stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

// Close closes both. It may not end a read that is under way: that depends on the kind of input.
func (s stdio) Close() error { return errors.Join(s.out.Close(), s.ReadCloser.Close()) }

// servesPipe reports whether an editor seems to have started dipls without the subcommand lsp: the input is a pipe or a socket.
func servesPipe(in *os.File) bool {
	info, err := in.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}
