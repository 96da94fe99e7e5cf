package ranks

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// agentFiles is the Python agent. The pattern says all: because without it embed leaves out names that begin with "_", such as
// __main__.py.
//
//go:embed all:agent/src
var agentFiles embed.FS

// agentSource is the embedded agent as an ordinary set of files.
type agentSource struct {
	files map[string][]byte // by slash-separated path
	hash  string            // of names and contents
}

var embeddedAgent = sync.OnceValues(func() (*agentSource, error) {
	src, err := fs.Sub(agentFiles, "agent/src")
	if err != nil {
		return nil, err
	}
	return readAgent(src)
})

// readAgent reads the agent's files, without what Python leaves beside them.
func readAgent(src fs.FS) (*agentSource, error) {
	a := &agentSource{files: make(map[string][]byte)}
	sum := sha256.New()
	err := fs.WalkDir(src, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path.Base(name) == "__pycache__" || strings.HasSuffix(name, ".egg-info")):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		data, err := fs.ReadFile(src, name)
		if err != nil {
			return err
		}
		a.files[name] = data
		fmt.Fprintf(sum, "%q %d\n", name, len(data)) // WalkDir goes in lexical order
		sum.Write(data)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("embedded agent: %w", err)
	}
	a.hash = hex.EncodeToString(sum.Sum(nil)[:16])
	return a, nil
}

// unpackAgent makes sure that the agent lies on disk and returns its directory: in the user's cache under the
// hash of its content, so that versions do not meet and Python may keep its bytecode there, or, if the cache cannot be
// written, in the session's runtime directory.
func unpackAgent(runtime string) (string, error) {
	a, err := embeddedAgent()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err == nil {
		var dir string
		if dir, err = a.unpack(filepath.Join(cache, "dipls", "agent")); err == nil {
			return dir, nil
		}
	}
	dir, err2 := a.unpack(filepath.Join(runtime, "agent"))
	if err2 != nil {
		return "", fmt.Errorf("unpack the agent: %w", errors.Join(err, err2))
	}
	return dir, nil
}

// unpack makes sure that parent/HASH holds the agent and returns its path. Servers that do so at the same time do not
// disturb each other: a directory appears whole, and a damaged one is moved away whole.
func (a *agentSource) unpack(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	dir := filepath.Join(parent, a.hash)
	var err error
	for range 5 { // another server may be repairing, too
		if err = a.verify(dir); err == nil {
			return dir, nil
		}
		if err = a.replace(parent, dir); err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return "", err
}

// verify compares a directory with the agent.
func (a *agentSource) verify(dir string) error {
	if err := checkPrivate(dir); err != nil {
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

// replace puts the agent in the place of dir, which is missing or damaged. The error wraps fs.ErrExist if somebody else was
// quicker.
func (a *agentSource) replace(parent, dir string) error {
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for name, data := range a.files {
		file := filepath.Join(tmp, "src", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
	}
	src := filepath.Join(tmp, "src")
	if err := os.Rename(src, dir); err == nil || a.verify(dir) == nil {
		return nil // we, or somebody who was quicker
	}
	// What is in the way goes into our temporary directory, and with it.
	if err := os.Rename(dir, filepath.Join(tmp, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(src, dir)
}
