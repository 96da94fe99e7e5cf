package lsp_test

import (
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/zap"

	"dipls/internal/lsptest"
	"dipls/lsp"
	"dipls/ranks/fakerank"
	"dipls/session"
)

// shared starts servers that share their sessions.
func shared(t *testing.T, m *fakerank.Host) lsptest.Server {
	sessions := lsp.NewSessions(func(dir string) session.API { return session.New(session.Options{Dir: dir, Host: m}) }, nil)
	t.Cleanup(func() {
		patience, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := sessions.Close(patience); err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context, stream io.ReadWriteCloser) error {
		return lsp.Serve(ctx, stream, lsp.Deps{Sessions: sessions, Log: zap.NewNop(), ParentPoll: 10 * time.Millisecond})
	}
}

// Of two editors of a folder, each is asked what its own commands need, and has its own settings counted. Both hear of all runs.
func TestSecondEditor(t *testing.T) {
	server := shared(t, fakerank.NewHost(fakerank.Config{Missing: []string{"zmq"}}))
	first := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{}})
	second := lsptest.Start(t, lsptest.Options{Server: server, Folder: first.Folder, Init: events, Settings: lsptest.Object{}})
	for _, e := range []*lsptest.Editor{first, second} {
		e.Open("a.py", "# %%\nprint hello\n")
		e.Command("dip.autodip", lsptest.Object{"uri": e.URI("a.py")}, nil) // from then on it hears of the folder
	}
	question := lsptest.Method("window/showMessageRequest")
	for _, of := range [][2]*lsptest.Editor{{second, first}, {first, second}} {
		own, other := of[0], of[1]
		own.Mark()
		other.Mark()
		run := own.Run("dip.runCell", lsptest.Object{"uri": own.URI("a.py"), "cell": 1})
		own.Await("the question", question, lsptest.Contains("message", "lacks"))
		finished(own, run, "died")
		finished(other, run, "died")
		if asked := other.Messages(question); len(asked) > 0 {
			t.Errorf("the other one was asked: %v", asked)
		}
	}
	second.Settings(lsptest.Object{"python": "/no/python"})
	run := second.Run("dip.runCell", lsptest.Object{"uri": second.URI("a.py"), "cell": 1})
	first.Await("its end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Contains("reason", "/no/python"))
}
