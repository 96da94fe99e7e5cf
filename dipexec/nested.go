package dipexec

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// maxResultOutput bounds the text that the command result returns per rank.
const maxResultOutput = 1 << 20

// run runs code on the ranks, as a run with an id and events of its own.
func (c *command) run(cmd wire.RunCommand) (any, error) {
	target, err := ranksTarget(cmd.Ranks)
	if err != nil {
		return nil, err
	}
	req := Request{
		Path: string(cmd.Path), Code: cmd.Code, Line: cmd.Line, Target: target,
		Directive: cells.Directive{Quiet: cmd.Quiet, AppCommand: cmd.AppCommand, Anyway: cmd.Anyway},
	}
	wait := said(cmd.Wait, false)
	if cmd.Px {
		config := c.e.pxConfig()
		if cmd.Ranks == "" {
			req.Target.Ranks = config.Targets
		}
		if said(cmd.Verbose, config.Verbose) {
			req.Directive.Verbose = cells.Yes
		}
		wait = said(cmd.Wait, !config.NoBlock)
	}
	if cmd.See != "" {
		if req.See, err = ranklist.ParseRanks(cmd.See); err != nil {
			return nil, valueError(err)
		}
	}
	if c.last != nil {
		req.Cell = c.last.req.Cell
	}
	if c.giver != nil {
		req.Timeout = c.giver.req.Timeout // otherwise deaf ranks would be waited for when the cell is not any more
	}
	r, err := c.startNested(req, wait)
	if err != nil {
		return nil, errEnding
	}
	if !wait {
		return wire.RunCommandReply{CommandStatus: c.ok(), Run: r.id, Parts: []wire.RunPart{}}, nil
	}
	select {
	case <-r.finished:
		return c.runReply(r.report), nil
	case <-c.ctx.Done():
	}
	if r.ctx.Err() == nil { // otherwise it was cancelled with the run that waits for it
		r.cancel()
	}
	<-r.finished
	return nil, c.ctx.Err()
}

// said is the given value, or the default.
func said(what *bool, otherwise bool) bool {
	if what != nil {
		return *what
	}
	return otherwise
}

// startNested starts a run at the command's place.
func (c *command) startNested(req Request, wait bool) (*run, error) {
	from := &origin{run: c.last, cell: c.giver != nil, wait: wait}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	r, err := c.e.start(req, c.at, from, nil, nil)
	if err != nil {
		return nil, err
	}
	c.e.onRanks = r.id
	if w := r.waiter(); w != nil {
		if w.awaited == nil {
			w.awaited = map[*run]struct{}{}
		}
		w.awaited[r] = struct{}{}
	}
	return r, nil
}

// runReply lists the parts on the ranks: a cell of the local namespace knows what happened there.
func (c *command) runReply(r event.Report) wire.RunCommandReply {
	reply := wire.RunCommandReply{CommandStatus: c.ok(), Run: r.Run, RunStatus: string(r.Status), Reason: r.Reason, Parts: []wire.RunPart{}}
	for _, p := range r.Parts {
		rank, ok := p.Who.Rank()
		if !ok {
			continue
		}
		part := wire.RunPart{Rank: rank, Status: string(p.Status)}
		if p.Failure != nil {
			part.EName, part.EValue = p.Failure.EName, p.Failure.EValue
		}
		reply.Parts = append(reply.Parts, part)
	}
	return reply
}

// result waits for a run and returns its outcome.
func (c *command) result(cmd wire.ResultCommand) (any, error) {
	c.e.mu.Lock()
	cmd.Run = cmp.Or(cmd.Run, c.e.onRanks)
	r := c.e.runs[cmd.Run]
	c.e.mu.Unlock()
	if cmd.Run == "" {
		return nil, &commandError{"UsageError", "nothing has run on the ranks yet"}
	}
	if r != nil && c.giver != nil && r.at.compare(c.giver.at) >= 0 {
		return nil, valueError(fmt.Errorf("run %s does not end before this cell does", cmd.Run))
	}
	report, err := c.e.Wait(c.ctx, cmd.Run)
	switch {
	case errors.Is(err, ErrNoRun):
		return nil, valueError(fmt.Errorf("there is no run %q any more: only the last %d are remembered", cmd.Run, keptReports))
	case err != nil:
		return nil, err
	}
	reply := c.runReply(report)
	if report.Journal != "" {
		err = readResults(report.Journal, reply.Parts)
	}
	if err != nil {
		return nil, fmt.Errorf("what run %s printed cannot be read: %w", cmd.Run, err)
	}
	return reply, nil
}

// readResults reads from a run's journal what its parts printed, whether a view showed that, and the values that they ended with.
func readResults(dir string, parts []wire.RunPart) error {
	reader, err := journal.Read(dir)
	if errors.Is(err, fs.ErrNotExist) { // there was nothing of that
		return nil
	}
	if err != nil {
		return err
	}
	defer reader.Close()
	output := map[int]*tailText{}
	result := map[int]string{}
	var shown ranklist.List
	seen := map[int]bool{}
	for _, p := range parts {
		output[p.Rank] = new(tailText)
	}
	for {
		ev, _, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch ev := ev.(type) {
		case *event.RunStarted:
			if !ev.Quiet {
				shown, _ = ranklist.ParseRanks(ev.See)
			}
		case *event.RankState:
			if ev.Rank != nil && ev.Seen {
				seen[*ev.Rank] = true
			}
		case *event.Stream:
			if ev.Rank != nil && output[*ev.Rank] != nil {
				output[*ev.Rank].add(ev.Text)
			}
		case *event.Result:
			if ev.Rank != nil {
				result[*ev.Rank] = event.RichText(ev.Data, nil)
			}
		}
	}
	for i := range parts {
		rank := parts[i].Rank
		parts[i].Output, parts[i].Result, parts[i].Shown = output[rank].String(), result[rank], shown.Contains(rank) || seen[rank]
	}
	return nil
}

// tailText keeps the last maxResultOutput bytes of a text.
type tailText struct{ text strings.Builder }

func (t *tailText) add(s string) {
	t.text.WriteString(s)
	if t.text.Len() > 2*maxResultOutput {
		tail := t.String()
		t.text.Reset()
		t.text.WriteString(tail)
	}
}

func (t *tailText) String() string {
	s := t.text.String()
	for i := max(len(s)-maxResultOutput, 0); i < len(s); i++ {
		if utf8.RuneStart(s[i]) {
			return s[i:]
		}
	}
	return ""
}

// interrupt interrupts what has its turn on the ranks, and runs that the asking cell has started and does not wait for.
func (c *command) interrupt(struct{}) (any, error) {
	e := c.e
	current := e.queues[poolNamespace].current()
	e.mu.Lock()
	latest := e.latestFirst()
	e.mu.Unlock()
	asked := 0
	for _, r := range latest {
		if o := r.origin; c.giver != nil && o != nil && o.run == c.giver && !o.wait && holder(r) != current {
			r.cancel()
			asked++
		}
	}
	if current != nil && current != holder(c.giver) {
		current.cancel()
		asked++
	}
	return wire.InterruptCommandReply{CommandStatus: c.ok(), Interrupted: asked}, nil
}
