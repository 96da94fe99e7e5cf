// Command dipls runs the "# %%" cells of an ordinary .py file on a pool of ranks.
//
// This package has flags, logging and wiring, and shows events on a terminal. What a cell is, package cells says; package session
// runs cells.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"dipls/internal/clean"
)

// Exit codes, as documented in README.md and in `dipls run --help`.
const (
	exitOK          = 0
	exitFailed      = 1 // a cell failed, or dipls itself had to give up
	exitUsage       = 2
	exitPool        = 3
	exitHang        = 4 // ranks waited for each other longer than --hang-timeout
	exitInterrupted = 130
)

// exitError ends the program with a code. A nil err has been told to the user already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main, but returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return exitCode(root.Execute(), stderr)
}

// exitCode is the exit code that an error makes. It is told to the user, if that has not happened.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	exit := &exitError{exitFailed, err}
	errors.As(err, &exit)
	if exit.err != nil {
		fmt.Fprintf(stderr, "dipls: %s\n", clean.Text(exit.err.Error()))
		if exit.code == exitUsage {
			fmt.Fprintln(stderr, "Try 'dipls --help', or 'dipls COMMAND --help'.")
		}
	}
	return exit.code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dipls",
		Short: "run the # %% cells of a .py file on a pool of ranks",
		Long: `dipls runs the "# %%" cells of an ordinary .py file on a pool of ranks (PyTorch DDP and friends),
in a local namespace, or everywhere.

Sessions outlive the editor: "dipls sessions" lists those that live, "dipls attach" shows one, "dipls exec" runs code in it, and
"dipls run --session NAME FILE" starts one. Each command has --help.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if servesPipe(os.Stdin) {
				return serveLSP(cmd, "warn", "")
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newRun(), newLSP(), newCells(), newCheck(), newDoctor(), newTrust(), newVersion())
	root.AddCommand(newSession(), newSessions(), newAttach(), newStatus(), newLogs(), newRuns(), newInterrupt(), newStop())
	root.AddCommand(newExec(), newShell(), newPush(), newPull(), newJoin(), newExport())
	return root
}

// knownCommand refuses an unknown subcommand, and suggests a similar one.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if likely := cmd.SuggestionsFor(args[0]); len(likely) > 0 {
		hint = fmt.Sprintf("; did you mean %q?", likely[0])
	}
	return usagef("unknown command %q%s", args[0], hint)
}

// oneFile refuses all but one argument.
func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s takes one FILE, not %d", cmd.CommandPath(), len(args))
	}
	return nil
}

// oneAtMost refuses more than one argument.
func oneAtMost(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("%s takes one %s at most, not %d", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

// nothing refuses arguments.
func nothing(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments", cmd.CommandPath())
	}
	return nil
}

// newLogger logs to w in zap's console form from level up.
func newLogger(level string, w io.Writer) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, usagef("--log-level %q: one of debug, info, warn, error", level)
	}
	config := zap.NewDevelopmentEncoderConfig()
	config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(config), zapcore.Lock(zapcore.AddSync(w)), parsed)), nil
}
