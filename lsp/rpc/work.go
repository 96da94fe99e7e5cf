package rpc

import (
	"context"
	"fmt"

	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/internal/clean"
)

// Work is something that takes a while and that the editor shows: LSP's work done progress, with a token of ours. All methods may be called on nil,
// which is work that the client does not show.
type Work struct {
	client *Client
	token  protocol.String
}

// works are the client's, by token: how each is cancelled.
type works struct {
	count  int
	cancel map[protocol.String]func()
}

// ShowsWork reports whether the client shows progress that we begin.
func (c *Client) ShowsWork() bool {
	w := c.Can.Window
	return w != nil && w.WorkDoneProgress != nil && *w.WorkDoneProgress
}

// BeginWork shows that something has begun. It waits for the client. cancel is called when the user cancels the work, and must not wait; if it is nil, the
// work cannot be cancelled. BeginWork returns nil if the client does not show work; otherwise [Work.End] must be called.
func (c *Client) BeginWork(ctx context.Context, title, message string, cancel func()) *Work {
	if !c.ShowsWork() {
		return nil
	}
	c.mu.Lock()
	c.works.count++
	w := &Work{client: c, token: protocol.String(fmt.Sprintf("dip-%d", c.works.count))}
	if cancel != nil {
		c.works.cancel[w.token] = cancel
	}
	c.mu.Unlock()
	if err := c.Call(ctx, protocol.MethodWindowWorkDoneProgressCreate, &protocol.WorkDoneProgressCreateParams{Token: w.token}, nil); err != nil {
		if ctx.Err() == nil {
			c.log.Info("the editor shows no progress", zap.Error(err))
		}
		w.forget()
		return nil
	}
	begin := &protocol.WorkDoneProgressBegin{Kind: "begin", Title: clean.Brief(title), Cancellable: new(cancel != nil)}
	if message != "" {
		begin.Message = &message
	}
	w.send("begin", begin)
	return w
}

// Report shows how far it is.
func (w *Work) Report(message string) {
	if w != nil {
		w.send("", &protocol.WorkDoneProgressReport{Kind: "report", Message: &message})
	}
}

// End shows how it ended.
func (w *Work) End(message string) {
	if w != nil {
		w.forget()
		w.send("", &protocol.WorkDoneProgressEnd{Kind: "end", Message: new(clean.Brief(message))})
	}
}

func (w *Work) forget() {
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	delete(w.client.works.cancel, w.token)
}

// send sends a value. It replaces a value with the same key that the client has not read.
func (w *Work) send(key string, value any) {
	data, err := protocol.Marshal(value)
	if err != nil {
		w.client.log.Error("progress cannot be encoded", zap.Error(err))
		return
	}
	w.client.NotifyLatest(string(w.token)+" "+key, protocol.MethodProgress, &protocol.ProgressParams{Token: w.token, Value: protocol.LSPAny(data)})
}

// cancelWork is window/workDoneProgress/cancel. What it names may have ended already.
func (c *Client) cancelWork(_ context.Context, p *protocol.WorkDoneProgressCancelParams) error {
	token, _ := p.Token.(protocol.String)
	c.mu.Lock()
	cancel := c.works.cancel[token]
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return nil
}
