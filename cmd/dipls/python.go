package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"dipls/ranks"
	"dipls/ranks/host"
)

// nodeOptions say how to start the node that serves a file, with an interpreter that has what the agent needs.
func (r *runner) nodeOptions() (_ ranks.Options, python host.Interpreter, err error) {
	start, err := ranks.ParseStartMethod(r.flags.start)
	if err != nil {
		return ranks.Options{}, python, usagef("--start: %w", err)
	}
	python, err = host.FindPython("--python", r.flags.python, filepath.Dir(r.plan.path))
	if err != nil {
		return ranks.Options{}, python, &exitError{exitPool, err}
	}
	r.log.Info("interpreter", zap.String("path", python.Path), zap.String("from", python.Why))
	return ranks.Options{
		Python: python.Path, Script: r.plan.path, Preload: r.flags.preload, Start: start,
		ExtraPath: extraPath(python.Path), Log: r.log, Plain: !isTerminal(r.out) || !isTerminal(r.errOut.w),
	}, python, nil
}

// extraPath is where packages of our own for the interpreter lie. Without a home directory there are none, which is no
// reason not to run.
func extraPath(python string) []string {
	private, err := host.PrivatePackages(python)
	if err != nil {
		return nil
	}
	return []string{private}
}

// offerInstall asks whether missing packages may be installed into dipls' own directory, and installs them. Its error says
// what is missing and what to do.
func offerInstall(ctx context.Context, missing *host.MissingPackagesError, yes bool, in *os.File, errOut *screen) error {
	private, err := host.PrivatePackages(missing.Python)
	if err != nil {
		return err
	}
	if !yes {
		if !isTerminal(in) || !isTerminal(errOut.w) {
			return missing
		}
		answered := errOut.ask(fmt.Sprintf("%s lacks %s.\nInstall into %s, leaving your environment as it is? [y/N] ",
			missing.Python, strings.Join(missing.Missing, ", "), private))
		answer, err := readLine(ctx, in)
		answered()
		if err != nil {
			return err
		}
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			return missing
		}
	}
	fmt.Fprintf(errOut, "dipls: installing %s into %s\n", strings.Join(missing.Missing, ", "), private)
	return host.InstallMissing(ctx, missing.Python, missing.Missing, errOut)
}

// readLine reads a line from the terminal, or gives up with ctx.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // end of file is an empty answer
		lines <- line
	}()
	select {
	case line := <-lines:
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
