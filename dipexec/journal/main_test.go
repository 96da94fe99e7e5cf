package journal

import (
	"path/filepath"
	"testing"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "runs")
	}
	j := Open(o)
	t.Cleanup(j.Close)
	return j
}

// readRun reads a journal to its end.
func readRun(t *testing.T, dir string) (Record, []event.Event) {
	t.Helper()
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Record, eventtest.All(t, r)
}
