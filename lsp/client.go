package lsp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/internal/clean"
)

// client is the editor at the other end. To notify it never waits; to call it waits for its answer and must not be done before
// the request that one answers has been released (see [method]).
type client struct {
	conn   jsonrpc2.Conn
	stream *stream
	log    *zap.Logger
	ctx    context.Context // ends with the connection

	// Set by initialize, before anybody reads them.
	can    protocol.ClientCapabilities
	events bool // wants dip/event
	folded bool // and dip/folded
	cells  bool // wants dip/cellsChanged

	dropping sync.Once

	mu         sync.Mutex         // guards what follows
	refreshing map[string]refresh // by method
	works      works              // that the client shows
	work       sync.WaitGroup     // refreshes
}

// refresh is a request to ask for something anew.
type refresh struct {
	asked bool // it has been sent and not been answered
	again bool // it is wanted once more since
}

// notify sends a notification. If the client is too far behind, it is dropped.
func (c *client) notify(method string, params any) { c.send("", method, params) }

// notifyLatest sends a notification that takes the place of those with the same method and key that the client has not read yet: all
// that counts is the last one. It is never dropped.
func (c *client) notifyLatest(key, method string, params any) { c.send(method+" "+key, method, params) }

func (c *client) send(key, method string, params any) {
	if key == "" && c.stream.out.full() {
		c.dropping.Do(func() { c.log.Error("the editor has stopped reading: messages are being dropped") })
		return
	}
	if err := c.stream.notify(key, method, params); err != nil {
		c.log.Error("a notification cannot be encoded", zap.String("method", method), zap.Error(err))
	}
}

// call sends a request and waits for the answer. If ctx ends first, the client is told that nobody waits any more.
func (c *client) call(ctx context.Context, method string, params, result any) error {
	if err := protocol.Call(ctx, c.conn, method, params, result); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// logMessage writes into the editor's output window. How much is for the caller to bound.
func (c *client) logMessage(t protocol.MessageType, text string) {
	c.notify(protocol.MethodWindowLogMessage, &protocol.LogMessageParams{Type: t, Message: clean.Text(text)})
}

// showMessage shows a message to the user, of a length that can be read.
func (c *client) showMessage(t protocol.MessageType, text string) {
	c.notify(protocol.MethodWindowShowMessage, &protocol.ShowMessageParams{Type: t, Message: popUp(text)})
}

// How much of a text is shown: in a message that pops up, and at a time in the output window.
const (
	shownLines, shownBytes   = 10, 2 << 10
	loggedLines, loggedBytes = 200, 32 << 10
)

// popUp is a text as a message that pops up.
func popUp(text string) string { return clean.Excerpt(clean.Text(text), shownLines, shownBytes, "") }

// ask shows a message and waits for the user to choose one of the actions; "" is none of them. Where the client cannot ask, it is a message.
func (c *client) ask(ctx context.Context, t protocol.MessageType, text string, actions ...string) (chosen string) {
	chosen, err := c.request(ctx, t, text, actions...)
	if err != nil && ctx.Err() == nil {
		c.showMessage(t, text)
	}
	return chosen
}

// errCannotAsk is of a client that does not know how to ask its user.
var errCannotAsk = errors.New("the editor cannot ask")

// request is ask with an error where nobody was asked: errCannotAsk if the client cannot.
func (c *client) request(ctx context.Context, t protocol.MessageType, text string, actions ...string) (chosen string, err error) {
	params := &protocol.ShowMessageRequestParams{Type: t, Message: popUp(text)}
	for _, title := range actions {
		params.Actions = append(params.Actions, protocol.MessageActionItem{Title: title})
	}
	var item *protocol.MessageActionItem
	err = c.call(ctx, protocol.MethodWindowShowMessageRequest, params, &item)
	var refusal *jsonrpc2.Error
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.As(err, &refusal):
		return "", errCannotAsk
	case err != nil:
		return "", err
	case item == nil:
		return "", nil
	}
	return item.Title, nil
}

// refresh asks the client to ask for something anew, by one of the workspace/…/refresh requests; the caller has looked whether the client
// supports it. While an earlier one is not answered, any number of further ones become one.
func (c *client) refresh(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refreshing == nil {
		c.refreshing = map[string]refresh{}
	}
	if c.refreshing[method].asked {
		c.refreshing[method] = refresh{asked: true, again: true}
		return
	}
	c.refreshing[method] = refresh{asked: true}
	c.work.Go(func() { contained(c.log, method, func() { c.askUntilDone(method) }) })
}

func (c *client) askUntilDone(method string) {
	for {
		if err := c.call(c.ctx, method, nil, nil); err != nil && c.ctx.Err() == nil {
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
