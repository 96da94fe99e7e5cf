package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/session"
)

// whereArgs name a workspace.
type whereArgs struct {
	URI uri.URI `json:"uri,omitempty" doc:"a document of the workspace; without it, the workspace that was used last"`
}

type makePoolArgs struct {
	GPUs    gpuList `json:"gpus,omitempty" doc:"all, or a list such as 0,2-3"`
	Ranks   int     `json:"ranks,omitempty" doc:"number of ranks"`
	App     string  `json:"app,omitempty" doc:"the app, see the setting dip.app"`
	Restart bool    `json:"restart,omitempty" doc:"end a pool that is there, and make a new one"`
	Timeout float64 `json:"timeout,omitempty" doc:"how long it may take, in seconds"`
	whereArgs
}

type pushArgs struct {
	Names []string `json:"names" doc:"names of the variables"`
	Ranks string   `json:"ranks,omitempty" doc:"all, or ranks such as 0,2-3, host:gpu2 or each:0; without it all"`
	whereArgs
}

type pullArgs struct {
	Names []string `json:"names" doc:"names of the variables"`
	Rank  *int     `json:"rank,omitempty" doc:"the rank; without it 0"`
	whereArgs
}

type autodipArgs struct {
	On    *bool  `json:"on,omitempty" doc:"on or off; without it nothing changes"`
	Flags string `json:"flags,omitempty" doc:"arguments of a %%dip"`
	whereArgs
}

type clearArgs struct {
	URI uri.URI `json:"uri" doc:"the document"`
}

// noReply is the answer of a command that only says that it is done.
type noReply struct{}

// gpuList is a list of GPUs as text. In JSON it may also be a number or an array of numbers.
type gpuList string

// UnmarshalJSON implements [json.Unmarshaler].
func (g *gpuList) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*g = gpuList(text)
		return nil
	}
	var one int
	if json.Unmarshal(raw, &one) == nil {
		*g = gpuList(fmt.Sprint(one))
		return nil
	}
	var many []int
	if json.Unmarshal(raw, &many) == nil {
		*g = gpuList(strings.Trim(strings.Join(strings.Fields(fmt.Sprint(many)), ","), "[]"))
		return nil
	}
	return fmt.Errorf(`gpus: want "all", or a list such as "0,2-3"`)
}

// workspace returns the workspace that is meant.
func (a whereArgs) workspace(s *server, ctx context.Context) (*workspace, error) {
	if a.URI == "" {
		return s.anyWorkspace(ctx)
	}
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, err
	}
	return s.workspaceOf(ctx, d)
}

// operate starts a run that has no code.
func (s *server) operate(ctx context.Context, where whereArgs, start func(*workspace, session.Caller) (run string, err error)) (*runReply, error) {
	w, err := where.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	by, err := s.caller(ctx, w)
	if err != nil {
		return nil, err
	}
	r := &Run{Run: view.Run{Target: cells.Local.String()}, workspace: w}
	_, err = s.board.begin([]*Run{r}, func() ([]string, error) {
		run, err := start(w, by)
		return []string{run}, err
	})
	if err != nil {
		return nil, err
	}
	return &runReply{Run: r.ID}, nil
}

func (s *server) makePool(ctx context.Context, a *makePoolArgs) (*runReply, error) {
	if a.GPUs != "" {
		if _, err := ranklist.Parse(string(a.GPUs)); err != nil {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "gpus: %v", err)
		}
	}
	if a.Ranks < 0 {
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "ranks: a pool has at least one rank, not %d", a.Ranks)
	}
	pool := session.PoolRequest{
		GPUs: string(a.GPUs), Ranks: a.Ranks, App: a.App, Restart: a.Restart, Timeout: time.Duration(a.Timeout * float64(time.Second)),
	}
	return s.operate(ctx, a.whereArgs, func(w *workspace, by session.Caller) (string, error) { return w.MakePool(ctx, by, pool) })
}

// textReply answers what was done, in a sentence.
type textReply struct {
	Text string `json:"text"`
}

func (s *server) restartPool(ctx context.Context, a *whereArgs) (*textReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return s.restartPoolIn(ctx, w)
}

func (s *server) killPool(ctx context.Context, a *whereArgs) (*textReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return s.killPoolIn(ctx, w)
}

// restartPoolIn is restartPool in a workspace.
func (s *server) restartPoolIn(ctx context.Context, w *workspace) (*textReply, error) {
	by, err := s.caller(ctx, w)
	if err != nil {
		return nil, err
	}
	text, err := w.RestartPool(ctx, by)
	return s.remade(ctx, w, text, err)
}

// killPoolIn is killPool in a workspace.
func (s *server) killPoolIn(ctx context.Context, w *workspace) (*textReply, error) {
	text, err := w.KillPool(ctx)
	return s.remade(ctx, w, text, err)
}

// remade answers what was done to a pool, once the board knows of it.
func (s *server) remade(ctx context.Context, w *workspace, text string, err error) (*textReply, error) {
	if err != nil {
		return nil, err
	}
	_ = s.catchUp(ctx, w) // it has been done, whoever waits for the answer
	return &textReply{text}, nil
}

func (s *server) restartLocal(ctx context.Context, a *whereArgs) (*noReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	by, err := s.caller(ctx, w)
	if err != nil {
		return nil, err
	}
	return &noReply{}, w.RestartLocal(ctx, by)
}

func (s *server) push(ctx context.Context, a *pushArgs) (*runReply, error) {
	t := session.Transfer{Names: a.Names}
	if err := checkNames(a.Names); err != nil {
		return nil, err
	}
	if a.Ranks != "" {
		var err error
		if t.Ranks, err = ranklist.ParseRanks(a.Ranks); err != nil {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "ranks: %v", err)
		}
	}
	return s.transfer(ctx, a.whereArgs, t)
}

func (s *server) pull(ctx context.Context, a *pullArgs) (*runReply, error) {
	t := session.Transfer{Pull: true, Names: a.Names}
	if err := checkNames(a.Names); err != nil {
		return nil, err
	}
	if a.Rank != nil {
		if *a.Rank < 0 {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "rank: there is no rank %d", *a.Rank)
		}
		t.Ranks = ranklist.Of(*a.Rank)
	}
	return s.transfer(ctx, a.whereArgs, t)
}

// transfer moves variables.
func (s *server) transfer(ctx context.Context, where whereArgs, t session.Transfer) (*runReply, error) {
	return s.operate(ctx, where, func(w *workspace, by session.Caller) (string, error) { return w.Transfer(ctx, by, t) })
}

// checkNames refuses what cannot be the name of a variable.
func checkNames(names []string) error {
	if len(names) == 0 {
		return jsonrpc2.NewError(jsonrpc2.InvalidParams, "names: which variables?")
	}
	for _, name := range names {
		for i, r := range name {
			if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.In(r, unicode.Digit, unicode.Mn, unicode.Mc, unicode.Pc)) {
				return jsonrpc2.Errorf(jsonrpc2.InvalidParams, "names: %q is no name of a variable", name)
			}
		}
		if name == "" {
			return jsonrpc2.NewError(jsonrpc2.InvalidParams, "names: an empty name")
		}
	}
	return nil
}

// autodipReply has the directive under which cells run that do not say where; "" while autodip is off.
type autodipReply struct {
	Autodip string `json:"autodip"`
}

func (s *server) autodip(ctx context.Context, a *autodipArgs) (*autodipReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	if a.On != nil {
		if err := w.SetAutodip(ctx, *a.On, a.Flags); err != nil {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "flags: %v", err)
		}
	}
	autodip, err := w.Autodip(ctx)
	if err != nil {
		return nil, err
	}
	return &autodipReply{autodip}, nil
}

func (s *server) clear(_ context.Context, a *clearArgs) (*noReply, error) {
	if s.docs.LastKnown(a.URI) == nil {
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "%q is not open", a.URI)
	}
	s.board.clear(a.URI)
	s.marks.clear(a.URI)
	return &noReply{}, nil
}
