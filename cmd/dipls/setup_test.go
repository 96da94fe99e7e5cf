package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The scripts that set the project up install nothing for the whole system before they have said what, why, and how to do without. What takes long is told
// of, and its words are shown if it fails.
func TestSetupSaysWhatItInstalls(t *testing.T) {
	bin := t.TempDir()
	for name, body := range map[string]string{"apt-get": `echo "$@" >>"$ASKED"`, "breaks": "echo because; exit 3"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	asked := filepath.Join(bin, "asked")
	setup := func(env, command string) (said, installed string) {
		cmd := exec.Command("bash", "-euc", ". ../../scripts/lib.sh; "+command+" || echo status $? >&2")
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "ASKED="+asked, "CI=1", env)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		log, _ := os.ReadFile(asked)
		return string(out), string(log)
	}
	const command = `apt_install "tests need it" tmux`
	said, installed := setup("DIPLS_NO_APT=1", command)
	if want := "setup: not installed, since DIPLS_NO_APT is set: tmux (tests need it)\nstatus 1\n"; said != want || installed != "" {
		t.Errorf("said %q, installed %q", said, installed)
	}
	said, installed = setup("DIPLS_NO_APT=", command)
	want := "setup: apt-get is about to install for the whole system: tmux\nsetup:     tests need it. To do without: DIPLS_NO_APT=1\n" +
		"setup: installing tmux from Debian …\n"
	if said != want || !strings.HasSuffix(installed, "install -y -qq --no-install-recommends tmux\n") {
		t.Errorf("said %q, installed %q", said, installed)
	}
	if said, _ := setup("", `told "doing it" breaks`); said != "setup: doing it …\nbecause\nstatus 3\n" {
		t.Errorf("said %q", said)
	}
}
