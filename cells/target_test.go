package cells

import (
	"encoding/json"
	"os"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for s, want := range map[string]string{
		"remote": "remote", "local": "local", "locally": "local", "everywhere": "everywhere",
		"ranks:0-3": "ranks:0-3", "ranks:3,1": "ranks:1,3", "ranks:all": "remote", "everywhere:0 1": "everywhere:0-1",
		"everywhere:all": "everywhere",
	} {
		target, err := ParseTarget(s)
		if err != nil || target.String() != want {
			t.Errorf("%q is %v, %v; want %s", s, target, err, want)
		}
		if again, err := ParseTarget(target.String()); err != nil || !again.Equal(target) {
			t.Errorf("%q: its String %q parses to %v, %v", s, target, again, err)
		}
	}
	for s, want := range map[string]string{
		"":          `unknown target ""; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"none":      `unknown target "none"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"ranks":     `unknown target "ranks"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"remote:1":  `unknown target "remote:1"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"local:1":   `unknown target "local:1"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"lcoal":     `unknown target "lcoal"; did you mean local?`,
		"ranks:":    "empty list; write all, or numbers like 0,2-4",
		"ranks:3-1": `"3-1" runs backwards; write 1-3`,
	} {
		if target, err := ParseTarget(s); err == nil || err.Error() != want {
			t.Errorf("%q is %v, %v; want %s", s, target, err, want)
		}
	}
	if s := (Target{}).String(); s != "none" {
		t.Errorf("the zero target is %s", s)
	}
}

// The agent's and the extension's names of ranks are held to the same examples.
func TestTargetName(t *testing.T) {
	var examples struct {
		Targets []struct{ Target, Name string }
	}
	text, err := os.ReadFile("../testdata/ranklist.json")
	if err == nil {
		err = json.Unmarshal(text, &examples)
	}
	if err != nil || len(examples.Targets) == 0 {
		t.Fatal("no examples: ", err)
	}
	for _, c := range examples.Targets {
		if got := NameTarget(c.Target); got != c.Name {
			t.Errorf("%s: got %q, want %q", c.Target, got, c.Name)
		}
	}
	if got := NameTarget("nowhere"); got != "nowhere" {
		t.Errorf("got %q", got)
	}
}
