package view

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

func TestTimeLeft(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/progress.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Lines []struct {
			Line    string
			Seconds *int
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Lines) == 0 {
		t.Fatal(err, file)
	}
	for _, x := range file.Lines {
		left, ok := TimeLeft(x.Line)
		if ok != (x.Seconds != nil) || ok && left != time.Duration(*x.Seconds)*time.Second {
			t.Errorf("%q: %v %t", x.Line, left, ok)
		}
	}
}
