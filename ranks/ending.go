package ranks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

const (
	// tellAfter is how long an orderly end may take before the user is told what it waits for. After that it is asked every tellAgain whether it
	// waits for something else.
	tellAfter = 300 * time.Millisecond
	tellAgain = time.Second

	// maxLeaving is how often in a row processes may be found doing nothing but leaving their process group, before that is given up. It never ends
	// if a collective hangs, and Python would not have waited for it.
	maxLeaving  = 3
	leavesGroup = "the process group to be left" // the agent's words
)

// The contents of shutdown_request.
var (
	shutdownAtOnce  = []byte(`{"restart":false}`)
	waitingShutdown = []byte(`{"restart":false,"wait":true}`)
)

// Finish has processes end as Python does at the end of a script: they wait for their threads, run their exit handlers and then leave the app,
// however long that takes. It returns when they have ended, or when ctx ends. Processes that are busy, or hang while they leave their process group,
// are left alone. What still lives afterwards is for Shutdown or Close.
//
// waits gets what is waited for, "2 threads on ranks 0-1", each time that it changes. The error is of processes that failed at their end.
func Finish(ctx context.Context, procs []*Process, waits func(text string)) error {
	var asked []*Process
	for _, p := range procs {
		if p.askToFinish() {
			asked = append(asked, p)
		}
	}
	told, leaving := "", 0
	for wait := tellAfter; !waitAll(ctx, wait, dones(asked)...); wait = tellAgain {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		texts := waitingFor(ctx, asked)
		if leaving++; !onlyLeave(texts) {
			leaving = 0
		}
		if leaving == maxLeaving {
			return nil
		}
		if text := strings.Join(gather(asked, texts), ", "); text != "" && text != told {
			told = text
			waits(text)
		}
	}
	var errs []error
	for _, p := range asked {
		var exit *ExitError
		if errors.As(p.Err(), &exit) && (exit.Signal != "" || exit.Code != nil && *exit.Code != 0) {
			errs = append(errs, fmt.Errorf("%w, at its end", exit))
		}
	}
	return errors.Join(errs...)
}

// askToFinish asks an idle process for an orderly end, and reports whether it did.
func (p *Process) askToFinish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Final() || p.link == nil || !p.idle() {
		return false
	}
	p.stopping = true
	p.link.Post(wire.TypeShutdownRequest, waitingShutdown)
	return true
}

// waitingFor asks processes that are ending what they wait for.
func waitingFor(ctx context.Context, procs []*Process) []string {
	ctx, cancel := context.WithTimeout(ctx, tellAgain)
	defer cancel()
	texts := make([]string, len(procs))
	var work sync.WaitGroup
	for i, p := range procs {
		work.Go(func() {
			if p.State().Final() {
				return
			}
			if status, err := p.Status(ctx); err == nil { // otherwise it has ended, or is about to
				texts[i] = status.WaitsFor
			}
		})
	}
	work.Wait()
	return texts
}

// onlyLeave reports whether all processes that wait for something wait for their process group to be left.
func onlyLeave(texts []string) bool {
	waiting := slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return text == "" })
	return len(waiting) > 0 && !slices.ContainsFunc(waiting, func(text string) bool { return text != leavesGroup })
}

// gather gives each text once, with the ranks that say it. A text "" is left out. The texts of the local namespace come first, unchanged.
func gather(procs []*Process, texts []string) []string {
	var local, shared []string
	who := map[string][]*Process{}
	for i, text := range texts {
		switch {
		case text == "":
		case procs[i].who.IsLocal():
			local = append(local, text)
		default:
			if who[text] == nil {
				shared = append(shared, text)
			}
			who[text] = append(who[text], procs[i])
		}
	}
	for _, text := range shared {
		local = append(local, text+" on "+nameAll(who[text]))
	}
	return local
}

// nameAll names ranks for people, with their host where the pool is on several.
func nameAll(procs []*Process) string {
	who := make([]ranklist.Who, len(procs))
	hosts := map[int]string{}
	for i, p := range procs {
		who[i] = p.who
		if rank, ok := p.who.Rank(); ok {
			hosts[rank] = p.HostIfMany()
		}
	}
	return ranklist.NameOn(who, func(rank int) string { return hosts[rank] })
}

// shutdownReply notes what the process says about its end.
func (p *Process) shutdownReply(m *wire.Message) {
	reply := new(wire.ShutdownReply)
	if err := json.Unmarshal(m.Content, reply); err != nil {
		p.log.Warn("content of shutdown_reply", zap.Error(err))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.farewell = reply
}

// tellParting tells the user what was lost when processes were ended.
func tellParting(procs []*Process) {
	if len(procs) == 0 || procs[0].node.opts.OnLoss == nil {
		return
	}
	tell := procs[0].node.opts.OnLoss
	slices.SortFunc(procs, func(a, b *Process) int { return a.who.Compare(b.who) })
	texts := make([]string, len(procs))
	var killed []*Process
	for i, p := range procs {
		p.mu.Lock()
		switch reply := p.farewell; {
		case reply == nil && p.forced:
			killed = append(killed, p)
		case reply == nil:
		case reply.Status.Status != "ok":
			texts[i] = reply.EValue
		default:
			texts[i] = cutOff(reply.CutOff)
		}
		p.mu.Unlock()
	}
	for _, text := range gather(procs, texts) {
		tell(text)
	}
	if len(killed) > 0 && killed[0].who.IsLocal() {
		tell(ranklist.InSentence([]ranklist.Who{ranklist.Local}) + " did not end in time, and was killed")
		killed = killed[1:]
	}
	switch {
	case len(killed) == 0:
	case len(killed) == 1:
		tell(nameAll(killed) + " did not end in time, and was killed")
	default:
		tell(nameAll(killed) + " did not end in time, and were killed")
	}
}

// cutOff is "2 threads and 1 child process were cut off"; "" if nothing was.
func cutOff(c wire.CutOff) string {
	var parts []string
	for _, what := range []struct {
		n         int
		one, many string
	}{{c.Threads, "thread", "threads"}, {c.Processes, "child process", "child processes"}} {
		switch {
		case what.n == 1:
			parts = append(parts, "1 "+what.one)
		case what.n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", what.n, what.many))
		}
	}
	switch {
	case len(parts) == 0:
		return ""
	case c.Threads+c.Processes == 1:
		return parts[0] + " was cut off"
	}
	return strings.Join(parts, " and ") + " were cut off"
}
