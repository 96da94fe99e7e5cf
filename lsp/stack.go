package lsp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.lsp.dev/jsonrpc2"

	"dipls/ranks/wire"
	"dipls/session"
)

type stackArgs struct {
	Rank *int `json:"rank,omitempty" doc:"only that of this rank; -1 is the local namespace. Without it those of all processes"`
	whereArgs
}

// stackReply answers where processes are, the local namespace first, then the ranks in order.
type stackReply struct {
	Stacks []processStack `json:"stacks"`
}

type processStack struct {
	Rank  int    `json:"rank"`            // -1: the local namespace
	Local bool   `json:"local,omitzero"`  // true: likewise
	Text  string `json:"text,omitempty"`  // the threads, the main one first; of each the frames, outermost first
	Error string `json:"error,omitempty"` // why there is no text
}

// stackPatience is how long processes have to say where they are. It takes them milliseconds, unless something keeps all of their threads.
const stackPatience = 2 * time.Second

func (s *server) stack(ctx context.Context, a *stackArgs) (*stackReply, error) {
	if a.Rank != nil && *a.Rank < -1 {
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "rank: there is no rank %d", *a.Rank)
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, stackPatience)
	defer cancel()
	stacks := w.processes.stacks(patience, func(rank int) bool { return a.Rank == nil || *a.Rank == rank })
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(stacks) == 0 {
		return nil, nobodyThere(a.Rank, w.processes.glance())
	}
	reply := &stackReply{}
	for _, stack := range stacks {
		reply.Stacks = append(reply.Stacks, describeStack(stack))
	}
	return reply, nil
}

// nobodyThere says why no process was asked where it is.
func nobodyThere(rank *int, pool wire.PoolInfo) error {
	switch {
	case rank == nil:
		return errors.New("no process lives: a cell that runs starts what it needs")
	case *rank < 0:
		return errors.New("the local namespace does not live: a cell that runs in it starts it")
	case pool.State == "starting":
		return errors.New("the ranks are being started")
	case len(pool.Ranks) == 0 && pool.Reason != "":
		return errors.New("there are no ranks: " + pool.Reason)
	case len(pool.Ranks) == 0:
		return errors.New("there are no ranks: dip.makePool makes a pool")
	}
	return fmt.Errorf("there is no rank %d: the pool has %d", *rank, len(pool.Ranks))
}

func describeStack(stack session.Stack) processStack {
	p := processStack{Rank: stack.Rank, Local: stack.Rank < 0}
	switch {
	case errors.Is(stack.Err, context.DeadlineExceeded):
		p.Error = fmt.Sprintf("%s has not answered within %v: it is stopped, or in C code that keeps Python's global lock", nameProcesses([]int{stack.Rank}), stackPatience)
	case stack.Err != nil:
		p.Error = stack.Err.Error()
	default:
		p.Text = threadsText(stack.Threads)
	}
	return p
}

// threadsText is the stacks of threads, under their names where there is more than one.
func threadsText(threads []wire.Thread) string {
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
