package lsp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"dipls/dipexec/journal"
	"dipls/internal/leaktest"
	"dipls/internal/lsptest"
	"dipls/internal/testpython"
	"dipls/lsp"
	"dipls/ranks/fakerank"
	"dipls/session"
)

// testTimeout is for what should take no time at all.
const testTimeout = 2 * time.Minute

// quick is how long processes are asked to end that are known to refuse, or to answer at once.
const quick = 100 * time.Millisecond

func TestMain(m *testing.M) {
	if cache, err := exec.Command("go", "env", "GOCACHE").Output(); err == nil { // which would move with the user's caches
		os.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	}
	tests := leaktest.Begin()
	os.Setenv("CUDA_VISIBLE_DEVICES", "")
	os.Setenv("DIPLS_PYTHON", testpython.Path())
	if err := lsptest.Record(tests.Dir); err != nil {
		panic(err)
	}
	tests.Main(m, validateMessages)
}

// validateMessages checks all messages of the servers of all tests with another implementation of LSP.
func validateMessages() error {
	python := testpython.Path()
	if exec.Command(python, "-c", "import lsprotocol").Run() != nil {
		fmt.Fprintln(os.Stderr, "the messages are not validated: lsprotocol is missing; run make setup")
		return nil
	}
	if err := lsptest.Validate(python, "../internal/lsptest/validate.py", "dip/", "test/"); err != nil {
		return fmt.Errorf("messages that LSP does not know: %w", err)
	}
	return nil
}

// needPython skips a test that runs cells where there is no Python for tests.
func needPython(t testing.TB) {
	t.Helper()
	testpython.Need(t)
}

// startFaked starts an editor with a faked server, and gives the machine of that.
func startFaked(t testing.TB, o lsptest.Options) (*lsptest.Editor, *fakerank.Host) {
	t.Helper()
	m := fakerank.NewHost(fakerank.Config{})
	o.Server = faked(t, m)
	return lsptest.Start(t, o), m
}

// faked is a server in the process of the test, whose sessions need neither Python nor processes: cells are written in the language of [fakerank].
func faked(t testing.TB, m *fakerank.Host) lsptest.Server {
	return inProcess(t, func(o *session.Options) {
		o.Host = m
		o.Ladder.Ask, o.Ladder.Interrupt, o.Ladder.Terminate, o.Ladder.Kill = quick, quick, quick, testTimeout
	})
}

// inProcess is a server in the process of the test, with sessions of its own.
func inProcess(t testing.TB, change ...func(*session.Options)) lsptest.Server {
	return func(ctx context.Context, stream io.ReadWriteCloser) error {
		log := zap.NewNop()
		if testing.Verbose() {
			log = zaptest.NewLogger(t)
		}
		store := journal.Open(journal.Options{})
		defer store.Close()
		sessions := lsp.NewSessions(func(dir string) session.API {
			o := session.Options{Dir: dir, Log: log, Journal: store, Trust: trusted()}
			for _, apply := range change {
				apply(&o)
			}
			return lsp.NewTelling(session.New(o))
		}, nil)
		served := lsp.Serve(ctx, stream, lsp.Deps{Sessions: sessions, Log: log, Version: "test", ParentPoll: 10 * time.Millisecond})
		patience, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		return errors.Join(served, sessions.Close(patience))
	}
}

// binary builds the program once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "dipls-under-test")
	out, err := exec.Command("go", "build", "-o", path, "dipls/cmd/dipls").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// everyServer runs a test with a server in this process, and with the program.
func everyServer(t *testing.T, test func(*testing.T, lsptest.Server)) {
	t.Run("in process", func(t *testing.T) { test(t, inProcess(t)) })
	t.Run("program", func(t *testing.T) { test(t, program(t)) })
}

// program is the server that users have, which is built without the race detector.
func program(t testing.TB) lsptest.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return lsptest.Program(os.Environ(), path, "lsp")
}

// unindent takes the tabs off the lines of a raw string.
func unindent(text string) string {
	return strings.ReplaceAll(strings.TrimPrefix(text, "\n"), "\t", "")
}
