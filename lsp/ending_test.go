package lsp_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"dipls/dipexec/journal"
	"dipls/internal/lsptest"
	"dipls/lsp"
	"dipls/session"
)

// deaf is a cell that no interrupt reaches, like one that waits in a collective. Its exit handlers cannot run.
const deaf = `# %% Deaf target="remote"
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("deaf", flush=True)
ctypes.CDLL(None).pause()
# %% Background target="remote"
import atexit, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
atexit.register(lambda: open("bye", "w").close())
# %% Then target="remote"
x = 1
`

// holdingDeaf starts an editor of a workspace whose ranks are deaf.
func holdingDeaf(t *testing.T, server lsptest.Server) *lsptest.Editor {
	t.Helper()
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", deaf)
	runDeaf(e)
	return e
}

func runDeaf(e *lsptest.Editor) {
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	for rank := range 2 {
		e.Await("the cell", lsptest.Has("run", run), lsptest.Has("rank", rank), lsptest.Contains("text", "deaf"))
	}
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 3})
}

// A rank that hangs does not keep the server from ending.
func TestEndWhileRanksHang(t *testing.T) {
	needPython(t)
	e := holdingDeaf(t, func(ctx context.Context, stream io.ReadWriteCloser) error {
		store := journal.Open(journal.Options{})
		defer store.Close()
		sessions := lsp.NewSessions(func(dir string) session.API { return session.New(session.Options{Dir: dir, Journal: store}) }, nil)
		served := lsp.Serve(ctx, stream, lsp.Deps{Sessions: sessions, Log: zap.NewNop(), Version: "test"})
		return errors.Join(served, sessions.Close(context.Background()))
	})
	if err := e.Shutdown(); err != nil {
		t.Error(err)
	}
}

// The client is told which runs a restart ends, and exit handlers run.
func TestRestartTellsWhatItCutsOff(t *testing.T) {
	needPython(t)
	e := holdingDeaf(t, program(t))
	for _, command := range []string{"dip.restartPool", "dip.killPool"} {
		e.Command(command, nil, nil)
		e.Await("word of the ranks", lsptest.Has("event", "log"), lsptest.Contains("text", "ranks 0-1 did not end in time, and were killed"))
		if command == "dip.restartPool" {
			e.Mark()
			runDeaf(e)
		}
	}
	e.Command("dip.restartPool", nil, nil)
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2}), "ok")
	e.Command("dip.restart", nil, nil)
	e.Await("word of threads", lsptest.Has("event", "log"), lsptest.Has("level", "warning"), lsptest.Contains("text", "1 thread was cut off on ranks 0-1"))
	if _, err := os.Stat(filepath.Join(e.Folder, "bye")); err != nil {
		t.Errorf("no exit handler has run: %v", err)
	}
}
