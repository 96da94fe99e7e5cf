package dipexec

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// inputMoment is how long a question waits for other ranks to ask the same, before it is told. It may grow afterwards, too.
const inputMoment = 50 * time.Millisecond

// ErrNoInput says that nobody asks what was answered.
var ErrNoInput = errors.New("dipexec: nobody waits for that answer")

// inputs are the questions of a run's code that are not answered.
type inputs struct {
	mu    sync.Mutex // as run.order, which is taken after it
	count int        // questions so far
	open  []*input
}

// input is a question: processes wait for a line that somebody types. Those that ask the same share it.
type input struct {
	number int
	asked  ranks.Input // by the first
	local  bool
	who    []asker // in order of their ranks
	told   bool
}

// asker is a process that waits for an answer.
type asker struct {
	pt *part
	id int // its own number for the question
}

// InputAnswer is what somebody has typed.
type InputAnswer struct {
	Run   string        `json:"run"`
	Input int           `json:"input"`          // number of the question, as in [event.Input]
	Ranks ranklist.List `json:"ranks,omitzero"` // whose question it answers; zero: of all that ask it
	Text  string        `json:"text,omitempty"` // without the end of its line
	EOF   bool          `json:"eof,omitempty"`  // in place of a text: nothing more is typed
}

// AnswerInput answers a question of code's. The error is ErrNoRun or ErrNoInput.
func (e *Executor) AnswerInput(a InputAnswer) error {
	e.mu.Lock()
	r := e.runs[a.Run]
	e.mu.Unlock()
	if r == nil {
		return ErrNoRun
	}
	return r.answerInput(a)
}

// ask enters a question of a process's. running tells whether the part's code still runs.
func (pt *part) ask(q ranks.Input, running bool) {
	r := pt.r
	if !running || r.e.o.Typists == nil || !r.e.o.Typists() {
		pt.proc.p.AnswerInput(wire.InputReply{ID: q.ID, Status: "error"})
		return
	}
	r.inputs.mu.Lock()
	defer r.inputs.mu.Unlock()
	i := slices.IndexFunc(r.inputs.open, func(one *input) bool {
		return one.asked.Prompt == q.Prompt && one.asked.Password == q.Password && one.local == pt.proc.who.IsLocal() && !one.has(pt)
	})
	if i < 0 {
		r.inputs.count++
		one := &input{number: r.inputs.count, asked: q, local: pt.proc.who.IsLocal()}
		i = len(r.inputs.open)
		r.inputs.open = append(r.inputs.open, one)
		time.AfterFunc(inputMoment, func() { contain.Do(func() { r.tellInput(one) }) })
	}
	one := r.inputs.open[i]
	one.who = append(one.who, asker{pt, q.ID})
	slices.SortFunc(one.who, func(a, b asker) int { return cmp.Compare(a.rank(), b.rank()) })
	if one.told || len(one.who) == int(r.left.Load()) { // nobody else can ask it
		r.tellAsked(one)
	}
}

// has reports whether a part asks the question already, as its threads may.
func (one *input) has(pt *part) bool {
	return slices.ContainsFunc(one.who, func(a asker) bool { return a.pt == pt })
}

// rank is the asker's rank; -1 for the local namespace.
func (a asker) rank() int {
	if rank, ok := a.pt.proc.who.Rank(); ok {
		return rank
	}
	return -1
}

// tellInput tells a question whose moment is over.
func (r *run) tellInput(one *input) {
	r.inputs.mu.Lock()
	defer r.inputs.mu.Unlock()
	if !one.told && len(one.who) > 0 {
		r.tellAsked(one)
	}
}

// tellAsked tells who asks. The caller holds inputs.mu.
func (r *run) tellAsked(one *input) {
	one.told = true
	ev := one.event(r, event.InputAsked)
	ev.Ranks = ranksOf(one.who)
	r.emit(ev)
}

func (one *input) event(r *run, s event.InputState) *event.Input {
	h := r.head(event.KindInput)
	h.Local = one.local
	return &event.Input{Header: h, Input: one.number, State: s, Prompt: one.asked.Prompt, Password: one.asked.Password}
}

// ranksOf are the ranks of askers.
func ranksOf(who []asker) (on []int) {
	for _, a := range who {
		if rank := a.rank(); rank >= 0 {
			on = append(on, rank)
		}
	}
	return on
}

// answerInput hands what was typed to those that it is for.
func (r *run) answerInput(a InputAnswer) error {
	r.inputs.mu.Lock()
	defer r.inputs.mu.Unlock()
	i := slices.IndexFunc(r.inputs.open, func(one *input) bool { return one.number == a.Input })
	if i < 0 {
		return ErrNoInput
	}
	one := r.inputs.open[i]
	meant := func(who asker) bool { return a.Ranks.IsZero() || a.Ranks.Contains(who.rank()) }
	answered := one.leave(meant)
	if len(answered) == 0 {
		return ErrNoInput
	}
	reply := wire.InputReply{Status: "ok", Value: a.Text}
	ev := one.event(r, event.InputAnswered)
	ev.Ranks, ev.Waiting = ranksOf(answered), ranksOf(one.who)
	switch {
	case a.EOF:
		reply, ev.EOF = wire.InputReply{Status: "eof"}, true
	case !one.asked.Password:
		ev.Text = a.Text
	}
	one.told = true // an answer of which nobody was told the question cannot come, but one that came early would be the last
	r.emit(ev)      // before what the processes do next
	r.close(one)
	for _, who := range answered {
		reply.ID = who.id
		who.pt.proc.p.AnswerInput(reply)
	}
	return nil
}

// leave removes askers from the question, and returns them.
func (one *input) leave(meant func(asker) bool) (left []asker) {
	for _, who := range one.who {
		if meant(who) {
			left = append(left, who)
		}
	}
	one.who = slices.DeleteFunc(one.who, meant)
	return left
}

// close forgets the question if nobody asks it any more. The caller holds inputs.mu.
func (r *run) close(one *input) {
	if len(one.who) == 0 {
		r.inputs.open = slices.DeleteFunc(r.inputs.open, func(other *input) bool { return other == one })
	}
}

// askNoMore withdraws a part's question of a number, or all of its questions with 0.
func (pt *part) askNoMore(id int) {
	r := pt.r
	r.inputs.mu.Lock()
	defer r.inputs.mu.Unlock()
	for _, one := range slices.Clone(r.inputs.open) {
		left := one.leave(func(who asker) bool { return who.pt == pt && (id == 0 || who.id == id) })
		if len(left) == 0 {
			continue
		}
		switch {
		case !one.told, len(one.who) > 0 && r.ctx.Err() != nil: // the others are about to follow
		case len(one.who) > 0:
			r.tellAsked(one)
		default:
			ev := one.event(r, event.InputWithdrawn)
			ev.Ranks = ranksOf(left)
			r.emit(ev)
		}
		r.close(one)
		for _, who := range left {
			pt.proc.p.AnswerInput(wire.InputReply{ID: who.id, Status: "aborted"})
		}
	}
}

// asks reports whether the part waits for somebody to type.
func (pt *part) asks() bool {
	pt.r.inputs.mu.Lock()
	defer pt.r.inputs.mu.Unlock()
	return slices.ContainsFunc(pt.r.inputs.open, func(one *input) bool { return one.has(pt) })
}
