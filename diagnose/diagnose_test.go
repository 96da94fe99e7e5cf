package diagnose

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/ranklist"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

// testdata/NAME.json is a case, recorded from real ranks or made by hand; NAME.txt has its findings.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c Case
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			got := written(Findings(c))
			golden := strings.TrimSuffix(file, ".json") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("found\n%s\nwant\n%s\n%v", got, want, err)
			}
		})
	}
}

// written is a line for each finding, and under it the places.
func written(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		level := "info"
		if f.Alarm {
			level = "alarm"
		}
		b.WriteString(string(f.Variant) + " " + level + ": " + f.Text + "\n")
		for _, p := range f.Waiting {
			b.WriteString("  waiting " + ranklist.Name(p.Ranks) + atLine(p) + ": " + p.Why + "\n")
		}
		for _, p := range f.Missing {
			b.WriteString("  missing " + ranklist.Name(p.Ranks) + atLine(p) + ": " + p.Why + "\n")
		}
	}
	if len(found) == 0 {
		return "nothing\n"
	}
	return b.String()
}
