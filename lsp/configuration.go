package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// configurationPatience is how long a command waits for the client's settings before it goes on without them.
const configurationPatience = 5 * time.Second

// configuration is the settings of a connection: the defaults, then what initializationOptions says, then what the client says of a folder
// when it is asked (workspace/configuration) or tells by itself (didChangeConfiguration).
type configuration struct {
	s *server

	mu     sync.Mutex // guards what follows
	told   Settings   // the defaults and initializationOptions
	base   Settings   // of every folder of which nothing else is known
	byDir  map[string]Settings
	fresh  chan struct{} // closed once the client's last answer is in, or there will be none
	rounds int           // how many fetches have begun: only the last one counts
}

func newConfiguration(s *server) *configuration {
	return &configuration{s: s, told: defaultSettings(), base: defaultSettings(), byDir: map[string]Settings{}, fresh: make(chan struct{})}
}

func (c *configuration) methods() map[string]rpc.Method {
	return map[string]rpc.Method{protocol.MethodWorkspaceDidChangeConfiguration: rpc.Notification(c.didChange)}
}

// initialize takes initializationOptions.
func (c *configuration) initialize(options json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell("initializationOptions", c.told.apply(options))
	c.base = c.told
}

// of returns the settings of a folder as far as they are known.
func (c *configuration) of(dir string) Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.byDir[dir]; ok {
		return s
	}
	return c.base
}

// ofDocument returns the settings that count for a document.
func (c *configuration) ofDocument(d *docs.Snapshot) Settings { return c.of(c.s.folderOf(d.Path)) }

// known reports whether the client has told its settings since it was asked last, or will not.
func (c *configuration) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.fresh:
		return true
	default:
		return false
	}
}

// await waits until the settings are known, or configurationPatience is over.
func (c *configuration) await(ctx context.Context) {
	c.mu.Lock()
	fresh := c.fresh
	c.mu.Unlock()
	timer := time.NewTimer(configurationPatience)
	defer timer.Stop()
	select {
	case <-fresh:
	case <-timer.C:
		c.s.log.Warn("the editor has not told its settings; going on without them")
		c.mu.Lock()
		if fresh == c.fresh {
			c.unlock() // nobody else has to wait as long
		}
		c.mu.Unlock()
	case <-ctx.Done():
	}
}

// pulls reports whether the client can be asked.
func (c *configuration) pulls() bool {
	w := c.s.client.Can.Workspace
	return w != nil && w.Configuration != nil && *w.Configuration
}

// unlock wakes those that wait for the client's answer. mu is held.
func (c *configuration) unlock() {
	select {
	case <-c.fresh:
	default:
		close(c.fresh)
	}
}

// refetch asks the client for the settings of all folders, if it can be asked. From now on, whoever needs settings waits for the answer.
func (c *configuration) refetch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rounds++
	round := c.rounds
	select {
	case <-c.fresh:
		c.fresh = make(chan struct{})
	default:
	}
	c.s.goOn("settings", func() { c.fetch(round) })
}

// fetch asks the client once, and waits for the answer.
func (c *configuration) fetch(round int) {
	if !c.pulls() {
		c.settle(round, nil, nil)
		return
	}
	c.s.mu.Lock()
	dirs := append([]string{""}, c.s.dirs...)
	c.s.mu.Unlock()
	section := settingsSection
	params := &protocol.ConfigurationParams{}
	for _, dir := range dirs {
		item := protocol.ConfigurationItem{Section: &section}
		if dir != "" {
			item.ScopeURI = ptr(uri.File(dir))
		}
		params.Items = append(params.Items, item)
	}
	var answers []protocol.LSPAny
	if err := c.s.client.Call(c.s.ctx, protocol.MethodWorkspaceConfiguration, params, &answers); err != nil {
		if c.s.ctx.Err() == nil {
			c.s.log.Warn("the editor did not tell its settings", zap.Error(err))
		}
		c.settle(round, nil, nil)
		return
	}
	c.settle(round, dirs, answers)
}

// settle enters the answers for directories; the first one is for everything that is in none of them.
func (c *configuration) settle(round int, dirs []string, answers []protocol.LSPAny) {
	c.mu.Lock()
	if round == c.rounds {
		if len(dirs) > 0 {
			clear(c.byDir) // folders may be gone
		}
		for i, answer := range answers[:min(len(dirs), len(answers))] {
			settings := c.told
			c.tell(dirs[i], settings.apply(json.RawMessage(answer)))
			if i == 0 {
				c.base = settings
				continue
			}
			c.byDir[dirs[i]] = settings
		}
		c.unlock()
	}
	c.mu.Unlock()
	c.s.feed.tell(change{settings: true})
}

// didChange takes settings that the client tells, or asks for them if it does not.
func (c *configuration) didChange(_ context.Context, p *protocol.DidChangeConfigurationParams) error {
	if c.pulls() {
		c.refetch()
		return nil
	}
	var told map[string]json.RawMessage
	if !isNothing(json.RawMessage(p.Settings)) {
		if err := json.Unmarshal(p.Settings, &told); err != nil {
			return fmt.Errorf("settings: want an object")
		}
	}
	c.mu.Lock()
	object, nested := told[settingsSection]
	if !nested {
		object = json.RawMessage(p.Settings)
	}
	c.base = c.told
	c.tell("didChangeConfiguration", c.base.apply(object))
	clear(c.byDir)
	c.mu.Unlock()
	c.s.feed.tell(change{settings: true})
	return nil
}

// tell warns of settings that are wrong.
func (c *configuration) tell(where string, problems []string) {
	for _, problem := range problems {
		c.s.log.Warn(problem, zap.String("in", where))
		c.s.client.ShowMessage(protocol.MessageTypeWarning, problem)
	}
}

// see returns whose output to show where neither the cell nor the command says; a value that makes no sense counts as none.
func (s Settings) see() ranklist.List {
	list, err := ranklist.ParseRanks(s.See)
	if err != nil {
		return ranklist.List{}
	}
	return list
}
