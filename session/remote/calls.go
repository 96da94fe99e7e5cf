package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/ranks/wire"
	"dipls/session"
)

// atOnce makes a call that answers at once, and that the end of ctx does not concern, unless the session stands still.
func atOnce[R any](ctx context.Context, c *Client, method string, params any) (result R, err error) {
	err = c.explain(c.call(ctx, method, params, &result, atOnceManner))
	return result, err
}

// starts is atOnce for what starts something: the caller has to know what that is.
func starts[R any](ctx context.Context, c *Client, method string, params any) (result R, err error) {
	err = c.explain(c.call(ctx, method, params, &result, startsManner))
	return result, err
}

// waits makes a call that is given up when ctx ends.
func waits[R any](ctx context.Context, c *Client, method string, params any) (result R, err error) {
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	var answer R
	if err := c.explain(c.call(ctx, method, params, &answer, waitsManner)); err != nil {
		return result, err
	}
	return answer, nil
}

// settles makes a call that has an answer also when ctx ends: what was done until then.
func settles[R any](ctx context.Context, c *Client, method string, params any) (result R, err error) {
	err = c.explain(c.call(ctx, method, params, &result, settlesManner))
	return result, err
}

// looks makes a call that has an answer also when ctx ends: what is known by then.
func looks[R any](ctx context.Context, c *Client, method string, params any) (result R, err error) {
	err = c.explain(c.call(ctx, method, params, &result, looksManner))
	return result, err
}

// without is for calls without a result.
func without(_ nothing, err error) error { return err }

// mayBegin refuses settings that an older session would leave out when it starts Python. Where Python runs, they count in no session.
func (c *Client) mayBegin(ctx context.Context, s session.Settings) error {
	err := c.mayStart(s)
	if err == nil {
		return nil
	}
	if used, failed := c.Used(ctx); failed == nil && used.Python != nil {
		return nil
	}
	return err
}

// mayStart refuses settings that an older session would leave out of new processes.
func (c *Client) mayStart(s session.Settings) error {
	_, missing := os.Stat(s.EnvFile)
	var what string
	switch {
	case c.minor >= minorProcesses:
		return nil
	case len(s.Env) > 0:
		what = "variables of processes"
	case s.EnvFile != "" && (missing == nil || filepath.Base(s.EnvFile) != ".env"): // that one is the usual one, which need not be there
		what = "file of variables"
	case s.Cwd != "":
		what = "working directory of processes"
	case s.Strict:
		what = "app that has to be there"
	default:
		return nil
	}
	return c.tooOld(what, "leave that setting out")
}

// Start implements [session.API].
func (c *Client) Start(ctx context.Context, by session.Caller, s session.Sequence) ([]string, error) {
	if c.minor < minorOtherwise {
		for _, cell := range s.Cells {
			if cell.Otherwise.Where != cells.None {
				return nil, c.tooOld("where cells run that do not say so themselves", "say it at each cell")
			}
		}
		if len(by.Args) > 0 {
			return nil, c.tooOld("arguments of cells", "leave them out")
		}
	}
	if by.Autoreload && c.minor < minorProcesses {
		return nil, c.tooOld("reloading of modules", "turn it off")
	}
	if err := c.mayBegin(ctx, by.Settings); err != nil {
		return nil, err
	}
	return starts[[]string](ctx, c, "session/start", startParams{by, s})
}

// Transfer implements [session.API].
func (c *Client) Transfer(ctx context.Context, by session.Caller, t session.Transfer) (string, error) {
	if err := c.mayBegin(ctx, by.Settings); err != nil {
		return "", err
	}
	return starts[string](ctx, c, "session/transfer", transferParams{by, t})
}

// MakePool implements [session.API].
func (c *Client) MakePool(ctx context.Context, by session.Caller, p session.PoolRequest) (string, error) {
	if err := c.mayBegin(ctx, by.Settings); err != nil {
		return "", err
	}
	return starts[string](ctx, c, "session/makePool", poolParams{by, p})
}

// FreeMemory implements [session.API].
func (c *Client) FreeMemory(ctx context.Context, by session.Caller) (string, error) {
	return starts[string](ctx, c, "session/freeMemory", byParams{by})
}

// Cancel implements [session.API].
func (c *Client) Cancel(ctx context.Context, run string) (int, error) {
	return atOnce[int](ctx, c, "session/cancel", runParams{run})
}

// Free implements [session.API].
func (c *Client) Free(ctx context.Context, run string) error {
	return without(atOnce[nothing](ctx, c, "session/free", runParams{run}))
}

// FreeAll implements [session.API].
func (c *Client) FreeAll(ctx context.Context) error {
	return without(atOnce[nothing](ctx, c, "session/freeAll", nothing{}))
}

// Wait implements [session.API].
func (c *Client) Wait(ctx context.Context, run string) (event.Report, error) {
	var report event.Report
	if ctx.Err() != nil {
		return report, ctx.Err()
	}
	err := c.explain(c.call(ctx, "session/wait", runParams{run}, &report, staysManner))
	return report, err
}

// Say implements [session.API].
func (c *Client) Say(ctx context.Context, n session.Note) error {
	return without(settles[nothing](ctx, c, "session/say", n))
}

// Output implements [session.API].
func (c *Client) Output(ctx context.Context, r session.OutputRequest) (string, error) {
	path, err := waits[wire.Path](ctx, c, "session/output", r)
	return string(path), err
}

// KeepText implements [session.API].
func (c *Client) KeepText(ctx context.Context, t session.Text) (string, error) {
	path, err := atOnce[wire.Path](ctx, c, "session/keepText", t)
	return string(path), err
}

// Heed implements [session.API].
func (c *Client) Heed(ctx context.Context, by session.Caller) error {
	return without(atOnce[nothing](ctx, c, "session/heed", byParams{by}))
}

// Shown implements [session.API].
func (c *Client) Shown(ctx context.Context, text string) error {
	c.mirror.Forget(kept(text))
	return without(atOnce[nothing](ctx, c, "session/shown", shownParams{text}))
}

// Answer implements [session.API].
func (c *Client) Answer(ctx context.Context, question, choice string) error {
	return without(atOnce[nothing](ctx, c, "session/answer", answerParams{question, choice}))
}

// AnswerInput implements [session.API].
func (c *Client) AnswerInput(ctx context.Context, a session.InputAnswer) error {
	return without(atOnce[nothing](ctx, c, "session/answerInput", a))
}

// RestartPool implements [session.API].
func (c *Client) RestartPool(ctx context.Context, by session.Caller) (string, error) {
	if err := c.mayStart(by.Settings); err != nil {
		return "", err
	}
	return settles[string](ctx, c, "session/restartPool", byParams{by})
}

// KillPool implements [session.API].
func (c *Client) KillPool(ctx context.Context) (string, error) {
	return settles[string](ctx, c, "session/killPool", nothing{})
}

// CancelStart implements [session.API].
func (c *Client) CancelStart(ctx context.Context) error {
	return without(atOnce[nothing](ctx, c, "session/cancelStart", nothing{}))
}

// RestartLocal implements [session.API].
func (c *Client) RestartLocal(ctx context.Context, by session.Caller) error {
	if err := c.mayStart(by.Settings); err != nil {
		return err
	}
	return without(settles[nothing](ctx, c, "session/restartLocal", byParams{by}))
}

// EndPython implements [session.API].
func (c *Client) EndPython(ctx context.Context) error {
	return without(settles[nothing](ctx, c, "session/endPython", nothing{}))
}

// Prepare implements [session.API].
func (c *Client) Prepare(ctx context.Context, by session.Caller, p session.Preparation) error {
	if p.Wait && c.minor < minorProcesses {
		return c.tooOld("way to wait for a pool", "do not wait")
	}
	if err := c.mayBegin(ctx, by.Settings); err != nil {
		return err
	}
	return without(settles[nothing](ctx, c, "session/prepare", prepareParams{by, p}))
}

// Info implements [session.API].
func (c *Client) Info(ctx context.Context, memory bool) (session.PoolInfo, error) {
	return looks[session.PoolInfo](ctx, c, "session/info", memoryParams{memory})
}

// Used implements [session.API].
func (c *Client) Used(ctx context.Context) (session.Used, error) {
	return atOnce[session.Used](ctx, c, "session/used", nothing{})
}

// PoolSize implements [session.API].
func (c *Client) PoolSize(ctx context.Context, by session.Caller) (int, error) {
	return waits[int](ctx, c, "session/poolSize", byParams{by})
}

// GPUs implements [session.API].
func (c *Client) GPUs(ctx context.Context) ([]session.GPU, error) {
	return waits[[]session.GPU](ctx, c, "session/gpus", nothing{})
}

// Stacks implements [session.API].
func (c *Client) Stacks(ctx context.Context, s session.StacksRequest) (session.Stacks, error) {
	return waits[session.Stacks](ctx, c, "session/stacks", s)
}

// Complete implements [session.API].
func (c *Client) Complete(ctx context.Context, l session.Lookup) (session.Completion, error) {
	return waits[session.Completion](ctx, c, "session/complete", l)
}

// Inspect implements [session.API].
func (c *Client) Inspect(ctx context.Context, l session.Lookup) ([]session.Inspection, error) {
	return waits[[]session.Inspection](ctx, c, "session/inspect", l)
}

// Variables implements [session.API].
func (c *Client) Variables(ctx context.Context, target cells.Target) ([]session.Variables, error) {
	return waits[[]session.Variables](ctx, c, "session/variables", targetParams{target})
}

// Members implements [session.API].
func (c *Client) Members(ctx context.Context, m session.Members) ([]session.Variables, error) {
	return waits[[]session.Variables](ctx, c, "session/members", m)
}

// Table implements [session.API].
func (c *Client) Table(ctx context.Context, q session.TableQuery) ([]session.Table, error) {
	return waits[[]session.Table](ctx, c, "session/table", q)
}

// Bound implements [session.API].
func (c *Client) Bound(ctx context.Context, names []string) ([]session.Binding, error) {
	return looks[[]session.Binding](ctx, c, "session/bound", namesParams{names})
}

// Autodip implements [session.API].
func (c *Client) Autodip(ctx context.Context) (string, error) {
	return atOnce[string](ctx, c, "session/autodip", nothing{})
}

// SetAutodip implements [session.API].
func (c *Client) SetAutodip(ctx context.Context, on bool, arguments string) error {
	return without(atOnce[nothing](ctx, c, "session/setAutodip", autodipParams{on, arguments}))
}

// About implements [session.API].
func (c *Client) About(ctx context.Context, memory bool) (session.About, error) {
	a, err := looks[aboutAnswer](ctx, c, "session/about", memoryParams{memory})
	return a.About, err
}

// Rename implements [session.API].
func (c *Client) Rename(ctx context.Context, name string) error {
	return without(settles[nothing](ctx, c, "session/rename", nameParams{name}))
}

// KeepFor implements [session.API].
func (c *Client) KeepFor(ctx context.Context, d time.Duration) error {
	return without(settles[nothing](ctx, c, "session/keepFor", keepParams{d}))
}

// Detach implements [session.API]. It closes the connection.
func (c *Client) Detach(context.Context) error {
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	c.close()
	<-c.done
	return nil
}

// Last implements [session.API]. Other fronts may start something, so nothing follows from it, and the session is not told.
func (c *Client) Last(context.Context) error { return nil }

// Finish implements [session.API].
func (c *Client) Finish(ctx context.Context, wayOut string) error {
	return without(settles[nothing](ctx, c, "session/finish", finishParams{wayOut}))
}

// Close implements [session.API]. It ends the session for all who are attached. One that has ended can be closed again.
func (c *Client) Close(ctx context.Context, r session.CloseRequest) error {
	err := without(settles[nothing](ctx, c, "session/close", r))
	if closed, ok := errors.AsType[*session.Error](err); ok && closed.Code == session.CodeClosed {
		return nil
	}
	return err
}
