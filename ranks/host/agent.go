package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"dipls/internal/flock"
	"dipls/internal/private"
	"dipls/ranks/agent"
)

// keepAgents is how long an unpacked agent is kept while no server uses it.
const keepAgents = 30 * 24 * time.Hour

// agentSource is the embedded agent as an ordinary set of files.
type agentSource struct {
	files map[string][]byte // by slash-separated path
	hash  string            // of names and contents
}

var embeddedAgent = sync.OnceValues(func() (*agentSource, error) { return readAgent(agent.Source()) })

// readAgent reads the agent's files, without what Python leaves beside them.
func readAgent(src fs.FS) (*agentSource, error) {
	a := &agentSource{files: make(map[string][]byte)}
	sum := sha256.New()
	err := agent.Walk(src, func(name string, data []byte) error {
		a.files[name] = data
		fmt.Fprintf(sum, "%q %d\n", name, len(data))
		sum.Write(data)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("embedded agent: %w", err)
	}
	a.hash = hex.EncodeToString(sum.Sum(nil)[:16])
	return a, nil
}

// unpackAgent makes sure that the agent is on disk and returns its directory. That is in the user's cache, under the hash of the content: each
// version has its own, in which Python can keep its bytecode. If the cache cannot be written, or is open to others, it is in the session's
// directory.
func unpackAgent(ctx context.Context, runtime *runtimeDir) (string, error) {
	a, err := embeddedAgent()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err == nil {
		var dir string
		if dir, err = a.unpack(ctx, filepath.Join(cache, "agent")); err == nil {
			return dir, nil
		}
	}
	err2 := runtime.make()
	var dir string
	if err2 == nil {
		dir, err2 = a.unpack(ctx, filepath.Join(runtime.path, "agent"))
	}
	if err2 != nil {
		return "", fmt.Errorf("unpack the agent: %w", errors.Join(err, err2))
	}
	return dir, nil
}

// unpack makes sure that parent/HASH holds the agent and returns its path. A lock keeps servers that do this at the same time from seeing a
// directory that is half made or half removed.
func (a *agentSource) unpack(ctx context.Context, parent string) (string, error) {
	if err := private.Dir(parent); err != nil {
		return "", err
	}
	unlock, err := flock.File(ctx, filepath.Join(parent, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(parent, a.hash)
	if a.verify(dir) != nil {
		if err := a.replace(dir); err != nil {
			return "", err
		}
		removeUnused(parent, time.Now().Add(-keepAgents))
	}
	now := time.Now()
	return dir, os.Chtimes(dir, now, now) // it is in use: see removeUnused
}

// KeepAgent keeps the agent of this program from being removed while the program runs: another version would do that after keepAgents.
func KeepAgent() {
	a, err := embeddedAgent()
	if err != nil {
		return
	}
	cache, err := cacheDir()
	if err != nil {
		return
	}
	dir := filepath.Join(cache, "agent", a.hash)
	if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > keepAgents/2 {
		_ = os.Chtimes(dir, time.Now(), time.Now()) // else the next time
	}
}

// verify compares a directory with the agent.
func (a *agentSource) verify(dir string) error {
	if err := private.Check(dir); err != nil {
		return err
	}
	for name, want := range a.files {
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s in %s is damaged", name, dir)
		}
	}
	return nil
}

// replace puts the agent into dir, which is missing or damaged.
func (a *agentSource) replace(dir string) error {
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil { // a server that was killed has left it
		return err
	}
	defer os.RemoveAll(tmp)
	for name, data := range a.files {
		file := filepath.Join(tmp, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// removeUnused removes agents of other versions that have not been used since then, and half unpacked ones of servers that were killed.
func removeUnused(parent string, since time.Time) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && info.ModTime().Before(since) {
			_ = os.RemoveAll(filepath.Join(parent, e.Name())) // else the next one does
		}
	}
}
