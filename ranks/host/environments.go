package host

import (
	"bufio"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Environment is a Python interpreter as its files describe it. It has not been run.
type Environment struct {
	Python  string // the interpreter; absolute, links are not resolved
	Version string // "3.11.2", or "3.11" if no file says more; "": not known
	Torch   string // version of torch; "": it is not installed, or not found
	Kind    string // "venv", "conda", "pyenv", "uv" or "system"
}

// What is looked at of one folder: its first names, and of those that could be environments the first ones.
const (
	maxNames        = 20_000
	maxEnvironments = 500
)

// Environments lists the interpreters that a user may mean in a folder, those that are nearest first: environments in the folder and in those above it, the
// active one, those where conda, pyenv, uv, virtualenvwrapper, Poetry and Pipenv keep theirs, and what is on PATH. It reads names and small files only, and
// runs nothing, so it may be used in any folder. Those that are too old are left out. The interpreter chosen, unless that is "", is in the list in any case.
func Environments(dir, chosen string) []Environment {
	f := &finder{seen: map[string]bool{}}
	for up := dir; ; up = filepath.Dir(up) {
		f.environment(filepath.Join(up, ".venv"))
		if up == dir {
			f.below(dir)
		}
		if up == filepath.Dir(up) {
			break
		}
	}
	f.environment(os.Getenv("VIRTUAL_ENV"))
	f.environment(os.Getenv("CONDA_PREFIX"))
	home, _ := os.UserHomeDir()
	for _, list := range linesOf(filepath.Join(home, ".conda", "environments.txt")) {
		f.environment(strings.TrimSpace(list))
	}
	for _, root := range []string{"miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba"} {
		f.conda(filepath.Join(home, root))
		f.conda(filepath.Join("/opt", root))
	}
	f.conda("/opt/conda")
	data := cmp.Or(os.Getenv("XDG_DATA_HOME"), filepath.Join(home, ".local", "share"))
	f.below(cmp.Or(os.Getenv("WORKON_HOME"), filepath.Join(home, ".virtualenvs")))
	f.below(filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "pypoetry", "virtualenvs"))
	f.below(filepath.Join(data, "virtualenvs"))
	f.below(filepath.Join(cmp.Or(os.Getenv("PYENV_ROOT"), filepath.Join(home, ".pyenv")), "versions"))
	f.below(filepath.Join(data, "uv", "python"))
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		f.programs(dir)
	}
	if chosen != "" && !f.has(chosen) {
		f.environment(filepath.Dir(filepath.Dir(chosen)))
		if !f.has(chosen) {
			f.found = append(f.found, Environment{Python: chosen})
		}
	}
	return f.found
}

func (f *finder) has(python string) bool {
	return slices.ContainsFunc(f.found, func(e Environment) bool { return e.Python == python })
}

// finder collects environments, each once.
type finder struct {
	found []Environment
	seen  map[string]bool // by interpreter
}

// conda looks at an installation of conda.
func (f *finder) conda(root string) {
	f.environment(root)
	f.below(filepath.Join(root, "envs"))
}

// below looks at the environments in a folder.
func (f *finder) below(dir string) {
	names := namesIn(dir)
	for _, name := range names[:min(len(names), maxEnvironments)] {
		f.environment(filepath.Join(dir, name))
	}
}

// environment looks at an environment, if it is one.
func (f *finder) environment(root string) {
	if !filepath.IsAbs(root) {
		return
	}
	python, ok := pythonIn(root)
	if !ok {
		return
	}
	e := Environment{Python: python, Kind: "system"}
	version, packages := libraries(filepath.Join(root, "lib"), "site-packages")
	e.Version = version
	switch {
	case isRegular(filepath.Join(root, "pyvenv.cfg")):
		e.Kind = "venv"
		set := settingsOf(filepath.Join(root, "pyvenv.cfg"))
		e.Version = cmp.Or(versionIn(set["version"]), versionIn(set["version_info"]), version)
		if set["include-system-site-packages"] == "true" {
			packages = append(packages, systemPackages(filepath.Dir(set["home"]), e.Version)...)
		}
	case len(namesIn(filepath.Join(root, "conda-meta"))) > 0:
		e.Kind = "conda"
		e.Version = cmp.Or(condaVersion(root), version)
	case strings.Contains(root, "/.pyenv/") || within(os.Getenv("PYENV_ROOT"), root) && os.Getenv("PYENV_ROOT") != "":
		e.Kind, e.Version = "pyenv", cmp.Or(versionIn(filepath.Base(root)), version)
	case strings.Contains(root, "/uv/python/"):
		e.Kind, e.Version = "uv", cmp.Or(versionIn(strings.TrimPrefix(filepath.Base(root), "cpython-")), version)
	default:
		return // a folder with a bin/python that is none of these: what is on PATH is found there
	}
	e.Torch = torchIn(packages)
	f.add(e, python)
}

// program is the name of an interpreter on PATH.
var program = regexp.MustCompile(`^python3(\.\d+)?$`)

// programs looks at the interpreters in a folder of PATH.
func (f *finder) programs(dir string) {
	if !filepath.IsAbs(dir) || isRegular(filepath.Join(filepath.Dir(dir), "pyvenv.cfg")) {
		return
	}
	for _, name := range namesIn(dir) {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if !program.MatchString(name) || err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		version := versionIn(strings.TrimPrefix(filepath.Base(real), "python"))
		f.add(Environment{Python: path, Version: version, Torch: torchIn(systemPackages(filepath.Dir(dir), version)), Kind: "system"}, real)
	}
}

// tooOld are versions of Python that cells do not run in.
var tooOld = regexp.MustCompile(`^([012]\.|3\.[0-8](\.|$))`)

// add adds an environment, unless there is one with the same interpreter, or its Python is too old.
func (f *finder) add(e Environment, key string) {
	if !f.seen[key] && !tooOld.MatchString(e.Version) {
		f.seen[key] = true
		f.found = append(f.found, e)
	}
}

// systemPackages are the folders of packages of an interpreter that is no environment's.
func systemPackages(prefix, version string) []string {
	minor := version
	if parts := strings.SplitN(version, ".", 3); len(parts) > 1 {
		minor = parts[0] + "." + parts[1]
	}
	home, _ := os.UserHomeDir()
	dirs := []string{
		filepath.Join(home, ".local", "lib", "python"+minor, "site-packages"), filepath.Join("/usr/local/lib", "python"+minor, "dist-packages"),
		filepath.Join(prefix, "lib", "python3", "dist-packages"),
	}
	for _, lib := range []string{"lib", "lib64"} {
		dirs = append(dirs, filepath.Join(prefix, lib, "python"+minor, "site-packages"))
	}
	return dirs
}

// libraries finds the version of Python that has a folder in lib, and its folders of packages.
func libraries(lib, packages string) (version string, dirs []string) {
	for _, name := range namesIn(lib) {
		if of := strings.TrimPrefix(name, "python"); of != name && strings.HasPrefix(of, "3.") {
			version = cmp.Or(version, versionIn(of))
			dirs = append(dirs, filepath.Join(lib, name, packages), filepath.Join(lib+"64", name, packages))
		}
	}
	return version, dirs
}

// metadata is the name of the folder or file that describes an installed torch.
var metadata = regexp.MustCompile(`^torch-([0-9][^-]*?)(\.dist-info|(-py[\d.]+)?\.egg-info)$`)

// torchIn is the version of torch that is installed in the first of these folders that has one.
func torchIn(dirs []string) string {
	for _, dir := range dirs {
		for _, name := range namesIn(dir) {
			if m := metadata.FindStringSubmatch(name); m != nil {
				return m[1]
			}
		}
	}
	return ""
}

// condaVersion is the version of Python in an environment of conda.
func condaVersion(root string) string {
	for _, name := range namesIn(filepath.Join(root, "conda-meta")) {
		if of, ok := strings.CutPrefix(name, "python-3"); ok {
			return versionIn("3" + of)
		}
	}
	return ""
}

var versionPattern = regexp.MustCompile(`^\d+(\.\d+){1,2}`)

// versionIn is the version at the beginning of a text; "" if there is none.
func versionIn(text string) string { return versionPattern.FindString(strings.TrimSpace(text)) }

// settingsOf reads a file with lines such as "version = 3.11.2".
func settingsOf(path string) map[string]string {
	set := map[string]string{}
	for _, line := range linesOf(path) {
		if key, value, ok := strings.Cut(line, "="); ok {
			set[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return set
}

// linesOf reads the first lines of a regular file: a pipe of that name would be waited for.
func linesOf(path string) (lines []string) {
	if !isRegular(path) {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	scanner := bufio.NewScanner(io.LimitReader(file, 64<<10))
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	return lines
}

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// namesIn lists a folder, in order.
func namesIn(dir string) []string {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	file, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer file.Close()
	names, _ := file.Readdirnames(maxNames) // an error means that there are fewer
	slices.Sort(names)
	return names
}
