package host

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"dipls/internal/flock"
	"dipls/internal/private"
)

const (
	probeTimeout  = 30 * time.Second
	minPythonText = "3.9"
	minIPython    = 8 // major version
)

// required lists the distributions that the agent imports, by import name.
var required = map[string]string{"IPython": "ipython", "zmq": "pyzmq", "cloudpickle": "cloudpickle"}

// tested are the versions that the agent is tested with, and that are installed.
var tested = map[string]string{"ipython": fmt.Sprintf(">=%d,<10", minIPython), "pyzmq": ">=25,<28", "cloudpickle": ">=2.2,<4"}

// distributions turns import names into names that pip takes.
func distributions(imports []string) []string {
	names := make([]string, len(imports))
	for i, name := range imports {
		names[i] = name
		if dist := required[name]; dist != "" {
			names[i] = dist
		}
	}
	return names
}

// Interpreter is a Python interpreter, and why it was chosen.
type Interpreter struct {
	Path string // absolute; links are not resolved, for Python finds a virtual environment by this path
	Why  string // "--python", "dip.python", "VIRTUAL_ENV", "/home/u/project/.venv", …; and what was passed over, if anything
	Near bool   // it is from a .venv above the file
}

// BelongsTo reports whether an interpreter comes with a folder and is not the user's choice: it lies in the folder, or in a .venv above it.
func (i Interpreter) BelongsTo(folder string) bool {
	if i.Near || within(folder, i.Path) {
		return true
	}
	realFolder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		realFolder = folder
	}
	if within(realFolder, i.Path) {
		return true
	}
	// The path may lead through links: to the interpreter, or to its directory.
	for _, path := range []string{i.Path, filepath.Dir(i.Path)} {
		if real, err := filepath.EvalSymlinks(path); err == nil && within(realFolder, real) {
			return true
		}
	}
	return false
}

// within reports whether a path lies in a directory.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// FindPython finds the interpreter to use. The first of these that is set, or exists, decides:
//
//  1. value, which the user has given with option (--python): a path, or a name on PATH
//  2. DIPLS_PYTHON, likewise
//  3. the active virtual environment, VIRTUAL_ENV
//  4. the active conda environment, CONDA_PREFIX
//  5. .venv in dir or in the nearest directory above that has one. It must belong to the user or to root: whoever may write to /tmp must not
//     choose what runs below it
//  6. python3 on PATH, then python
//
// If one of the first four is set but leads to no interpreter, that is an error: the search does not go on silently.
func FindPython(option, value, dir string) (Interpreter, error) {
	for _, c := range []struct{ value, why string }{{value, option}, {os.Getenv("DIPLS_PYTHON"), "DIPLS_PYTHON"}} {
		if c.value == "" {
			continue
		}
		path, err := exec.LookPath(c.value)
		if err != nil {
			return Interpreter{}, fmt.Errorf("%s %s: %s", c.why, c.value, whyNoProgram(c.value, err))
		}
		return absInterpreter(path, c.why)
	}
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		env := os.Getenv(name)
		if env == "" {
			continue
		}
		path, ok := pythonIn(env)
		if !ok {
			return Interpreter{}, fmt.Errorf("%s=%s has no bin/python: deactivate it, or name an interpreter with %s", name, env, option)
		}
		return absInterpreter(path, name)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Interpreter{}, err
	}
	var passed string
	for {
		venv := filepath.Join(dir, ".venv")
		if path, ok := pythonIn(venv); ok {
			if trusted(venv) && trusted(path) {
				return Interpreter{Path: path, Why: venv + passed, Near: true}, nil
			}
			passed += fmt.Sprintf("; passed over %s, which belongs to somebody else: name it with %s to use it", path, option)
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	for _, name := range []string{"python3", "python"} {
		if path, err := exec.LookPath(name); err == nil {
			return absInterpreter(path, name+" on PATH"+passed)
		}
	}
	return Interpreter{}, fmt.Errorf("no Python found: install Python 3, make a .venv beside the file, or name an interpreter with %s or DIPLS_PYTHON%s",
		option, passed)
}

// whyNoProgram says why a path or name is no program that can be started.
func whyNoProgram(value string, err error) string {
	info, statErr := os.Stat(value)
	python, isEnv := pythonIn(value)
	switch {
	case isEnv:
		return "that is a directory; its interpreter is " + python
	case statErr == nil && info.IsDir():
		return "that is a directory, and no interpreter is in it"
	case errors.Is(err, fs.ErrPermission):
		return "that file may not be executed"
	case strings.Contains(value, "/"):
		return "there is no such file"
	}
	return "no program of that name is on the PATH"
}

// trusted reports whether a file, directory or link belongs to the user or to root.
func trusted(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

func absInterpreter(path, why string) (Interpreter, error) {
	abs, err := filepath.Abs(path)
	return Interpreter{Path: abs, Why: why}, err
}

// pythonIn gives the interpreter of an environment.
func pythonIn(env string) (string, bool) {
	for _, name := range []string{"python", "python3"} {
		path := filepath.Join(env, "bin", name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, true
		}
	}
	return "", false
}

// PythonInfo describes an interpreter.
type PythonInfo struct {
	Python   string            // path
	Version  string            // "3.11.2"
	Packages map[string]string // distribution name → version; absent if not installed
}

// probeScript asks for versions. It imports nothing big, and nothing from the working directory. It runs on any Python 3, so that the version of one
// that is too old can be told.
const probeScript = `
import sys
if sys.path[0] == "":
    del sys.path[0]
import json
out = {"version": list(sys.version_info[:3]), "packages": {}}
try:
    from importlib import metadata
    for extra in sys.argv[1:]:
        sys.path.append(extra)
    for name in ("ipython", "pyzmq", "cloudpickle", "torch", "numpy", "matplotlib", "matplotlib-inline"):
        try:
            out["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    if "torch" in out["packages"]:
        for wanted in metadata.requires("torch") or []:
            if wanted.startswith("nvidia-nccl-cu"):
                out["packages"]["nccl"] = metadata.version(wanted.replace(";", " ").replace("=", " ").split()[0])
except ImportError:
    pass
print(json.dumps(out))
`

// Probe asks an interpreter for its version and for the packages that matter here. extraPath is searched last. An interpreter that is too old is an
// error. Packages that are missing or too old are not: see [PythonInfo.Missing].
func Probe(ctx context.Context, python string, extraPath ...string) (PythonInfo, error) {
	return here().Probe(ctx, python, extraPath...)
}

// Probe is [Probe] on a machine.
func (o Observer) Probe(ctx context.Context, python string, extraPath ...string) (PythonInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	printed, err := o.Run(ctx, []string{python}, append([]string{"-c", probeScript}, extraPath...)...)
	if ctx.Err() != nil {
		return PythonInfo{}, fmt.Errorf("%s does not answer: %w", python, ctx.Err())
	}
	if err = cmp.Or(err, printed.failure()); err != nil {
		return PythonInfo{}, cmp.Or(o.isPython(ctx, python), fmt.Errorf("%s: %w: %.200s", noPython(python), err, lastLine(string(printed.Err))))
	}
	out := printed.Out
	var answer struct {
		Version  [3]int
		Packages map[string]string
	}
	// The answer is the last line: a sitecustomize may print, too.
	if err := json.Unmarshal([]byte(lastLine(string(out))), &answer); err != nil {
		return PythonInfo{}, cmp.Or(o.isPython(ctx, python), fmt.Errorf("%s: it answered %.100q", noPython(python), out))
	}
	v := answer.Version
	info := PythonInfo{Python: python, Version: fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]), Packages: answer.Packages}
	if v[0] != 3 || v[1] < 9 {
		return info, fmt.Errorf("%s is Python %s, but %s or later is needed: name another interpreter with --python, or by the setting dip.python",
			python, info.Version, minPythonText)
	}
	return info, nil
}

// isPython is an error unless a program says that it is Python. It is asked only once something has gone wrong.
func (o Observer) isPython(ctx context.Context, program string) error {
	printed, err := o.Run(ctx, []string{program}, "-V")
	said := strings.TrimSpace(string(printed.Out) + string(printed.Err))
	if strings.HasPrefix(said, "Python ") {
		return nil
	}
	first, _, _ := strings.Cut(said, "\n")
	answer := fmt.Sprintf("it answered %.100q", first)
	if said == "" {
		err = cmp.Or(err, printed.failure(), errors.New("exit status 0"))
		if number, ok := errors.AsType[syscall.Errno](err); ok {
			err = number // it could not be started, and the system's call is for programmers
		}
		answer = fmt.Sprintf("it said nothing (%v)", err)
	}
	return fmt.Errorf("%s: asked for its version, %s; name another one with --python, or by the setting dip.python", noPython(program), answer)
}

func noPython(program string) string { return program + " does not work as a Python interpreter" }

// Missing lists the distributions that the agent needs and the interpreter lacks or has in a version that is too old.
func (i PythonInfo) Missing() []string {
	var missing []string
	for _, dist := range required {
		version := i.Packages[dist]
		if version == "" || dist == "ipython" && major(version) < minIPython {
			missing = append(missing, dist)
		}
	}
	slices.Sort(missing)
	return missing
}

// MissingPackagesError says which packages that the agent needs an interpreter lacks.
type MissingPackagesError struct {
	Python  string   // path of the interpreter
	Missing []string // distribution names, as pip takes them
}

// MissingPackages is the error about an interpreter that lacks packages, given by the names by which they are imported.
func MissingPackages(python string, imports []string) *MissingPackagesError {
	return &MissingPackagesError{Python: python, Missing: distributions(imports)}
}

func (e *MissingPackagesError) Error() string {
	return fmt.Sprintf("%s lacks %s: install with %s", e.Python, strings.Join(e.Missing, ", "), e.Remedy())
}

// Remedy is the command that installs them: "'/usr/bin/python3 -m pip install pyzmq'".
func (e *MissingPackagesError) Remedy() string {
	return fmt.Sprintf("'%s -m pip install %s'", e.Python, strings.Join(e.Missing, " "))
}

// major is the first number of a version.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// cacheDir is a directory for what can be made again: dipls in the user's cache. It is an error if others could write there, and so choose what
// Python runs.
func cacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "dipls")
	return dir, private.Dir(dir)
}

// CacheNotice says why the cache is not used; "" if it is.
func CacheNotice() string {
	_, err := cacheDir()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("the cache is passed over for a private directory: %v; mend that, or set XDG_CACHE_HOME to a directory of your own", err)
}

// PrivatePackages is a directory of ours for packages that an interpreter lacks. It may not exist yet. Each interpreter has its own, because packages
// may hold compiled code. Its name depends on the interpreter's path, which tells environments apart, and on the binary, which changes when Python is
// upgraded in place. If the cache cannot be used, it lies beside the directories of the sessions.
func PrivatePackages(python string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		root, rootErr := runtimeRoot(zap.NewNop())
		if rootErr == nil {
			rootErr = private.Dir(root)
		}
		if rootErr != nil {
			return "", fmt.Errorf("directory for private packages: %w", errors.Join(err, rootErr))
		}
		cache = root
	}
	real, err := filepath.EvalSymlinks(python)
	if err != nil {
		return "", fmt.Errorf("directory for private packages: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("directory for private packages: %w", err)
	}
	id := fmt.Sprintf("%s\n%s\n%d %d %s", python, real, info.Size(), info.ModTime().UnixNano(), runtime.GOARCH)
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(cache, "packages", hex.EncodeToString(sum[:8])), nil
}

// InstallLog makes an empty file for what pip says while it adds to [PrivatePackages]. It lies beside that directory.
func InstallLog(python string) (*os.File, error) {
	dir, err := PrivatePackages(python)
	if err != nil {
		return nil, err
	}
	if err := private.Dir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("install packages: %w", err)
	}
	log, err := os.OpenFile(dir+".log", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("install packages: %w", err)
	}
	return log, nil
}

// InstallMissing adds distributions to [PrivatePackages], with the interpreter's own pip. It succeeds or changes nothing. The user's environment is
// never touched. pip's output goes to progress.
func InstallMissing(ctx context.Context, python string, missing []string, progress io.Writer) error {
	dir, err := PrivatePackages(python)
	if err != nil {
		return err
	}
	if err := private.Dir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	unlock, err := flock.File(ctx, dir+".lock")
	if err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	defer unlock()
	info, err := Probe(ctx, python, dir)
	lacks := func(dist string) bool { return info.Packages[dist] == "" }
	if err == nil && !slices.ContainsFunc(missing, lacks) && len(info.Missing()) == 0 {
		return nil // another dipls has installed them while we waited for the lock
	}

	tmp := dir + ".new" // ours while we hold the lock
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	defer os.RemoveAll(tmp)
	fresh := filepath.Join(tmp, "fresh")
	if err := os.CopyFS(fresh, os.DirFS(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("install packages: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	if err := runPip(ctx, python, fresh, missing, progress); err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(tmp, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("install packages: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	return nil
}

// runPip installs into a directory.
func runPip(ctx context.Context, python, target string, missing []string, progress io.Writer) error {
	args := []string{"-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--upgrade", "--target", target}
	for _, dist := range missing {
		args = append(args, dist+tested[dist])
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout = io.MultiWriter(progress, &said)
	cmd.Stderr = cmd.Stdout
	cmd.Dir = filepath.Dir(target) // not the user's: -m imports from the working directory first
	cmd.SysProcAttr = new(syscall.SysProcAttr)
	dieWithUs(cmd.SysProcAttr)
	runtime.LockOSThread() // the kernel takes the end of this thread for ours
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	text := said.String()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("install %s: %w", strings.Join(missing, ", "), ctx.Err())
	case strings.Contains(text, "No module named pip"):
		return fmt.Errorf("%s has no pip: run '%s -m ensurepip', or install %s another way", python, python, strings.Join(missing, ", "))
	case offline(text):
		return fmt.Errorf("install %s: the package index cannot be reached: check the network, or set PIP_INDEX_URL to a mirror", strings.Join(missing, ", "))
	default:
		return fmt.Errorf("install %s: pip failed: %s", strings.Join(missing, ", "), cmp.Or(lastLine(text), err.Error()))
	}
}

// offline reports whether pip could not reach the index, by what it printed.
func offline(text string) bool {
	for _, sign := range []string{
		"NewConnectionError", "ConnectTimeoutError", "ProxyError", "Network is unreachable",
		"Name or service not known", "Temporary failure in name resolution", "nodename nor servname",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
