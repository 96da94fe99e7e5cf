package dipexec

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/trace"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// clearSize is the size of a request to remove output, in bytes of output.
const clearSize = 16

// part is what one process does of a run. It is the handler of the execution.
type part struct {
	r       *run
	proc    *process
	head    event.Header // of its events, without the kind
	id      string       // of the execution; belongs to the run's goroutine
	started time.Time
	before  *partEnd // how the process's previous part ended
	command *command // what it does in place of an execution; nil: nothing. Belongs to the run's goroutine

	// Guarded by proc.mu.
	text  [len(event.StreamNames)]event.TextDecoder
	kept  journal.Output // keeps the process's output
	heard bool           // it has printed; kept only for the trace

	erred bool // its code had failed before anything was interrupted; belongs to the goroutine that tells what happens in the part

	own  outcome                 // until it is sent, belongs to the goroutine that tells what happens in the part; never changed after that
	sent atomic.Pointer[outcome] // the outcome for the run: own, or the run's for a part that it has given up; nil: the part goes on
}

// outcome is how a part ended.
type outcome struct {
	status  event.Status
	elapsed time.Duration
	count   int   // of the process's executions
	peak    int64 // of its GPU memory, in bytes; 0: it uses no GPU
	exit    int   // argument of sys.exit, if the code failed by that; 0: it did not
	failure *event.Failure
}

// outcome is what the part has sent to its run; zero if it has not.
func (pt *part) outcome() outcome {
	if o := pt.sent.Load(); o != nil {
		return *o
	}
	return outcome{}
}

// send tells the run how the part ended, unless the run has given it up. death is that of its process; nil: it lives. The run is woken only by the
// last part and by a death: waking it for each part would cost more than everything else for most parts.
func (pt *part) send(death *ranks.ExitError) {
	r := pt.r
	if death != nil {
		r.death.CompareAndSwap(nil, death) // before the run may see that all have ended
	}
	last := pt.sent.CompareAndSwap(nil, &pt.own) && r.left.Add(-1) == 0
	if last || death != nil {
		r.wake()
	}
}

// died tells the run of a death.
func (r *run) died(death *ranks.ExitError) {
	r.death.CompareAndSwap(nil, death)
	r.wake()
}

func (r *run) wake() {
	select {
	case r.change <- struct{}{}:
	default:
	}
}

// giveUp ends the part for its run, unless it has ended. For the run's goroutine.
func (pt *part) giveUp() {
	pt.sent.CompareAndSwap(nil, &outcome{status: event.StatusInterrupted, elapsed: time.Since(pt.started)})
}

func (pt *part) header(k event.Kind) event.Header {
	h := pt.head
	h.Kind = k
	return h
}

// Happened implements [ranks.Handler].
func (pt *part) Happened(h ranks.Happening) { pt.says(func() { pt.take(h, true) }) }

// says calls f with proc.mu held, to take something that comes from the process in this part.
func (pt *part) says(f func()) {
	pt.proc.mu.Lock()
	defer pt.proc.mu.Unlock()
	if !pt.proc.gone {
		pt.proc.adoptLocked(pt)
	}
	f()
}

// take handles what happens in the part, or after it: running tells whether its code still runs. The caller holds proc.mu.
func (pt *part) take(h ranks.Happening, running bool) {
	switch h := h.(type) {
	case ranks.Output:
		pt.stream(h.Stream, h.Data)
	case ranks.Display:
		pt.output(&event.Display{
			Header: pt.header(event.KindDisplay), Data: h.Data, Metadata: h.Metadata, DisplayID: h.ID, Update: h.Update,
		}, h.Size)
	case ranks.Clear:
		pt.output(&event.Display{Header: pt.header(event.KindDisplay), Clear: true, Wait: h.Wait}, clearSize)
	case ranks.Result:
		pt.output(&event.Result{
			Header: pt.header(event.KindResult), ExecutionCount: h.ExecutionCount, Data: h.Data, Metadata: h.Metadata,
		}, h.Size)
	case ranks.Failure:
		pt.exception(h)
	case ranks.Input:
		pt.ask(h, running)
	case ranks.InputEnd:
		pt.askNoMore(h.ID)
	case ranks.Command:
		pt.proc.e.command(pt.proc, pt.r, running, h)
	case ranks.CommandEnd:
		pt.proc.e.commandEnd(pt.proc, h.ID)
	case ranks.Unreadable:
		pt.emit(&event.Log{
			Header: pt.header(event.KindLog), Level: event.LevelError,
			Text: fmt.Sprintf("%s sent a %s message that cannot be read: %v", pt.proc.who, h.Type, h.Err),
		})
	}
}

// stream handles bytes that the process printed.
func (pt *part) stream(name string, b []byte) {
	t := pt.proc.e.o.Trace
	came := t.Now()
	if t.On() && !pt.heard {
		pt.heard = true
		t.Moment(pt.proc.track, "first byte", came, trace.Text("run", pt.r.id))
	}
	i := event.StreamIndex(name)
	if pt.kept.Keeps() {
		pt.kept.Print(event.StreamNames[i], b)
		t.Since(pt.proc.track, "journal", came)
	}
	journaled := t.Now()
	pt.publishText(i, pt.text[i].Decode(b))
	t.Since(pt.proc.track, "publish", journaled)
	if t.On() {
		t.Since(pt.proc.track, "output", came, trace.Int("bytes", int64(len(b))), trace.Text("run", pt.r.id))
	}
}

func (pt *part) publishText(i int, text string) {
	var piece string
	for text != "" {
		piece, text = event.SplitText(text, event.MaxText)
		ev := &event.Stream{Header: pt.header(event.KindStream), Name: event.StreamNames[i], Text: piece}
		pt.proc.e.bus.PublishOutput(ev, len(piece), pt.kept.Dir())
	}
}

// flushText publishes the beginnings of characters that will not be completed.
func (pt *part) flushText() {
	for i := range pt.text {
		pt.publishText(i, pt.text[i].Flush())
	}
}

// output journals and publishes an event that a subscriber may miss if it does not read.
func (pt *part) output(ev event.Event, size int) {
	pt.kept.Event(ev)
	pt.proc.e.bus.PublishOutput(ev, size, pt.kept.Dir())
}

// emit journals and publishes an event that no subscriber may miss.
func (pt *part) emit(ev event.Event) { pt.output(ev, 0) }

// exception handles the exception that ended the code.
func (pt *part) exception(f ranks.Failure) {
	ev := &event.Failure{Header: pt.header(event.KindError), EName: f.EName, EValue: f.EValue, Traceback: f.Traceback}
	for _, fr := range f.Frames {
		ev.Frames = append(ev.Frames, event.Frame(fr))
	}
	ev.Path = wire.Path(pt.r.req.Path)
	for _, fr := range slices.Backward(f.Frames) {
		if fr.File == ev.Path && ev.Path != "" {
			ev.Line = fr.Line
			break
		}
	}
	if pt.sent.Load() == nil { // otherwise it comes too late for the outcome
		pt.own.failure = ev
		if pt.r.why.Load() == nil {
			pt.erred = true
			pt.r.failed.CompareAndSwap(nil, pt)
		}
	}
	pt.emit(ev)
}

// Done implements [ranks.Handler].
func (pt *part) Done(reply *wire.ExecuteReply, err error) {
	o := &pt.own
	o.elapsed = time.Since(pt.started)
	came := pt.proc.e.o.Trace.Now()
	ev := &event.RankState{Header: pt.header(event.KindRankState), State: event.StateReady, Seconds: event.Seconds(o.elapsed)}
	var death *ranks.ExitError
	ended := errors.As(err, &death)
	switch {
	case ended && death.Asked: // we have ended it ourselves, which is no death
		ev.State, ev.Status, death = event.StateStopped, event.StatusInterrupted, nil
	case ended:
		ev.State, ev.Status, ev.Reason = event.StateDead, event.StatusDied, err.Error()
		pt.proc.told.Store(true)
	case err != nil: // the reply made no sense
		pt.proc.hasImported(&wire.ExecuteReply{}, pt.r.reload)
		ev.Status = event.StatusError
	default:
		pt.proc.hasImported(reply, pt.r.reload)
		o.count, o.peak = reply.ExecutionCount, max(reply.PeakMemory, 0)
		if ev.Status = pt.status(reply); ev.Status == event.StatusError {
			o.exit = reply.ExitCode
		}
		var end *partEnd // none if there is nothing to remember: that saves an allocation for each rank of each cell
		if reply.Groups != nil || o.failure != nil {
			end = &partEnd{groups: reply.Groups, failure: o.failure}
		}
		pt.proc.ended.Store(end)
		pt.proc.answered.Store(pt.started.Add(o.elapsed).UnixNano())
	}
	o.status = ev.Status
	pt.proc.running.Add(-1)

	pt.proc.mu.Lock()
	if !pt.proc.gone {
		pt.proc.adoptLocked(pt)
	}
	pt.flushText()
	pt.askNoMore(0)
	if err != nil && !ended {
		pt.emit(&event.Log{Header: pt.header(event.KindLog), Level: event.LevelError, Text: err.Error()})
	}
	pt.emit(ev)
	if ended || pt.proc.gone {
		pt.kept.Close() // nothing comes any more
	}
	pt.proc.mu.Unlock()

	pt.proc.e.o.Trace.Since(pt.proc.track, "reply", came)
	pt.send(death)
}

// status tells what a reply means: any exception in an interrupted run counts as the interrupt's, whatever the code made of the KeyboardInterrupt, unless
// it came first.
func (pt *part) status(reply *wire.ExecuteReply) event.Status {
	switch {
	case reply.Status.Status == "ok":
		return event.StatusOK
	case reply.Status.Status == "aborted", pt.r.why.Load() != nil && !pt.erred:
		return event.StatusInterrupted
	default:
		return event.StatusError
	}
}
