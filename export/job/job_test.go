package job

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"dipls/cells"
)

// What becomes of cells: testdata has files of cells, and the scripts or faults that are wanted. Of a script, what is the same in all is left out.
func TestScript(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source, want := string(archive.Files[0].Data), string(archive.Files[1].Data)
			script, faults := Script(cells.Parse(source), "/home/ü/train.py", "train_job.py")
			got := strings.ReplaceAll(script, library, "…\n")
			for _, f := range faults {
				got += fmt.Sprintf("%d: %s (%s)\n", f.Line, f.Message, f.Hint)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRanksAsArguments(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "all": "", "3": "3", "0,2-4": "0, *range(2, 5)", "-1": "job.size - 1", "::2": "*range(job.size)[::2]", "1:3": "*range(job.size)[1:3]",
	} {
		if got, err := arguments(list); got != want || err != nil {
			t.Errorf("%s: %s, %v", list, got, err)
		}
	}
	if _, err := arguments("host:gpu2"); err == nil {
		t.Error("a job knows no hosts")
	}
}
