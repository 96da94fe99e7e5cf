package lsp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/lsp/rpc"
	"dipls/session"
)

type stackArgs struct {
	Rank   *ranklist.Who `json:"rank,omitempty" doc:"only this rank; -1 is the local namespace; without it, all processes"`
	Native bool          `json:"native,omitempty" doc:"also in native code, if py-spy is installed; takes a moment"`
	whereArgs
}

// stackReply says where processes are, the local namespace first, then the ranks in order.
type stackReply struct {
	Stacks []processStack `json:"stacks"`
	Folded string         `json:"folded"` // the same for people: equal stacks once, with the processes that have them; the user's code comes first
}

type processStack struct {
	Rank  ranklist.Who `json:"rank"`            // -1: the local namespace
	Local bool         `json:"local,omitzero"`  // true: the local namespace
	Text  string       `json:"text,omitempty"`  // the threads, the main one first; of each the frames, outermost first
	Error string       `json:"error,omitempty"` // why there is no text

	Frames []threadFrames `json:"frames,omitempty"` // what text says, by thread
}

// threadFrames is where one thread is.
type threadFrames struct {
	Thread string               `json:"thread"` // its name
	Main   bool                 `json:"main"`
	Frames []session.StackFrame `json:"frames"` // outermost first; none: it waits for a cell
}

type showStacksArgs struct {
	Run string `json:"run,omitempty" doc:"id of the run; without it, the latest one that goes on"`
	whereArgs
}

func (s *server) stack(ctx context.Context, a *stackArgs) (*stackReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	request := session.StacksRequest{Native: a.Native}
	if a.Rank != nil {
		request.Of = []ranklist.Who{*a.Rank}
	}
	stacks, err := s.stacksOf(ctx, w, request)
	if err != nil {
		return nil, err
	}
	reply := &stackReply{Folded: foldedStacks(stacks)}
	for _, stack := range stacks {
		reply.Stacks = append(reply.Stacks, describeStack(stack))
	}
	return reply, nil
}

// stacksOf returns where processes of a workspace are.
func (s *server) stacksOf(ctx context.Context, w *workspace, r session.StacksRequest) ([]session.Stack, error) {
	stacks, err := w.Stacks(ctx, r)
	if err != nil {
		return nil, err
	}
	if stacks.Problem != "" {
		s.log.Info(stacks.Problem)
	}
	if len(stacks.Of) == 0 {
		return nil, errors.New("no process lives: a cell that runs starts what it needs")
	}
	return stacks.Of, nil
}

func describeStack(stack session.Stack) processStack {
	p := processStack{Rank: stack.Who, Local: stack.Who.IsLocal()}
	switch {
	case stack.Error != "":
		p.Error = stack.Error
	default:
		p.Text = threadsText(stack.Threads)
		for _, thread := range stack.Threads {
			p.Frames = append(p.Frames, threadFrames{thread.Name, thread.Main, slices.Concat([]session.StackFrame{}, thread.Frames)})
		}
	}
	return p
}

// foldedStacks describes where processes are, for people.
func foldedStacks(stacks []session.Stack) string {
	var b strings.Builder
	for i, stack := range session.FoldStacks(stacks) {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(stack.Title() + "\n")
		for _, line := range stack.Lines(0) {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

// showStacks shows in the editor where processes are, as a file that is not to be written.
func (s *server) showStacks(ctx context.Context, a *showStacksArgs) (*showReply, error) {
	w, run, err := s.runMeant(ctx, a)
	if err != nil {
		return nil, err
	}
	stacks, err := s.stacksOf(ctx, w, session.StacksRequest{Native: true})
	if err != nil {
		return nil, err
	}
	text := foldedStacks(stacks)
	if hangs := run.HangSentences(); hangs != "" {
		text = hangs + "\n\n" + text
	}
	text = clean.Text(text)
	path, err := w.KeepText(ctx, session.Text{Run: run.ID, Name: "stacks", Text: text})
	if err != nil {
		return nil, err
	}
	if path == "" {
		s.client.LogMessage(protocol.MessageTypeInfo, clean.Excerpt(text, rpc.LoggedLines, rpc.LoggedBytes, ""))
		s.client.ShowMessage(protocol.MessageTypeInfo, text)
		return &showReply{}, nil
	}
	return s.showFile(ctx, "where the processes are stands in", path)
}

// runMeant returns the run whose stacks are to be shown, and its workspace; an empty run if none goes on.
func (s *server) runMeant(ctx context.Context, a *showStacksArgs) (*workspace, Run, error) {
	if a.Run != "" {
		if r, known := s.board.run(a.Run); known {
			return r.workspace, r, nil
		}
		return nil, Run{}, fmt.Errorf("there is no run %s", a.Run)
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, Run{}, err
	}
	for _, r := range slices.Backward(s.board.active(w)) {
		if r.State == view.Running {
			return w, r, nil
		}
	}
	return w, Run{}, nil
}

// threadsText writes the stacks of threads, under their names if there is more than one.
func threadsText(threads []session.Thread) string {
	var b strings.Builder
	for i, thread := range threads {
		if i > 0 {
			b.WriteByte('\n')
		}
		if len(threads) > 1 {
			fmt.Fprintf(&b, "%s:\n", thread.Name)
		}
		b.WriteString(thread.Text())
	}
	return b.String()
}
