package lsp

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"go.lsp.dev/protocol"

	"dipls/dipexec/event"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// SlowEvents is how long, in nanoseconds, each event takes to be entered: a busy machine.
var SlowEvents atomic.Int64

// Wished gets word when test/refresh has made its wishes.
var Wished = make(chan struct{}, 1)

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
				s.mu.Lock()
				w := s.recent
				s.mu.Unlock()
				w.executor.Publish(ev)
				return nil, nil
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
