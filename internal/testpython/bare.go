package testpython

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Bare makes an interpreter that lacks the agent's packages. Its pip links those of python into the directory that it is told to install into, without a
// network.
func Bare(t testing.TB, python string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command(python, "-m", "venv", "--without-pip", dir+"/env").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	site, err := exec.Command(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").Output()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
if [ "$1 $2" = "-m pip" ]; then
	while [ "$1" != --target ]; do shift; done
	echo "Collecting ipython"
	exec ln -s '%s'/* "$2"
fi
exec '%s/env/bin/python' "$@"
`, strings.TrimSpace(string(site)), dir)
	path := filepath.Join(dir, "python")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
