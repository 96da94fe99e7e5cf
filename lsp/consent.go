package lsp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.lsp.dev/protocol"
	"go.uber.org/zap"

	"dipls/internal/trust"
	"dipls/lsp/rpc"
	"dipls/ranks/host"
)

// said is what a client says of the folders' code.
type said int32

const (
	saidNothing said = iota // a command is the consent, for its folder
	saidNo                  // nothing runs
	saidYes                 // everything may run
)

// saidBy understands initializationOptions.trusted. What is not understood is a no.
func saidBy(raw json.RawMessage) said {
	switch {
	case isNothing(raw):
		return saidNothing
	case bytes.Equal(bytes.TrimSpace(raw), []byte("true")):
		return saidYes
	}
	return saidNo
}

// consent knows which folders' code may run. Where the client says nothing of trust, a command that runs something is the user's consent for its folder,
// unless the folder brings its own interpreter: then the user is asked. Until then nothing of the folder is used.
type consent struct {
	s     *server
	store *trust.Store // nil: nothing is remembered

	asking sync.Mutex // held while the user is asked: one question at a time

	mu    sync.Mutex                  // guards what follows
	given map[string]host.Interpreter // by folder: what could not be remembered, by this client
}

func newConsent(s *server, store *trust.Store) *consent {
	return &consent{s: s, store: store, given: map[string]host.Interpreter{}}
}

// holds reports whether an interpreter may run a folder's code without a word.
func (c *consent) holds(dir string, python host.Interpreter) bool {
	switch said(c.s.trusted.Load()) {
	case saidYes:
		return true
	case saidNo:
		return false
	}
	own := python.BelongsTo(dir)
	c.mu.Lock()
	given, known := c.given[dir]
	c.mu.Unlock()
	if known && (!own || given.Path == python.Path) {
		return true
	}
	if c.store == nil {
		return false
	}
	e, remembered := c.store.Find(dir)
	return remembered && (!own || e.Python == python.Path)
}

// obtain is called when a command needs Python in a folder. It tells what will run, or asks, and remembers. The error is for the user, who has said no.
func (c *consent) obtain(ctx context.Context, dir string, python host.Interpreter, settings Settings) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.holds(dir, python) {
		return nil
	}
	own := python.BelongsTo(dir)
	what := fmt.Sprintf("the cells of %s with %s", dir, python.Path)
	if len(settings.Preload) > 0 {
		what += ", which imports " + strings.Join(settings.Preload, ", ") + " first"
	}
	command := fmt.Sprintf("`dipls trust --remove '%s'`", dir)
	switch {
	case !own:
		c.s.client.ShowMessage(protocol.MessageTypeInfo, fmt.Sprintf("from now on dipls runs %s; %s takes that back", what, command))
	default:
		const run = "Run"
		text := fmt.Sprintf("Run %s? That interpreter belongs to the folder, so whoever made the folder chooses what it does. %s takes that back.", what, command)
		chosen, err := c.s.client.TryAsk(ctx, protocol.MessageTypeWarning, text, run)
		switch {
		case errors.Is(err, rpc.ErrCannotAsk):
			c.s.client.ShowMessage(protocol.MessageTypeWarning, fmt.Sprintf("from now on dipls runs %s, which belongs to the folder; %s takes that back", what, command))
		case err != nil:
			return err
		case chosen != run:
			return fmt.Errorf("nothing was run: %s belongs to the folder and you have not let it run; run the cell again to be asked again, "+
				"trust the folder with 'dipls trust %s', or choose another interpreter by the setting dip.python", python.Path, dir)
		}
	}
	if !c.remember(dir, python, own) {
		c.mu.Lock()
		c.given[dir] = python
		c.mu.Unlock()
	}
	return nil
}

// remember notes a consent for the next time, until the user takes it back, and reports whether it could.
func (c *consent) remember(dir string, python host.Interpreter, own bool) bool {
	if c.store == nil {
		return false
	}
	path := ""
	if own {
		path = python.Path
	}
	err := c.store.Add(dir, path)
	if err != nil {
		c.s.log.Warn("that the folder may run cannot be remembered", zap.String("folder", dir), zap.Error(err))
	}
	return err == nil
}
