package host

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plant makes files below a folder, by path. One with the text "#!" is an interpreter that must not be run.
func plant(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if text == "#!" {
			mode, text = 0o755, "#!/bin/sh\ntouch '"+filepath.Join(root, "executed")+"'\n"
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnvironments(t *testing.T) {
	root := filepath.Join(t.TempDir(), "home of Zoë")
	folder := filepath.Join(root, "work", "étude")
	for name, value := range map[string]string{
		"HOME": root, "PATH": filepath.Join(root, "bin"), "VIRTUAL_ENV": "", "CONDA_PREFIX": "",
		"WORKON_HOME": "", "PYENV_ROOT": "", "XDG_DATA_HOME": "", "XDG_CACHE_HOME": "",
	} {
		t.Setenv(name, value)
	}
	plant(t, root, map[string]string{
		"work/étude/my env/bin/python": "#!",
		"work/étude/my env/pyvenv.cfg": "home = /usr/bin\r\nversion = 3.12.1\r\n",
		"work/étude/my env/lib/python3.12/site-packages/torch-2.4.0+cu121.dist-info/METADATA":   "",
		"work/étude/my env/lib/python3.12/site-packages/torch_geometric-2.5.dist-info/METADATA": "",
		"work/étude/none/bin/python":                          "#!", // neither pyvenv.cfg nor conda-meta
		"work/.venv/bin/python3":                              "#!",
		"work/.venv/pyvenv.cfg":                               "version_info = 3.10.4.final.0\nhome = " + root + "/bin\ninclude-system-site-packages = true\n",
		"miniconda3/bin/python":                               "#!",
		"miniconda3/conda-meta/history":                       "",
		"miniconda3/conda-meta/python-3.9.18-h955ad1f_0.json": "{}",
		"miniconda3/envs/train/bin/python":                    "#!",
		"miniconda3/envs/train/conda-meta/history":            "",
		"miniconda3/envs/train/lib/python3.11/site-packages/torch-2.1.2-py3.11.egg-info/x": "",
		".conda/environments.txt":                                root + "/miniconda3/envs/train\nrelative\n/gone\n",
		".pyenv/versions/3.8.18/bin/python":                      "#!", // too old
		".pyenv/versions/3.13.0/bin/python":                      "#!",
		".local/share/uv/python/cpython-3.14.1-linux/bin/python": "#!",
		"elsewhere/bin/python":                                   "#!",
		"elsewhere/pyvenv.cfg":                                   "version = 3.9.2",
		"bin/python3.10":                                         "#!",
		"bin/python3-config":                                     "#!",
		"lib/python3/dist-packages/torch-1.13.1.egg-info":        "",
	})
	if err := os.Symlink("python3.10", filepath.Join(root, "bin", "python3")); err != nil {
		t.Fatal(err)
	}
	// What would never end if it were read.
	for _, name := range []string{"work/étude/pipe/pyvenv.cfg", "work/étude/pipe2/conda-meta"} {
		plant(t, root, map[string]string{filepath.Dir(name) + "/bin/python": "#!"})
		if err := syscall.Mkfifo(filepath.Join(root, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(root, name) }
	want := []Environment{
		{at("work/étude/my env/bin/python"), "3.12.1", "2.4.0+cu121", "venv"},
		{at("work/.venv/bin/python3"), "3.10.4", "1.13.1", "venv"},
		{at("miniconda3/envs/train/bin/python"), "3.11", "2.1.2", "conda"},
		{at("miniconda3/bin/python"), "3.9.18", "", "conda"},
		{at(".pyenv/versions/3.13.0/bin/python"), "3.13.0", "", "pyenv"},
		{at(".local/share/uv/python/cpython-3.14.1-linux/bin/python"), "3.14.1", "", "uv"},
		{at("bin/python3"), "3.10", "1.13.1", "system"},
		{at("elsewhere/bin/python"), "3.9.2", "", "venv"},
	}
	ofTheMachine := func(e Environment) bool { return !within(root, e.Python) }
	found := slices.DeleteFunc(Environments(folder, at("elsewhere/bin/python")), ofTheMachine)
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(at("executed")); err == nil {
		t.Error("an interpreter was run")
	}
}
