package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dipls/cells"
)

func TestPlanPush(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("a b=c.npy", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := planPush([]string{"x", "größe=1 # one", "w=@a b=c.npy", "x=a == b"})
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, planned := range p.cells {
		r := planned.request
		switch {
		case r.File != nil:
			did = append(did, "read "+strings.Join(r.File.Names, " ")+strings.TrimPrefix(r.File.Path, must(os.Getwd())))
		case r.Transfer != nil:
			did = append(did, "push "+strings.Join(r.Transfer.Names, " "))
		default:
			did = append(did, r.Code)
		}
		if r.Target.Where != cells.Local {
			t.Errorf("%+v is not local", r)
		}
	}
	want := []string{"größe = (1 # one\n)", "read w/a b=c.npy", "x = (a == b\n)", "push x größe w"}
	if got := strings.Join(did, "|"); got != strings.Join(want, "|") {
		t.Errorf("got %q", got)
	}
	for _, wrong := range [][]string{nil, {"x y"}, {"x="}, {"x==1"}, {"=1"}, {"1x=2"}, {"x.y=2"}, {"x=@none"}, {""}} {
		if _, err := planPush(wrong); codeOf(err) != exitUsage {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// The formats are those of the agent.
func TestFileFormats(t *testing.T) {
	source, err := os.ReadFile("../../ranks/agent/src/dip_agent/files.py")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, m := range regexp.MustCompile(`(?m)^    "(\.\w+)": \(_read_`).FindAllStringSubmatch(string(source), -1) {
		known = append(known, m[1])
	}
	if !slices.Equal(known, fileFormats) {
		t.Errorf("the agent knows %q, the command line %q", known, fileFormats)
	}
}

func TestPullUsage(t *testing.T) {
	for _, test := range []struct{ args, said string }{
		{"pull", "name variables"},
		{"pull x", "-o FILE says where to"},
		{"pull x -o a.npy --from rank", `only "local"`},
		{"pull x -o a.npy --from local -r 1", "contradict"},
		{"pull x -o a.npy -r -1", "numbered from 0"},
		{"pull x -o a.txt", "a.txt: the end of a file's name says its format: .npy, .npz, .pt, .json"},
		{"push x=@transfer.go", "says its format"},
		{"pull x[0] -o a.npy", "no name of a variable"},
		{"push", "name variables"},
		{"stop --gpu-memory --all", "goes with no other flag"},
	} {
		if code, _, errOut := dipls(strings.Fields(test.args)...); code != exitUsage || !strings.Contains(errOut, test.said) {
			t.Errorf("%s: exit code %d\n%s", test.args, code, errOut)
		}
	}
}

func TestTransferInSession(t *testing.T) {
	o := host(t)
	if code, _, errOut := dipls("stop", "--gpu-memory"); code != exitOK || !strings.Contains(errOut, "free GPU memory · all ranks") {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	if code, _, errOut := dipls("exec", "-c", "let x 1"); code != exitOK {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	if code, _, errOut := dipls("push", "x"); code != exitOK || !strings.Contains(errOut, "── %dipush x · local") {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	if code, _, errOut := dipls("pull", "x", "-o", "x.json"); code != exitPool || !strings.Contains(errOut, "has no ranks; --from local") {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	o.about.Ranks = 2
	if code, _, errOut := dipls("pull", "x", "-r", "2", "-o", "x.json"); code != exitUsage || !strings.Contains(errOut, `"x to x.json" names rank 2`) {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
}
