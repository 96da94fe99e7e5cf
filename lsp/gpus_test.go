package lsp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/internal/lsptest"
)

// A client that lets the user choose GPUs is told which there are, or why that cannot be said.
func TestGPUs(t *testing.T) {
	type gpu struct {
		Index      int
		Name       string
		TotalBytes int64 `json:"total_bytes"`
		UsedBytes  int64 `json:"used_bytes"`
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("CUDA_VISIBLE_DEVICES", "1")
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	var reply struct{ GPUs []gpu }
	e.Command("dip.gpus", nil, &reply)
	if reply.GPUs == nil || len(reply.GPUs) != 0 {
		t.Errorf("without nvidia-smi: %v, want none", reply.GPUs)
	}

	smi := func(script string) {
		if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	smi("echo '0, GPU-6a9ab2dd-1234-5678-9abc-def012345678, NVIDIA H100 80GB HBM3, 81559, 4'\n" +
		"echo '1, GPU-6a77c0de-1234-5678-9abc-def012345678, NVIDIA RTX A6000, 49140, 1221'\n")
	e.Command("dip.gpus", nil, &reply)
	want := []gpu{{Index: 0, Name: "NVIDIA RTX A6000", TotalBytes: 49140 << 20, UsedBytes: 1221 << 20}}
	if diff := cmp.Diff(want, reply.GPUs); diff != "" {
		t.Error(diff)
	}

	smi("exit 9\n")
	if err := e.TryCommand("dip.gpus", nil, nil); err == nil || !strings.Contains(err.Error(), "nvidia-smi") {
		t.Errorf("%v does not say what has failed", err)
	}
}

// The local namespace says which GPUs are visible, and their numbers are those that a pool is made of.
func TestGPUsOfTheLocalNamespace(t *testing.T) {
	needPython(t)
	dir := t.TempDir()
	script := "#!/bin/sh\necho '0, GPU-6a9ab2dd, One, 81559, 4'\necho '1, GPU-6a77c0de, Two, 49140, 1221'\n"
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events})
	e.Open("a.py", "# %%\nimport os\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'\n")
	ran(e, "a.py", 1)
	var reply struct{ GPUs []struct{ Name string } }
	e.Command("dip.gpus", lsptest.Object{"uri": e.URI("a.py")}, &reply)
	if len(reply.GPUs) != 1 || reply.GPUs[0].Name != "Two" {
		t.Errorf("told of %v", reply.GPUs)
	}
}
