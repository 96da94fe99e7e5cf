package lsp

import (
	"context"
	"errors"
	"unicode/utf8"

	"go.lsp.dev/jsonrpc2"

	"dipls/lsp/docs"
	"dipls/session"
)

// codeArgs are code that is in no document, and say how it runs.
type codeArgs struct {
	Code   string `json:"code" doc:"the code; cells in it run one after the other"`
	Target string `json:"target,omitempty" doc:"where code runs that does not say so: remote, local, everywhere or ranks:LIST; without it, as autodip says"`
	See    string `json:"see,omitempty" doc:"whose output is shown: all, or ranks such as 0,2-4 or host:gpu2"`
	whereArgs
}

func (s *server) runCode(ctx context.Context, a *codeArgs) (*runReply, error) {
	h, err := howArgs{a.Target, a.See}.parse()
	if err != nil {
		return nil, err
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	var settings Settings
	if a.URI != "" {
		d, err := snapshotOf(ctx, a.URI)
		if err != nil {
			return nil, err
		}
		settings = s.config.ofDocument(d)
	}
	var plan []planned
	for c := range s.docs.Parse(docs.PathOf(a.URI), a.Code).Cells() {
		request, ok := session.CellOfTyped(c, h.target)
		if !ok {
			continue
		}
		if fault, wrong := c.Fault(); wrong {
			return nil, errors.New("nothing was run: " + withHint(fault))
		}
		request.See, request.JournalLimit, request.HangAfter = h.see, settings.JournalLimit, settings.HangAfter
		if request.See.IsZero() && request.Directive.See.IsZero() {
			request.See = settings.see()
		}
		plan = append(plan, planned{Cell: request})
	}
	if len(plan) == 0 {
		return nil, errNoCode
	}
	return s.startReply(ctx, w, h, plan)
}

// completeArgs are the beginning of code that is in no document.
type completeArgs struct {
	Code   string `json:"code" doc:"the code up to the cursor"`
	Target string `json:"target,omitempty" doc:"where it would run, as for runCode"`
	whereArgs
}

// completeReply says how code may go on.
type completeReply struct {
	Replaces string          `json:"replaces"` // the end of the code, in whose place a match stands
	Matches  []completeMatch `json:"matches"`
}

type completeMatch struct {
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"` // as in dip.variables; also property, param, keyword or magic
}

func (s *server) completeCode(ctx context.Context, a *completeArgs) (*completeReply, error) {
	h, err := howArgs{Target: a.Target}.parse()
	if err != nil {
		return nil, err
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	request := session.Cell{Target: h.target}
	if first, ok := s.docs.Parse(docs.PathOf(a.URI), a.Code).Cell(1); ok {
		if c, runs := session.CellOfTyped(first, h.target); runs {
			request = c
		}
	}
	reply := &completeReply{Matches: []completeMatch{}}
	target := session.TargetOf(request, s.board.pool(w).Autodip)
	found, err := w.Complete(ctx, session.Lookup{Target: target, Code: a.Code, Cursor: utf8.RuneCountInString(a.Code)})
	if known, ok := errors.AsType[*session.Error](err); ok && known.Code == session.CodeBusy {
		return reply, nil
	}
	if err != nil {
		return nil, err
	}
	code := []rune(a.Code)
	if found.Start < 0 || found.Start > len(code) {
		return nil, jsonrpc2.Errorf(jsonrpc2.InternalError, "the session completes at %d, in a text of %d characters", found.Start, len(code))
	}
	reply.Replaces = string(code[found.Start:])
	for _, m := range found.Matches {
		reply.Matches = append(reply.Matches, completeMatch(m))
	}
	return reply, nil
}
