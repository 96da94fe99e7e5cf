package ranks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// testPython is the interpreter for tests with the real agent: DIPLS_TEST_PYTHON or the repository's own environment.
func testPython(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Python processes")
	}
	python := os.Getenv("DIPLS_TEST_PYTHON")
	if python == "" {
		python, _ = filepath.Abs("../.venv/bin/python")
	}
	if _, err := os.Stat(python); err != nil {
		t.Skip("no interpreter with the agent's packages: run make setup, or set DIPLS_TEST_PYTHON")
	}
	return python
}

func startPython(t testing.TB, change ...func(*Options)) *Node {
	t.Helper()
	o := Options{Python: testPython(t), Dir: t.TempDir(), Log: testLog(t)}
	for _, f := range change {
		f(&o)
	}
	begin := time.Now()
	n, err := StartNode(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("node in %v", time.Since(begin))
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

func TestPythonPool(t *testing.T) {
	n := startPython(t, func(o *Options) { o.Log = zap.NewNop() })
	begin := time.Now()
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("8 ranks in %v, %v, %v", time.Since(begin), p.Backend(), p.Notices())
	pids := map[string]bool{fmt.Sprint(os.Getpid()): true, fmt.Sprint(n.PID()): true}
	for _, r := range p.Ranks() {
		got := execute(t, r, "import os; print(os.getpid())")
		if pid := strings.TrimSpace(got.output()); pid != fmt.Sprint(r.PID()) || pids[pid] {
			t.Errorf("%s printed pid %q; its pid is %d; others are %v", r.Name(), pid, r.PID(), pids)
		} else {
			pids[pid] = true
		}
	}
	begin = time.Now()
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
	t.Logf("shutdown in %v", time.Since(begin))
	begin = time.Now()
	p, err = n.StartPool(testContext(t), PoolSpec{Ranks: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("8 ranks again in %v, %v", time.Since(begin), p.Ranks()[0].Device())
}
