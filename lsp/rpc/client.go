package rpc

import (
	"context"
	"errors"
	"sync"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/internal/clean"
)

// Client is the editor at the other end of a connection, and its user.
type Client struct {
	*Conn

	// Can is what the client can do. It is set before anybody reads it.
	Can protocol.ClientCapabilities

	ctx  context.Context // ends with the connection
	goOn func(what string, f func())

	mu         sync.Mutex         // guards what follows
	refreshing map[string]refresh // by method
	works      works              // that the client shows
}

// refresh is a request to ask for something anew.
type refresh struct {
	asked bool // it has been sent and not been answered
	again bool // it is wanted once more since
}

// NewClient makes the client of a connection. ctx ends with that; goOn has a goroutine do something that ends with ctx.
func NewClient(ctx context.Context, c *Conn, goOn func(what string, f func())) *Client {
	return &Client{Conn: c, ctx: ctx, goOn: goOn, refreshing: map[string]refresh{}, works: works{cancel: map[protocol.String]func(){}}}
}

// Methods are what the client sends on account of what it has been asked.
func (c *Client) Methods() map[string]Method {
	return map[string]Method{protocol.MethodWindowWorkDoneProgressCancel: Notification(c.cancelWork)}
}

// LogMessage writes into the editor's output window. The caller bounds the length.
func (c *Client) LogMessage(t protocol.MessageType, text string) {
	c.Notify(protocol.MethodWindowLogMessage, &protocol.LogMessageParams{Type: t, Message: clean.Text(text)})
}

// ShowMessage shows the user a message, cut to a length that can be read.
func (c *Client) ShowMessage(t protocol.MessageType, text string) {
	c.Notify(protocol.MethodWindowShowMessage, &protocol.ShowMessageParams{Type: t, Message: popUp(text)})
}

// How much of a text is shown: in a message that pops up, and at a time in the output window.
const (
	ShownLines, ShownBytes   = 10, 2 << 10
	LoggedLines, LoggedBytes = 200, 32 << 10
)

// popUp is a text as a message that pops up.
func popUp(text string) string { return clean.Excerpt(clean.Text(text), ShownLines, ShownBytes, "") }

// Ask shows a message and waits until the user chooses one of the actions; "" is none of them. If the client cannot ask, it shows the message only.
func (c *Client) Ask(ctx context.Context, t protocol.MessageType, text string, actions ...string) (chosen string) {
	chosen, err := c.TryAsk(ctx, t, text, actions...)
	if err != nil && ctx.Err() == nil {
		c.ShowMessage(t, text)
	}
	return chosen
}

// ErrCannotAsk is the error of a client that does not know how to ask its user.
var ErrCannotAsk = errors.New("the editor cannot ask")

// TryAsk is Ask with an error where nobody was asked: ErrCannotAsk if the client cannot ask.
func (c *Client) TryAsk(ctx context.Context, t protocol.MessageType, text string, actions ...string) (chosen string, err error) {
	params := &protocol.ShowMessageRequestParams{Type: t, Message: popUp(text)}
	for _, title := range actions {
		params.Actions = append(params.Actions, protocol.MessageActionItem{Title: title})
	}
	var item *protocol.MessageActionItem
	err = c.Call(ctx, protocol.MethodWindowShowMessageRequest, params, &item)
	var refusal *jsonrpc2.Error
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.As(err, &refusal):
		return "", ErrCannotAsk
	case err != nil:
		return "", err
	case item == nil:
		return "", nil
	}
	return item.Title, nil
}

// Refresh has the client ask for something anew, by one of the workspace/…/refresh requests. The caller has checked that the client supports it. While one
// is not answered, any number of further ones become one.
func (c *Client) Refresh(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refreshing[method].asked {
		c.refreshing[method] = refresh{asked: true, again: true}
		return
	}
	c.refreshing[method] = refresh{asked: true}
	c.goOn(method, func() { c.askUntilDone(method) })
}

func (c *Client) askUntilDone(method string) {
	for {
		if err := c.Call(c.ctx, method, nil, nil); err != nil && c.ctx.Err() == nil {
			c.log.Info("the editor refused to refresh", zap.String("method", method), zap.Error(err))
		}
		c.mu.Lock()
		again := c.refreshing[method].again && c.ctx.Err() == nil
		c.refreshing[method] = refresh{asked: again}
		c.mu.Unlock()
		if !again {
			return
		}
	}
}
