package host

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/zap"
)

func testAgent(t *testing.T) *agentSource {
	t.Helper()
	a, err := readAgent(fstest.MapFS{
		"__main__.py":                            {Data: []byte("main")},
		"dip_agent/__init__.py":                  {Data: nil},
		"dip_agent/node.py":                      {Data: []byte("node")},
		"dip_agent/__pycache__/node.cpython.pyc": {Data: []byte("bytecode")},
		"dip_agent.egg-info/PKG-INFO":            {Data: []byte("metadata")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestUnpack(t *testing.T) {
	a := testAgent(t)
	if len(a.files) != 3 {
		t.Errorf("files %v", a.files)
	}
	parent := filepath.Join(t.TempDir(), "agent")
	dir, err := a.unpack(testContext(t), parent)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(dir) != a.hash {
		t.Errorf("unpacked into %s", dir)
	}
	check := func(what string) {
		t.Helper()
		if again, err := a.unpack(testContext(t), parent); again != dir || err != nil {
			t.Errorf("%s: %s, %v", what, again, err)
		}
		if err := a.verify(dir); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("untouched")
	node := filepath.Join(dir, "dip_agent", "node.py")
	os.WriteFile(node, []byte("evil"), 0o600)
	check("changed file")
	os.Remove(node)
	check("missing file")
	os.Chmod(dir, 0o777)
	check("open to others")
	os.RemoveAll(dir)
	os.WriteFile(dir, nil, 0o600)
	check("a file in its place")
	os.MkdirAll(filepath.Join(dir, "dip_agent", "__pycache__"), 0o700)
	check("Python's bytecode beside it")
	if entries, _ := os.ReadDir(parent); len(entries) != 2 { // and the lock
		t.Errorf("left beside it: %v", entries)
	}
}

// What has not been used for a long time is removed when a new version comes. Starting a node with it counts as use.
// The agent of a program that runs for months is not taken for one that nobody uses.
func TestKeepAgent(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", os.Getenv("XDG_CACHE_HOME"))
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	a, err := embeddedAgent()
	if err != nil {
		t.Fatal(err)
	}
	KeepAgent() // there is none
	dir, err := a.unpack(testContext(t), filepath.Join(cache, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-keepAgents)
	if err := os.Chtimes(dir, old, old); err != nil {
		t.Fatal(err)
	}
	KeepAgent()
	if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) > time.Hour {
		t.Errorf("%v, %v", info, err)
	}
}

func TestUnpackRemovesUnused(t *testing.T) {
	parent := t.TempDir()
	age := func(dir string, by time.Duration) {
		t.Helper()
		then := time.Now().Add(-by)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
	}
	unpack := func(text string) string {
		t.Helper()
		a, err := readAgent(fstest.MapFS{"__main__.py": {Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		dir, err := a.unpack(testContext(t), parent)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	unused, recent, used := unpack("unused"), unpack("recent"), unpack("used")
	half := filepath.Join(parent, "0123.new")
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	age(recent, keepAgents-time.Hour)
	for _, dir := range []string{unused, used, half} {
		age(dir, keepAgents+time.Hour)
	}
	unpack("used")
	unpack("new")
	for dir, want := range map[string]bool{unused: false, half: false, recent: true, used: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestUnpackConcurrently(t *testing.T) {
	a := testAgent(t)
	for range 20 {
		parent := t.TempDir()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := a.unpack(testContext(t), parent); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := a.verify(filepath.Join(parent, a.hash)); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackAgent(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	runtime, err := planRuntimeDir(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.remove()
	dir, err := unpackAgent(testContext(t), runtime)
	if err != nil || !strings.HasPrefix(dir, cache) {
		t.Fatalf("%s, %v", dir, err)
	}
	for _, name := range []string{"__main__.py", "dip_agent/__init__.py"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	// A cache that cannot be written is no obstacle.
	file := filepath.Join(cache, "file")
	os.WriteFile(file, nil, 0o600)
	t.Setenv("XDG_CACHE_HOME", file)
	if dir, err = unpackAgent(testContext(t), runtime); err != nil || !strings.HasPrefix(dir, runtime.path) {
		t.Errorf("%s, %v", dir, err)
	}
}
