package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/internal/testhosts"
)

// Hosts that do not share the project's folder get its Python files before each run, and only these; one that shares it is left alone.
func TestRunSyncs(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		root := filepath.Join("/tmp", "ein Projekt äö") // each host has a /tmp of its own
		write := func(name, text string) {
			t.Helper()
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("part one/größe.py", "value = 1\n")
		write("part one/old.py", "")
		write("secret.txt", "not code")
		write("untracked.py", "")
		if err := os.Symlink("part one/größe.py", filepath.Join(root, "linked.py")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/hostname", filepath.Join(root, "outside.py")); err != nil {
			t.Fatal(err)
		}
		git := func(args ...string) {
			t.Helper()
			cmd := exec.Command("git", args...)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v\n%s", args, err, out)
			}
		}
		git("init", "-q")
		git("add", "part one", "linked.py", "outside.py", "secret.txt")
		h.dir = root
		h.Exec("h2", "mkdir", "-p", root+"/part one")
		h.Exec("h2", "sh", "-c", "echo mine > '"+root+"/part one/größe.py'")

		shown, code := h.run(`# %%dip remote --see all
import os
print("in", os.getcwd())
# %%
%makedip -r --sync
# %%dip remote --see all
import os
print("now in", os.getcwd())
`, "--hosts", "h1,h2", "--ranks-per-host", "1")
		h.want(shown, code, 0,
			`^h1: there is no folder `+root+`; processes run in /home/root there\. --sync brings`,
			`^\[h1: 0\] in /home/root$`, `^\[h2: 1\] in `+root+`$`, `^\[0-1\] now in `+root+`$`,
			`files that somebody had changed on hosts were replaced; what was there is in h2: `+root+`/\.dipls/before/`)

		slow := filepath.Join(h.Home(), "slow")
		slowly := func() {
			h.Delay("h1", 700*time.Millisecond, 0)
			if err := os.WriteFile(slow, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
		shown, code = h.attend(`# %%dip remote --see all
import glob, os, linked
print(linked.value, sorted(glob.glob("**/*.*", recursive=True)))
# %%
import os, pathlib
pathlib.Path("part one/größe.py").write_text("value = 22\n")
os.remove("part one/old.py")
import time
print("changed")
while not os.path.exists("/home/root/slow"):
    time.sleep(0.05)
# %%dip remote --see all
import importlib
importlib.reload(linked)
print(linked.value, os.listdir("part one"))
`, map[string]func(){"changed": slowly}, "--hosts", "h1,h2", "--ranks-per-host", "1", "--sync")
		h.want(shown, code, 0,
			`^\[0-1\] 1 \['__pycache__/linked\.cpython-\d+\.pyc', 'linked.py', 'part one/größe.py', 'part one/old.py'\]`,
			`^\[(0-1|h1: 0)\] 22 `, `^\[(0-1|h2: 1)\] 22 `, `^brought 1 Python file \(0\.0 MB\) of `+root+` to h1, h2, and removed 1, in \d+\.\d s$`,
			`links that lead out of `+root+` are not brought to the hosts: outside.py`)
		if got := h.Exec("h2", "sh", "-c", "cat '"+root+"'/.dipls/before/*/'part one/größe.py'"); got != "mine\n" {
			t.Errorf("what was there: %q", got)
		}
		for _, host := range []string{"h1", "h2"} {
			list := "cd '" + root + "' && find . -name .dipls -prune -o -type f -name '*.py' -print -o -type l -print | sort"
			if got := h.Exec(host, "sh", "-c", list); got != "./linked.py\n./part one/größe.py\n" {
				t.Errorf("%s has %s", host, got)
			}
		}
		if left, _ := filepath.Glob(root + "/.dipls*"); len(left) > 0 {
			t.Errorf("left here: %q", left)
		}
		h.Delay("h1", 0, 0)
		h.wantNothing("h1", "h2")

		h.dir = filepath.Join(h.Home(), "shared")
		shown, code = h.run("# %%dip remote --see all\nimport os\nprint(os.listdir())\n", "--hosts", "h1,h2", "--ranks-per-host", "1", "--sync")
		h.want(shown, code, 0, `^\[0-1\] \['train.py'\]$`)
		if strings.Contains(shown, "brought") {
			t.Error(shown)
		}
	})
}
