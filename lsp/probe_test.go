package lsp

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.lsp.dev/protocol"

	"dipls/dipexec/event"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
	"dipls/session"
)

// SlowEvents is how long, in nanoseconds, each event takes to be entered: a busy machine.
var SlowEvents atomic.Int64

// HurryMemory lets a session be asked for its GPU memory at any time, for a test.
func HurryMemory(t testing.TB) {
	before := memoryEvery
	memoryEvery = time.Nanosecond
	t.Cleanup(func() { memoryEvery = before })
}

// Wished gets word when test/refresh has made its wishes.
var Wished = make(chan struct{}, 1)

// telling is a session that also sends events that a test makes up.
type telling struct {
	session.API

	mu       sync.Mutex // guards what follows
	subs     []session.Subscription
	fronts   []session.Subscription // those of subs that hear questions
	answered []string               // what was answered to questions of the test
}

// NewTelling makes a session one for test/publish.
func NewTelling(s session.API) session.API { return &telling{API: s} }

// Subscribe implements [session.API].
func (t *telling) Subscribe(ctx context.Context, r session.SubscribeRequest) (session.Subscription, error) {
	sub, err := t.API.Subscribe(ctx, r)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.subs = append(t.subs, sub)
	}
	if err == nil && r.Front != "" {
		t.fronts = append(t.fronts, sub)
	}
	return sub, err
}

// Answer implements [session.API].
func (t *telling) Answer(ctx context.Context, question, choice string) error {
	if !strings.HasPrefix(question, "test") {
		return t.API.Answer(ctx, question, choice)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered = append(t.answered, question+": "+choice)
	return nil
}

func (t *telling) tell(ev event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	subs := t.subs
	if _, ok := ev.(*event.Question); ok {
		subs = t.fronts
	}
	for _, sub := range subs {
		sub.(interface{ Tell(event.Event) }).Tell(ev)
	}
}

// recentTelling is the session in which something was done last.
func (s *server) recentTelling() *telling {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recent.API.(*telling)
}

// The tests ask the server for the text that it has, and have it fail, by a feature of their own.
func init() {
	features = append(features, func(s *server) feature {
		return feature{event: func(*workspace, event.Event) { time.Sleep(time.Duration(SlowEvents.Load())) }, methods: map[string]rpc.Method{
			"test/text": rpc.Request(func(ctx context.Context, p *protocol.TextDocumentIdentifier) (string, error) {
				d, err := snapshotOf(ctx, p.URI)
				if err != nil {
					return "", err
				}
				return d.File.Text(), nil
			}),
			"test/ids": rpc.Request(func(ctx context.Context, p *protocol.TextDocumentIdentifier) ([]docs.CellID, error) {
				d, err := snapshotOf(ctx, p.URI)
				if err != nil {
					return nil, err
				}
				return d.IDs(), nil
			}),
			"test/panic":  rpc.Request(func(context.Context, *struct{}) (any, error) { panic("as asked") }),
			"test/panics": rpc.Notification(func(context.Context, *struct{}) error { panic("as asked") }),
			"test/wait": rpc.Request(func(ctx context.Context, _ *struct{}) (any, error) {
				s.client.Notify("test/waiting", struct{}{})
				<-ctx.Done()
				return nil, ctx.Err()
			}),
			"test/refresh": rpc.Request(func(context.Context, *struct{}) (any, error) {
				for range 100 {
					s.client.Refresh(protocol.MethodWorkspaceCodeLensRefresh)
				}
				Wished <- struct{}{}
				return nil, nil
			}),
			"test/publish": rpc.Request(func(_ context.Context, p *struct {
				Event json.RawMessage `json:"event"`
			}) (any, error) {
				ev, err := event.ParseJSON(p.Event)
				if err != nil {
					return nil, err
				}
				s.recentTelling().tell(ev)
				return nil, nil
			}),
			"test/answered": rpc.Request(func(context.Context, *struct{}) ([]string, error) {
				t := s.recentTelling()
				t.mu.Lock()
				defer t.mu.Unlock()
				return t.answered, nil
			}),
			"test/flood": rpc.Request(func(_ context.Context, p *struct{ Bytes int }) (any, error) {
				for range p.Bytes >> 16 {
					s.client.LogMessage(protocol.MessageTypeLog, strings.Repeat("x", 1<<16))
				}
				s.client.NotifyLatest("k", "test/latest", map[string]int{"n": 1})
				s.client.NotifyLatest("k", "test/latest", map[string]int{"n": 2})
				return nil, nil
			}),
		}}
	})
}
