package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.uber.org/zap"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/ranks/wire"
	"dipls/session"
)

// method is a request that the server knows.
type method struct {
	serve   func(ctx context.Context, p *peer, params jsonrpc2.RawMessage) (any, error)
	always  bool // it needs no hello
	ordered bool // the answer comes after the events that have happened before it
	lasts   bool // it goes on when the client goes: it does something for all
}

// serving makes a method of a function that takes and returns what can be written as JSON.
func serving[P, R any](f func(ctx context.Context, p *peer, params P) (R, error)) method {
	return method{serve: func(ctx context.Context, p *peer, raw jsonrpc2.RawMessage) (any, error) {
		var params P
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &params); err != nil {
				return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "the parameters do not fit: %v", err)
			}
		}
		return f(ctx, p, params)
	}}
}

// asking is a method that only looks.
func asking[P, R any](f func(ctx context.Context, p *peer, params P) (R, error)) method {
	return serving(f)
}

// acting is a method that does something, or waits for something, so events belong to it.
func acting[P, R any](f func(ctx context.Context, p *peer, params P) (R, error)) method {
	m := serving(f)
	m.ordered = true
	return m
}

// lasting is a method that goes on when the client goes.
func lasting[P, R any](f func(ctx context.Context, p *peer, params P) (R, error)) method {
	m := acting(f)
	m.lasts = true
	return m
}

// starting is a method that starts runs. Its answer need not wait for what they tell.
func starting[P, R any](f func(ctx context.Context, p *peer, params P) (R, error)) method {
	m := serving(f)
	m.lasts = true
	return m
}

// always is a method that needs no hello.
func always[P, R any](f func(ctx context.Context, p *peer, params P) (R, error)) method {
	m := serving(f)
	m.always = true
	return m
}

// nothing is the parameters, or the answer, of a method that has none.
type nothing struct{}

// The parameters of methods, where they are not one value of the API.
type (
	startParams struct {
		By       session.Caller   `json:"by"`
		Sequence session.Sequence `json:"sequence"`
	}
	transferParams struct {
		By       session.Caller   `json:"by"`
		Transfer session.Transfer `json:"transfer"`
	}
	poolParams struct {
		By   session.Caller      `json:"by"`
		Pool session.PoolRequest `json:"pool"`
	}
	prepareParams struct {
		By          session.Caller      `json:"by"`
		Preparation session.Preparation `json:"preparation"`
	}
	byParams struct {
		By session.Caller `json:"by"`
	}
	runParams struct {
		Run string `json:"run,omitempty"`
	}
	subscribeParams struct {
		Front string `json:"front,omitempty"`
		From  string `json:"from,omitempty"`
		Types bool   `json:"types,omitempty"`
	}
	subscribed struct {
		At      uint64 `json:"at"`                // position after which events come
		Earlier int    `json:"earlier,omitempty"` // names what comes before; 0: nothing
	}
	frontParams struct {
		Front string `json:"front"`
	}
	earlierParams struct {
		Earlier int  `json:"earlier"`
		Number  int  `json:"number"`          // of the answer that is wanted, from 1; the same once more if it was not waited for
		Close   bool `json:"close,omitempty"` // nothing more is wanted
	}
	earlierEvents struct {
		Events []json.RawMessage `json:"events,omitempty"`
		More   bool              `json:"more,omitempty"`
	}
	shownParams struct {
		Text string `json:"text"`
	}
	answerParams struct {
		Question string `json:"question"`
		Choice   string `json:"choice"`
	}
	memoryParams struct {
		Memory bool `json:"memory,omitempty"`
	}
	targetParams struct {
		Target cells.Target `json:"target"`
	}
	namesParams struct {
		Names []string `json:"names"`
	}
	autodipParams struct {
		On        bool   `json:"on"`
		Arguments string `json:"arguments,omitempty"`
	}
	finishParams struct {
		WayOut string `json:"way_out"`
	}
	nameParams struct {
		Name string `json:"name"`
	}
	keepParams struct {
		Keep time.Duration `json:"keep"`
	}
)

// methods are the requests that the server knows.
var methods map[string]method

func init() { // not as a value, since some of them need the table
	methods = map[string]method{
		methodHello: always(func(ctx context.Context, p *peer, h Hello) (Welcome, error) { return p.hello(ctx, h) }),
		methodAbout: always(func(ctx context.Context, p *peer, m aboutParams) (aboutAnswer, error) {
			a, err := p.s.about(ctx, m.Memory)
			return aboutAnswer{a}, err
		}),
		methodPing: always(func(context.Context, *peer, nothing) (nothing, error) { return nothing{}, nil }),
		methodStop: always(func(_ context.Context, p *peer, m stopParams) (nothing, error) { return nothing{}, p.stop(m.By) }),

		"session/start": starting(func(ctx context.Context, p *peer, m startParams) ([]string, error) {
			return p.s.queued(p, m.By, m.Sequence.Cells, func() ([]string, error) { return p.s.o.API.Start(ctx, p.caller(m.By), m.Sequence) })
		}),
		"session/transfer": starting(func(ctx context.Context, p *peer, m transferParams) (string, error) {
			return p.queue(m.By, session.CellOfTransfer(m.Transfer), func(by session.Caller) (string, error) {
				return p.s.o.API.Transfer(ctx, by, m.Transfer)
			})
		}),
		"session/makePool": starting(func(ctx context.Context, p *peer, m poolParams) (string, error) {
			return p.queue(m.By, session.CellOfPool(m.Pool), func(by session.Caller) (string, error) { return p.s.o.API.MakePool(ctx, by, m.Pool) })
		}),
		"session/freeMemory": starting(func(ctx context.Context, p *peer, m byParams) (string, error) {
			info, err := p.s.o.API.Info(ctx, false)
			if err != nil {
				return "", err
			}
			return p.queue(m.By, session.CellOfMemory(info), func(by session.Caller) (string, error) { return p.s.o.API.FreeMemory(ctx, by) })
		}),

		"session/cancel": lasting(func(ctx context.Context, p *peer, m runParams) (int, error) {
			p.did("interrupts", m.Run)
			return p.s.o.API.Cancel(ctx, m.Run)
		}),
		"session/free": lasting(func(ctx context.Context, p *peer, m runParams) (nothing, error) {
			p.did("frees", m.Run)
			return nothing{}, p.s.o.API.Free(ctx, m.Run)
		}),
		"session/freeAll": lasting(func(ctx context.Context, p *peer, _ nothing) (nothing, error) {
			p.did("frees", "")
			return nothing{}, p.s.o.API.FreeAll(ctx)
		}),
		"session/wait": acting(func(ctx context.Context, p *peer, m runParams) (event.Report, error) {
			return p.s.o.API.Wait(ctx, m.Run)
		}),

		"session/subscribe": acting(func(ctx context.Context, p *peer, m subscribeParams) (subscribed, error) { return p.subscribe(ctx, m) }),
		"session/unsubscribe": acting(func(_ context.Context, p *peer, m frontParams) (nothing, error) {
			p.unsubscribe(m.Front)
			return nothing{}, nil
		}),
		"session/earlier": asking(func(_ context.Context, p *peer, m earlierParams) (earlierEvents, error) { return p.readEarlier(m) }),

		"session/say": acting(func(ctx context.Context, p *peer, m session.Note) (nothing, error) {
			return nothing{}, p.s.o.API.Say(ctx, m)
		}),
		"session/output": asking(func(ctx context.Context, p *peer, m session.OutputRequest) (wire.Path, error) {
			path, err := p.s.o.API.Output(ctx, m)
			return wire.Path(path), err
		}),
		"session/keepText": asking(func(ctx context.Context, p *peer, m session.Text) (wire.Path, error) {
			path, err := p.s.o.API.KeepText(ctx, m)
			return wire.Path(path), err
		}),
		"session/heed": lasting(func(ctx context.Context, p *peer, m byParams) (nothing, error) {
			return nothing{}, p.s.o.API.Heed(ctx, p.caller(m.By))
		}),
		"session/shown": asking(func(_ context.Context, p *peer, m shownParams) (nothing, error) {
			p.s.events.Forget(kept(m.Text))
			return nothing{}, nil
		}),
		"session/answer": lasting(func(ctx context.Context, p *peer, m answerParams) (nothing, error) {
			return nothing{}, p.answerQuestion(ctx, m.Question, m.Choice)
		}),

		"session/answerInput": lasting(func(ctx context.Context, p *peer, m session.InputAnswer) (nothing, error) {
			p.did("types what was asked for", m.Run)
			return nothing{}, p.s.o.API.AnswerInput(ctx, m)
		}),

		"session/restartPool": lasting(func(ctx context.Context, p *peer, m byParams) (string, error) {
			defer p.using(m.By)()
			p.did("restarts the ranks", "")
			return p.s.o.API.RestartPool(ctx, p.caller(m.By))
		}),
		"session/killPool": lasting(func(ctx context.Context, p *peer, _ nothing) (string, error) {
			p.did("ends the ranks", "")
			return p.s.o.API.KillPool(ctx)
		}),
		"session/cancelStart": lasting(func(ctx context.Context, p *peer, _ nothing) (nothing, error) {
			p.did("gives up the start of ranks", "")
			return nothing{}, p.s.o.API.CancelStart(ctx)
		}),
		"session/restartLocal": lasting(func(ctx context.Context, p *peer, m byParams) (nothing, error) {
			defer p.using(m.By)()
			p.did("restarts the local namespace", "")
			return nothing{}, p.s.o.API.RestartLocal(ctx, p.caller(m.By))
		}),
		"session/endPython": lasting(func(ctx context.Context, p *peer, _ nothing) (nothing, error) {
			p.did("ends Python", "")
			return nothing{}, p.s.o.API.EndPython(ctx)
		}),
		"session/prepare": lasting(func(ctx context.Context, p *peer, m prepareParams) (nothing, error) {
			defer p.using(m.By)()
			return nothing{}, p.s.o.API.Prepare(ctx, p.caller(m.By), m.Preparation)
		}),

		"session/info": asking(func(ctx context.Context, p *peer, m memoryParams) (session.PoolInfo, error) {
			return p.s.o.API.Info(ctx, m.Memory)
		}),
		"session/used": asking(func(ctx context.Context, p *peer, _ nothing) (session.Used, error) { return p.s.o.API.Used(ctx) }),
		"session/poolSize": asking(func(ctx context.Context, p *peer, m byParams) (int, error) {
			return p.s.o.API.PoolSize(ctx, p.caller(m.By))
		}),
		"session/gpus": asking(func(ctx context.Context, p *peer, _ nothing) ([]session.GPU, error) { return p.s.o.API.GPUs(ctx) }),
		"session/stacks": asking(func(ctx context.Context, p *peer, m session.StacksRequest) (session.Stacks, error) {
			return p.s.o.API.Stacks(ctx, m)
		}),
		"session/complete": asking(func(ctx context.Context, p *peer, m session.Lookup) (session.Completion, error) {
			return p.s.o.API.Complete(ctx, m)
		}),
		"session/inspect": asking(func(ctx context.Context, p *peer, m session.Lookup) ([]session.Inspection, error) {
			return p.s.o.API.Inspect(ctx, m)
		}),
		"session/variables": asking(func(ctx context.Context, p *peer, m targetParams) ([]session.Variables, error) {
			return p.s.o.API.Variables(ctx, m.Target)
		}),
		"session/members": asking(func(ctx context.Context, p *peer, m session.Members) ([]session.Variables, error) {
			return p.s.o.API.Members(ctx, m)
		}),
		"session/table": asking(func(ctx context.Context, p *peer, m session.TableQuery) ([]session.Table, error) {
			return p.s.o.API.Table(ctx, m)
		}),
		"session/bound": asking(func(ctx context.Context, p *peer, m namesParams) ([]session.Binding, error) {
			return p.s.o.API.Bound(ctx, m.Names)
		}),
		"session/autodip": asking(func(ctx context.Context, p *peer, _ nothing) (string, error) { return p.s.o.API.Autodip(ctx) }),
		"session/setAutodip": lasting(func(ctx context.Context, p *peer, m autodipParams) (nothing, error) {
			return nothing{}, p.s.o.API.SetAutodip(ctx, m.On, m.Arguments)
		}),
		"session/about": asking(func(ctx context.Context, p *peer, m memoryParams) (aboutAnswer, error) {
			a, err := p.s.about(ctx, m.Memory)
			return aboutAnswer{a}, err
		}),
		"session/rename": lasting(func(ctx context.Context, p *peer, m nameParams) (nothing, error) {
			p.did(fmt.Sprintf("renames the session to %q", m.Name), "")
			defer p.s.isDifferent()
			if p.s.o.Rename != nil {
				return nothing{}, p.s.o.Rename(ctx, m.Name)
			}
			return nothing{}, p.s.o.API.Rename(ctx, m.Name)
		}),
		"session/keepFor": lasting(func(ctx context.Context, p *peer, m keepParams) (nothing, error) {
			p.did("keeps the session for "+session.FormatKeep(m.Keep), "")
			defer p.s.isDifferent()
			if p.s.o.KeepFor != nil {
				return nothing{}, p.s.o.KeepFor(ctx, m.Keep)
			}
			return nothing{}, p.s.o.API.KeepFor(ctx, m.Keep)
		}),

		"session/finish": lasting(func(ctx context.Context, p *peer, m finishParams) (nothing, error) {
			return nothing{}, p.s.o.API.Finish(ctx, m.WayOut)
		}),
		"session/close": lasting(func(ctx context.Context, p *peer, m session.CloseRequest) (nothing, error) {
			p.did("ends the session", "")
			err := p.s.closeSession(ctx, m)
			if p.s.o.Stop != nil {
				p.s.o.Stop(who(p.client))
			}
			return nothing{}, err
		}),
	}
}

// did logs what a client does. run may be "".
func (p *peer) did(what, run string) {
	fields := []zap.Field{p.field()}
	if run != "" {
		fields = append(fields, zap.String("run", run))
	}
	p.s.log.Info(what, fields...)
}

// caller is a caller as the session knows it.
func (p *peer) caller(by session.Caller) session.Caller {
	by.Front = p.inSession(by.Front)
	return by
}

// using keeps the caller's front until the call is over, so that it can be asked.
func (p *peer) using(by session.Caller) (over func()) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	f := p.fronts[by.Front]
	if f == nil {
		return func() {}
	}
	f.uses++
	return func() {
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		f.release()
	}
}

// queue starts one run.
func (p *peer) queue(by session.Caller, c session.Cell, start func(session.Caller) (string, error)) (string, error) {
	runs, err := p.s.queued(p, by, []session.Cell{c}, func() ([]string, error) {
		run, err := start(p.caller(by))
		return []string{run}, err
	})
	if err != nil {
		return "", err
	}
	return runs[0], nil
}

// runQueued is the event that says that a run was started.
func runQueued(run string, c session.Cell, autodip, by string, at time.Time) *event.RunQueued {
	return &event.RunQueued{
		Header: event.Header{Kind: event.KindRunQueued, Run: run, Cell: event.CellOf(c.Cell)},
		Path:   wire.Path(c.Path), Line: c.Line, Title: c.Title, Target: session.TargetOf(c, autodip).String(), Source: c.Source, By: by, Queued: at,
	}
}

// stop asks that the session ends.
func (p *peer) stop(by string) error {
	if p.pid > 0 {
		by = fmt.Sprintf("%s (pid %d)", by, p.pid)
	}
	p.s.log.Info("stops the session", zap.String("client", by))
	if p.s.o.Stop == nil {
		return &session.Error{Code: session.CodeInvalid, Text: "the session ends with its owner"}
	}
	p.s.o.Stop(by)
	return nil
}

// answerQuestion answers a question. Only the connection that has caused it may.
func (p *peer) answerQuestion(ctx context.Context, id, choice string) error {
	p.s.mu.Lock()
	a, known := p.s.questions[id]
	p.s.mu.Unlock()
	if !known || a.front.p != p {
		return &session.Error{Code: session.CodeInvalid, Text: fmt.Sprintf("there is no question %s, or it is over", id)}
	}
	err := p.s.o.API.Answer(ctx, id, choice)
	if err == nil {
		p.s.log.Info("answers", p.field(), zap.String("question", a.told.Text), zap.String("answer", choice))
	}
	return err
}
