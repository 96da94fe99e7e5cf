package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeNvidiaSMI puts an nvidia-smi on PATH, and nothing else.
func fakeNvidiaSMI(t *testing.T, stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncat <<'END'\n" + stdout + "END\ncat >&2 <<'END'\n" + stderr + "END\n" + fmt.Sprintf("exit %d\n", code)
	// cat is not on that PATH.
	script = strings.ReplaceAll(script, "cat ", "/bin/cat ")
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

const twoGPUs = `0, GPU-6a9ab2dd-1234-5678-9abc-def012345678, NVIDIA H100 80GB HBM3, 81559, 4
1, GPU-6a77c0de-1234-5678-9abc-def012345678, NVIDIA RTX A6000, 49140, 1221
`

func TestGPUMemory(t *testing.T) {
	for _, test := range []struct {
		name, stdout string
		code         int
		want         map[int]int64
		err          string
	}{
		{"two GPUs", "17, 100\n18, 1\n17, 20\n", 0, map[int]int64{17: 120 << 20, 18: 1 << 20}, ""},
		{"nobody computes", "", 0, map[int]int64{}, ""},
		{"none found", "No running processes found\n", 0, map[int]int64{}, ""},
		{"not told", "17, [N/A]\n18, 2\n", 0, map[int]int64{18: 2 << 20}, ""},
		{"broken", "no driver\n", 9, nil, "ask nvidia-smi for the memory of processes: exit status 9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fakeNvidiaSMI(t, test.stdout, "", test.code)
			got, err := (Local{}).GPUMemory(testContext(t))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if test.err != "" || err != nil {
				wantError(t, err, test.err)
			}
		})
	}
	t.Setenv("PATH", t.TempDir())
	if got, err := (Local{}).GPUMemory(testContext(t)); got != nil || err != nil {
		t.Errorf("without nvidia-smi: %v, %v", got, err)
	}
}

func TestGPULoad(t *testing.T) {
	fakeNvidiaSMI(t, "GPU-6a9a, 97\nGPU-6a77, 0\nGPU-cut, [N/A]\nwhat?\n", "", 0)
	got, err := (Local{}).GPULoad(testContext(t))
	if diff := cmp.Diff(map[string]int{"GPU-6a9a": 97, "GPU-6a77": 0}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	fakeNvidiaSMI(t, "no driver\n", "", 9)
	_, err = (Local{}).GPULoad(testContext(t))
	wantError(t, err, "ask nvidia-smi how busy GPUs are: exit status 9")
	t.Setenv("PATH", t.TempDir())
	if got, err := (Local{}).GPULoad(testContext(t)); len(got) > 0 || err != nil {
		t.Errorf("without nvidia-smi: %v, %v", got, err)
	}
}

func TestListGPUs(t *testing.T) {
	h100 := GPU{0, "GPU-6a9ab2dd-1234-5678-9abc-def012345678", "NVIDIA H100 80GB HBM3", 81559, 4}
	a6000 := GPU{1, "GPU-6a77c0de-1234-5678-9abc-def012345678", "NVIDIA RTX A6000", 49140, 1221}
	at := func(g GPU, index int) GPU { g.Index = index; return g }
	for _, test := range []struct {
		name, stdout, stderr string
		code                 int
		mask                 string // "-": not set
		want                 []GPU
		err                  string
	}{
		{"two", twoGPUs, "", 0, "-", []GPU{h100, a6000}, ""},
		{"none", "No devices were found\n", "", 0, "-", nil, ""},
		{"none, exit code", "No devices were found\n", "", 6, "-", nil, ""},
		{"mismatch", "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n", "", 18, "-", nil,
			"nvidia-smi failed (exit status 18), so no GPU can be used: Failed to initialize NVML: Driver/library version mismatch " +
				"NVML library version: 550.54; set CUDA_VISIBLE_DEVICES= for CPU ranks"},
		{"no driver", "", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9, "-", nil, "couldn't communicate"},
		{"shared memory", "0, GPU-1, NVIDIA GB10, [N/A], [N/A]\n", "", 0, "-", []GPU{{0, "GPU-1", "NVIDIA GB10", 0, 0}}, ""},
		{"rubbish", "what?\n", "", 0, "-", nil, "output of nvidia-smi"},
		{"order", "1, GPU-1, A, 1, 1\n", "", 0, "-", nil, `GPU number "1" in line 1`},

		{"mask numbers", twoGPUs, "", 0, "1,0", []GPU{at(a6000, 0), at(h100, 1)}, ""},
		{"mask one", twoGPUs, "", 0, " 1 ", []GPU{at(a6000, 0)}, ""},
		{"mask none", twoGPUs, "", 0, "", nil, ""},
		{"mask -1", twoGPUs, "", 0, "-1", nil, ""},
		{"mask none, broken", "", "no driver\n", 9, "", nil, ""},
		{"mask -1, broken", "", "no driver\n", 9, "-1,0", nil, ""},
		{"mask ends", twoGPUs, "", 0, "1,9,0", []GPU{at(a6000, 0)}, ""},
		{"mask UUID", twoGPUs, "", 0, a6000.ID, []GPU{at(a6000, 0)}, ""},
		{"mask prefix", twoGPUs, "", 0, "GPU-6a7,GPU-6a9", []GPU{at(a6000, 0), at(h100, 1)}, ""},
		{"mask short prefix", twoGPUs, "", 0, "GPU-6a", nil, "GPU-6a fits more than one GPU"},
		{"mask twice", twoGPUs, "", 0, "0,GPU-6a9", nil, "twice"},
		{"mask MIG", twoGPUs, "", 0, "MIG-1111,0", []GPU{{Index: 0, ID: "MIG-1111"}, at(h100, 1)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CUDA_VISIBLE_DEVICES", test.mask)
			if test.mask == "-" {
				os.Unsetenv("CUDA_VISIBLE_DEVICES")
			}
			fakeNvidiaSMI(t, test.stdout, test.stderr, test.code)
			got, err := ListGPUs(testContext(t), Local{})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, error %v, want %s", got, err, test.err)
				}
				return
			}
			if err != nil || len(got)+len(test.want) > 0 && !cmp.Equal(got, test.want) {
				t.Errorf("error %v, %s", err, cmp.Diff(test.want, got))
			}
		})
	}
	t.Run("no nvidia-smi", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if got, err := ListGPUs(testContext(t), Local{}); len(got) != 0 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestSelectGPUs(t *testing.T) {
	visible := []GPU{{Index: 0, ID: "a"}, {Index: 1, ID: "b"}, {Index: 2, ID: "c"}}
	for _, test := range []struct {
		numbers   []int
		want, err string
	}{
		{nil, "", ""},
		{[]int{0}, "a", ""},
		{[]int{2, 0, 1}, "cab", ""},
		{[]int{0, 3}, "", "there is no GPU 3: the visible ones are 0 to 2"},
		{[]int{-1}, "", "there is no GPU -1"},
		{[]int{1, 1}, "", "GPU 1 is named twice, but each rank needs one of its own: the visible ones are 0 to 2"},
	} {
		got, err := SelectGPUs(visible, test.numbers)
		var ids string
		for _, g := range got {
			ids += g.ID
		}
		if ids != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%v: %q, %v; want %q, %q", test.numbers, ids, err, test.want, test.err)
		}
	}
	if _, err := SelectGPUs(nil, []int{0}); err == nil || !strings.Contains(err.Error(), "no GPU is visible") {
		t.Errorf("one of nothing: %v", err)
	}
}
