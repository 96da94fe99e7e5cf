// Package leaktest runs the tests of a package that starts processes, and looks for what they have left behind.
package leaktest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// Run is one run of a package's tests.
type Run struct {
	Dir    string // of the run: sessions' directories, caches and state are in it
	before []string
}

// Begin gives the tests directories of their own, so that what is left there is theirs.
func Begin() *Run {
	dir, err := os.MkdirTemp("", "d") // short, since paths of sockets must be
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{
		"DIPLS_RUNTIME_DIR": "", "XDG_RUNTIME_DIR": dir, "XDG_CACHE_HOME": dir + "/cache", "XDG_STATE_HOME": dir + "/state",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	return &Run{Dir: dir, before: Children()}
}

// Main runs the tests, checks what they have left, and ends the process. More checks may be named, which come before these.
func (r *Run) Main(m *testing.M, more ...func() error) {
	code := m.Run()
	for _, check := range append(more, goroutines, r.children, r.sessions) {
		if err := check(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(r.Dir)
	os.Exit(code)
}

func goroutines() error {
	if err := goleak.Find(); err != nil {
		return fmt.Errorf("goroutines left: %w", err)
	}
	return nil
}

// children finds child processes that were not there before.
func (r *Run) children() error {
	left := slices.DeleteFunc(Children(), func(pid string) bool { return slices.Contains(r.before, pid) })
	if len(left) > 0 {
		return fmt.Errorf("child processes left: %v", left)
	}
	return nil
}

// sessions finds directories of sessions, which go with what is in them.
func (r *Run) sessions() error {
	if left, _ := filepath.Glob(r.Dir + "/dipls/*/"); len(left) > 0 {
		return fmt.Errorf("directories of sessions left: %v, with %v", left, Sockets("*"))
	}
	return nil
}

// Children are the ids of the processes that have this one as their parent. On systems other than Linux there are none.
func Children() (pids []string) {
	threads, _ := filepath.Glob("/proc/self/task/*/children")
	for _, thread := range threads {
		data, _ := os.ReadFile(thread)
		pids = append(pids, strings.Fields(string(data))...)
	}
	return pids
}

// Sockets are the paths in the directories of all sessions whose names fit a pattern.
func Sockets(pattern string) []string {
	paths, _ := filepath.Glob(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "dipls", "*", pattern))
	return paths
}
