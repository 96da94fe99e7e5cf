package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/session"
)

func TestRunInSession(t *testing.T) {
	o := host(t)
	file := filepath.Join(t.TempDir(), "a.py")
	if err := os.WriteFile(file, []byte("# %% A\nprint one\n# %% B\n# %%dip\nrank\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := dipls("run", file, "--session", "train", "-n", "3", "--keep", "90m", "--see", "all")
	if code != exitOK || out != "one\n[0] 0\n[1] 1\n" {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	if !strings.Contains(errOut, "--ranks: not heeded, since session tr ain has started its processes already") {
		t.Errorf("told:\n%s", errOut)
	}
	want := session.AttachRequest{Dir: filepath.Dir(file), Name: "train", Start: true, Keep: 90 * time.Minute, Program: "dipls run"}
	if got := o.asked[len(o.asked)-1]; got != want {
		t.Errorf("asked for %+v", got)
	}
	code, _, errOut = dipls("run", file, "--session", "train", "--detach")
	if code != exitOK || !strings.Contains(errOut, "left; the run goes on. This comes back to it:\ndipls attach train --from ") {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	for _, test := range []struct{ args, said string }{
		{"--detach", "go with --session NAME"},
		{"--keep 4h", "go with --session NAME"},
		{"--session train --trace x.json", "--trace does not go with --session"},
		{"--session train --detach --json", "--json does not go with --detach"},
		{"--session train --keep 0", `--keep "0": want a time`},
		{"--session train --journal-limit much", "--journal-limit"},
	} {
		args := append([]string{"run", file}, strings.Fields(test.args)...)
		if code, _, errOut := dipls(args...); code != exitUsage || !strings.Contains(errOut, test.said) {
			t.Errorf("%s: exit code %d\n%s", test.args, code, errOut)
		}
	}
}
