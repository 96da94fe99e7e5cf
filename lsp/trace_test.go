package lsp_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"dipls/internal/lsptest"
)

// A trace goes from the editor's command to the last message about its run.
func TestTrace(t *testing.T) {
	needPython(t)
	program(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trace.json")
	t.Run("session", func(t *testing.T) {
		server := lsptest.Program(os.Environ(), path, "lsp", "--trace", file)
		e := lsptest.Start(t, lsptest.Options{Server: server, Init: events})
		e.Open("a.py", "print(1)\n")
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
		e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run))
	})

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var told []struct {
		Ph, Name, ID string
		TS           float64
		Args         struct{ Name string }
	}
	if err := json.Unmarshal(data, &told); err != nil {
		t.Fatal(err)
	}
	at := map[string]float64{} // the first of each
	for _, e := range told {
		if _, ok := at[e.Name]; !ok && e.Ph != "M" && e.Ph != "e" {
			at[e.Name] = e.TS
		}
	}
	command, run, first := at["workspace/executeCommand"], at["run"], at["first byte"]
	if command == 0 || run < command || first < run {
		t.Errorf("command at %v, run at %v, first byte at %v", command, run, first)
	}
	if _, ok := at["write"]; !ok {
		t.Error("nothing is told of what was written")
	}
}
