package job

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"dipls/internal/testpython"
)

// Cells of the local namespace find no rank, and any other variable whose name looks like a launcher's.
func TestLaunchersVariables(t *testing.T) {
	python := testpython.Need(t)
	cmd := exec.Command(python, "-c", `
import os
exec(open("job.py").read())
job.local()
print(os.environ["LORA_RANK"], os.environ["MASTER_KEY"], [name for name in ("RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR") if name in os.environ])
os.environ["TEXT_RANK"] = "3"
job._turn(False)
print(os.environ["RANK"], os.environ["MASTER_ADDR"], os.environ["TEXT_RANK"], job._is_launchers("TEXT_RANK"))
`)
	cmd.Env = append(os.Environ(), "LORA_RANK=8", "MASTER_KEY=k", "MASTER_ADDR=here", "RANK=0", "WORLD_SIZE=1")
	out, err := cmd.CombinedOutput()
	if want := "8 k []\n0 here 3 False\n"; err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want) {
		t.Errorf("%v: %s", err, out)
	}
}
