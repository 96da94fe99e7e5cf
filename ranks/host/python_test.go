package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dipls/internal/testpython"
)

// script makes an executable shell script.
func script(t *testing.T, path, body string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindPython(t *testing.T) {
	root := t.TempDir()
	mk := func(path string) string { return script(t, filepath.Join(root, path), "") }
	named := mk("named/python3.12")
	fromEnv := mk("env/python")
	venv := mk("venv/bin/python")
	conda := mk("conda/bin/python3")
	onPath := mk("path/python3")
	beside := mk("a/.venv/bin/python")
	deep := filepath.Join(root, "a", "b", "c")
	elsewhere := filepath.Join(root, "elsewhere")
	for _, dir := range []string{deep, elsewhere, filepath.Join(root, "empty")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, flag, dir                string
		diplsPython, venv, conda, path string
		want, why, err                 string
	}{
		{"flag", named, deep, fromEnv, "venv", "conda", "path", named, "--python", ""},
		{"flag by name", "python3", deep, fromEnv, "venv", "conda", "path", onPath, "--python", ""},
		{"DIPLS_PYTHON", "", deep, fromEnv, "venv", "conda", "path", fromEnv, "DIPLS_PYTHON", ""},
		{"virtualenv", "", deep, "", "venv", "conda", "path", venv, "VIRTUAL_ENV", ""},
		{"conda", "", deep, "", "", "conda", "path", conda, "CONDA_PREFIX", ""},
		{".venv above", "", deep, "", "", "", "path", beside, filepath.Join(root, "a", ".venv"), ""},
		{"PATH", "", elsewhere, "", "", "", "path", onPath, "python3 on PATH", ""},
		{"none", "", elsewhere, "", "", "", "empty", "", "", "no Python found: install Python 3"},
		{"a directory", filepath.Join(root, "venv"), deep, "", "", "", "path", "", "", "that is a directory; its interpreter is " + venv},
		{"an empty directory", filepath.Join(root, "empty"), deep, "", "", "", "path", "", "", "that is a directory, and no interpreter is in it"},
		{"bad flag", filepath.Join(root, "nothing"), deep, fromEnv, "", "", "path", "", "", "--python "},
		{"bad DIPLS_PYTHON", "", deep, "nosuch", "", "", "path", "", "", "DIPLS_PYTHON nosuch: no program of that name is on the PATH"},
		{"bad virtualenv", "", deep, "", "empty", "", "path", "", "", "has no bin/python: deactivate it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := func(s string) string {
				if s == "" {
					return ""
				}
				return filepath.Join(root, s)
			}
			t.Setenv("DIPLS_PYTHON", test.diplsPython)
			t.Setenv("VIRTUAL_ENV", in(test.venv))
			t.Setenv("CONDA_PREFIX", in(test.conda))
			t.Setenv("PATH", in(test.path))
			got, err := FindPython("--python", test.flag, test.dir)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, error %v, want %s", got, err, test.err)
				}
				return
			}
			near := strings.HasSuffix(test.why, ".venv")
			if err != nil || got != (Interpreter{test.want, test.why, near}) {
				t.Errorf("%v, %v; want %s, %s", got, err, test.want, test.why)
			}
		})
	}
}

// A .venv that somebody else has put above the user's files is not used, and the user is told.
func TestFindPythonOfSomebodyElse(t *testing.T) {
	root := t.TempDir()
	python := script(t, filepath.Join(root, ".venv", "bin", "python"), "")
	onPath := script(t, filepath.Join(root, "path", "python3"), "")
	for _, name := range []string{"DIPLS_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", filepath.Dir(onPath))
	for _, theirs := range []string{filepath.Dir(filepath.Dir(python)), python} {
		if err := os.Lchown(theirs, 65534, -1); err != nil {
			t.Skip("only root can give a file away")
		}
		got, err := FindPython("--python", "", root)
		if err != nil || got.Path != onPath || !strings.HasPrefix(got.Why, "python3 on PATH; passed over "+python) {
			t.Errorf("%s: %v, %v", theirs, got, err)
		}
		if err := os.Lchown(theirs, os.Geteuid(), -1); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := FindPython("--python", "", root); err != nil || got.Path != python {
		t.Errorf("%v, %v", got, err)
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ name, body, err string }{
		{"old", `echo '{"version": [3, 8, 2], "packages": {}}'`, "is Python 3.8.2, but 3.9 or later is needed"},
		{"python 2", `echo '{"version": [2, 7, 18], "packages": {}}'`, "is Python 2.7.18, but 3.9 or later"},
		{"no python", `echo hello`, "does not work as a Python interpreter: asked for its version, it answered \"hello\"; name another one with --python"},
		{"broken", "echo 'dyld: no such library' >&2; exit 127", `asked for its version, it answered "dyld: no such library"`},
		{"silent", "exit 3", "it said nothing (exit status 3)"},
		{"broken inside", `[ "$1" = -V ] && echo Python 3.12.1 || { echo 'no json' >&2; exit 1; }`, "does not work as a Python interpreter: exit status 1: no json"},
	} {
		python := script(t, filepath.Join(dir, test.name), test.body)
		if info, err := Probe(testContext(t), python); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, error %v, want %s", test.name, info, err, test.err)
		}
	}
	talkative := script(t, filepath.Join(dir, "talkative"), `echo welcome; echo '{"version": [3, 12, 1], "packages": {"ipython": "7.34.0", "pyzmq": "26.0"}}'`)
	info, err := Probe(testContext(t), talkative)
	if err != nil || info.Version != "3.12.1" || info.Python != talkative {
		t.Errorf("%v, %v", info, err)
	}
	if got, want := info.Missing(), []string{"cloudpickle", "ipython"}; !slices.Equal(got, want) {
		t.Errorf("missing %v, want %v: IPython 7 is too old", got, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Probe(ctx, script(t, filepath.Join(dir, "hangs"), "exec sleep 1000")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hangs: %v", err)
	}
}

func TestProbePython(t *testing.T) {
	python := testpython.Need(t)
	begin := time.Now()
	info, err := Probe(testContext(t), python)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v in %v", info, time.Since(begin))
	if missing := info.Missing(); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
}

// The working directory may be anybody's, so nothing is imported from it, except by the user's own wish.
func TestProbeImportsNothingFromHere(t *testing.T) {
	python := testpython.Need(t)
	dir := t.TempDir()
	dist := filepath.Join(dir, "lib", "ipython-99.0.dist-info")
	if err := os.MkdirAll(dist, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "json.py"):   "raise SystemExit('json.py of the working directory')\n",
		filepath.Join(dist, "METADATA"): "Metadata-Version: 2.1\nName: ipython\nVersion: 99.0\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("PYTHONPATH", "lib")
	if info, err := Probe(testContext(t), python); err != nil || info.Packages["ipython"] != "99.0" {
		t.Errorf("%v, %v", info, err)
	}
}

// fakePip is an interpreter whose packages are the files in the directory it is told to search, and whose pip makes such files.
const fakePip = `
case "$1 $2" in
"-m pip")
	while [ "$1" != "--target" ]; do shift; done
	target=$2; shift 2
	case $PWD in */packages/*) ;; *) echo "pip would import from $PWD"; exit 1 ;; esac
	echo "Collecting $*"
	case "$PIP_MODE" in
	nopip) echo "$0: No module named pip" >&2; exit 1;;
	offline) echo "WARNING: Retrying: NewConnectionError('...: Failed to establish a new connection')" >&2; exit 1;;
	bad) echo "ERROR: No matching distribution found for $1" >&2; touch "$target/half"; exit 1;;
	hang) echo $$; exec sleep 1000;;
	esac
	for p; do echo "$p" >> "$target/list"; done
	echo . >> "$target/../../pips" ;;
*)
	if [ -f "$3/list" ]; then
		echo '{"version": [3, 12, 1], "packages": {"ipython": "9.0", "pyzmq": "26.0", "cloudpickle": "3.0"}}'
	else
		echo '{"version": [3, 12, 1], "packages": {"ipython": "9.0", "cloudpickle": "3.0"}}'
	fi ;;
esac
`

func TestInstallMissing(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	python := script(t, filepath.Join(t.TempDir(), "python"), fakePip)
	dir, err := PrivatePackages(python)
	if err != nil {
		t.Fatal(err)
	}
	missing := []string{"pyzmq"}

	for mode, want := range map[string]string{
		"nopip":   "has no pip: run '" + python + " -m ensurepip'",
		"offline": "the package index cannot be reached",
		"bad":     "install pyzmq: pip failed: ERROR: No matching distribution found for pyzmq",
	} {
		t.Setenv("PIP_MODE", mode)
		if err := InstallMissing(testContext(t), python, missing, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", mode, err, want)
		}
	}
	t.Setenv("PIP_MODE", "hang")
	ctx, cancel := context.WithCancel(testContext(t))
	progress := writerFunc(func([]byte) { cancel() }) // as soon as pip says something
	if err := InstallMissing(ctx, python, missing, progress); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if entries, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*")); len(entries) > 0 {
		t.Errorf("failures left %v", entries)
	}

	t.Setenv("PIP_MODE", "")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := InstallMissing(testContext(t), python, missing, new(bytes.Buffer)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if data, err := os.ReadFile(filepath.Join(dir, "list")); string(data) != "pyzmq>=25,<28\n" {
		t.Errorf("installed %q, %v", data, err)
	}
	if data, _ := os.ReadFile(filepath.Join(filepath.Dir(dir), "pips")); string(data) != ".\n" {
		t.Errorf("pip ran %q times", data)
	}
	if left, _ := filepath.Glob(dir + ".new"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// When the server is killed, pip ends, too, and half an installation is no obstacle for the next one.
func TestInstallMissingKilled(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	python := script(t, filepath.Join(t.TempDir(), "python"), fakePip)
	dir, err := PrivatePackages(python)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PIP_MODE", "hang")
	cmd := exec.Command(os.Args[0], installArg, python)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	out := bufio.NewReader(pipe)
	out.ReadString('\n') // Collecting …
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pip, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		syscall.Kill(pip, syscall.SIGKILL)
	}
	await(t, "the end of pip", func() bool { return gone(pip) })
	if _, err := os.Stat(dir + ".new"); err != nil {
		t.Errorf("nothing was left half done: %v", err)
	}
	t.Setenv("PIP_MODE", "")
	if err := InstallMissing(testContext(t), python, []string{"pyzmq"}, new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(dir + ".new"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestPrivatePackages(t *testing.T) {
	dir := t.TempDir()
	python := script(t, filepath.Join(dir, "python3"), "")
	link := filepath.Join(dir, "venv")
	if err := os.Symlink(python, link); err != nil {
		t.Fatal(err)
	}
	a, err := PrivatePackages(python)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := PrivatePackages(link)
	if a == b {
		t.Error("two environments share a directory")
	}
	if again, _ := PrivatePackages(python); again != a {
		t.Error("the directory changes")
	}
	if _, err := PrivatePackages(filepath.Join(dir, "nothing")); err == nil {
		t.Error("a directory for nothing")
	}
}

// Private packages are installed in versions that the tests run with.
func TestTestedVersions(t *testing.T) {
	pins, err := os.ReadFile("../agent/requirements-dev.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, dist := range required {
		low, high := 0, 0
		if _, err := fmt.Sscanf(tested[dist], ">=%d", &low); err != nil {
			t.Fatalf("%s%s: %v", dist, tested[dist], err)
		}
		if _, err := fmt.Sscanf(tested[dist][strings.Index(tested[dist], "<"):], "<%d", &high); err != nil {
			t.Fatalf("%s%s: %v", dist, tested[dist], err)
		}
		found := false
		for line := range strings.Lines(string(pins)) {
			if version, ok := strings.CutPrefix(line, dist+"=="); ok {
				found = true
				if m := major(version); m < low || m >= high {
					t.Errorf("the tests run with %s, which is not of %s%s", strings.TrimSpace(line), dist, tested[dist])
				}
			}
		}
		if !found {
			t.Errorf("no version of %s is tested", dist)
		}
	}
}
