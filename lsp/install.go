package lsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/lsp/rpc"
	"dipls/ranks/host"
)

var errInstallCancelled = errors.New("the installation was cancelled")

// offerInstall asks the user whether what the interpreter lacks may be installed, in a directory of our own, and does so. While nothing runs in the
// folder it asks nothing, for then Python was only to be started ahead: what runs first asks.
func (s *server) offerInstall(ctx context.Context, dir string, missing *host.MissingPackagesError) error {
	if !slices.ContainsFunc(s.board.active(nil), func(r Run) bool { return r.workspace.dir == dir }) {
		return missing
	}
	const install = "Install"
	names := strings.Join(missing.Missing, ", ")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	private, err := host.PrivatePackages(missing.Python)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s lacks %s. Install into %s, leaving your environment as it is?", missing.Python, names, private)
	if s.client.Ask(ctx, protocol.MessageTypeWarning, text, install) != install {
		return fmt.Errorf("%s lacks %s: install with '%s -m pip install %s', or choose another interpreter by the setting dip.python; then run the cell again",
			missing.Python, names, missing.Python, strings.Join(missing.Missing, " "))
	}
	w := s.client.BeginWork(ctx, "Installing "+names, "", func() { cancel(errInstallCancelled) })
	err = host.InstallMissing(ctx, missing.Python, missing.Missing, reporter{w})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		w.End(err.Error())
		return err
	}
	w.End("installed")
	return nil
}

// reporter shows lines of output as how far work is.
type reporter struct{ work *rpc.Work }

var _ io.Writer = reporter{}

// Write implements [io.Writer].
func (r reporter) Write(b []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		r.work.Report(last)
	}
	return len(b), nil
}
