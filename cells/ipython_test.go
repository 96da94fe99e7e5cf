package cells

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// magicsPy asks the agent's own shell, which is IPython's, for the magics that there are.
const magicsPy = `
import json, sys
sys.path.insert(0, sys.argv[1])
from dip_agent.shell import Shell
shell = Shell.make()
for extension in ("autoreload", "storemagic"):
    shell.extension_manager.load_extension(extension)
magics = shell.magics_manager.lsmagic()
json.dump({"line": sorted(magics["line"]), "cell": sorted(magics["cell"])}, sys.stdout)
`

// The table of IPython's magics has all that IPython itself has, and nothing that no IPython has. The interpreters are those of DIPLS_TEST_IPYTHONS, a
// list like PATH, of which one should have the oldest IPython that the agent supports and one the newest; without it the repository's own.
func TestMagicsAgreeWithIPython(t *testing.T) {
	pythons := filepath.SplitList(os.Getenv("DIPLS_TEST_IPYTHONS"))
	if len(pythons) == 0 {
		pythons = []string{filepath.Join("..", ".venv", "bin", "python")}
		if _, err := os.Stat(pythons[0]); err != nil {
			t.Skip("no .venv, and no DIPLS_TEST_IPYTHONS")
		}
	}
	seen := map[string]map[string]bool{"line": {}, "cell": {}}
	for _, python := range pythons {
		cmd := exec.Command(python, "-c", magicsPy, filepath.Join("..", "ranks", "agent", "src"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", python, err, &stderr)
		}
		var magics map[string][]string
		if err := json.Unmarshal(out, &magics); err != nil {
			t.Fatal(err)
		}
		for kind, names := range magics {
			for _, name := range names {
				seen[kind][name] = true
				magic, scope := ipythonMagics[name], known[name]
				there := kind == "line" && (magic.line != notThere || scope&lineScope != 0) ||
					kind == "cell" && (magic.cell != notThere || scope&cellScope != 0)
				if !there {
					t.Errorf("%s: %s magic %s is not in the table", python, kind, name)
				}
			}
		}
	}
	if len(pythons) < 2 {
		return // none of them need have all
	}
	for name, magic := range ipythonMagics {
		if magic.line != notThere && !seen["line"][name] || magic.cell != notThere && !seen["cell"][name] {
			t.Errorf("%s is in the table, but no IPython has it", name)
		}
	}
}

// Comments are magics only if the rest of the line is what the magic takes.
func TestIPythonOrProse(t *testing.T) {
	for _, magic := range []string{
		"# %time x = 1", "# %time", "# %time f(x, y=[1, 2])", "# %time import torch", "# %time from a import b", "# %time await f()", "# %time !ls",
		"# %time x[0] if y else 'it is'", "# %timeit -n 10 f(x)", "# %timeit f'{x} y' 'z'", "#%timeit sum(i for i in range(3))", "# %time del x",
		"# %time for i in x: f(i)", "# %prun -s cumulative f(x)", "# %time not f(x)", "# %time lambda: 0",
		"# %env A=b", "# %env", "# %env A", "# %env A b", "# %env A=b c is d", "# %set_env A=b", "# %config InlineBackend.figure_format = 'retina'",
		"# %load_ext autoreload", "# %autoreload 2", "# %autoreload 2 -p", "# %autoreload complete --print", "# %aimport torch, numpy",
		"# %matplotlib inline", "# %matplotlib inline  # for plots", "# %cd ../data", "# %pwd", "#!%pwd", "# %run train.py --epochs 3 in out",
		"# %pip install -q torch", "# %pip install 'torch>=2'", "# %conda install -c pytorch torch", "# %store -r a b", "# %store x", "# %who int str",
		"# %sx ls -l", "# %system echo hi", "# %xdel a", "# %reset -f", "# %time?", "# %%time?", "# %history -n 1-5", "# %alias ll ls -l",
		"# !ls", "# !nvidia-smi", "# !pip install torch", "# !python -m pip list", "# !./run.sh the thing", "# !echo this is it!", "# !cat a.txt | wc -l",
		"# !A=b cmd", "# !mycmd", "# !mycmd --flag x", "#\t!git commit -m 'the end'", "# !Rscript x.R", "# !{cmd} x", "# !cp a b",
	} {
		if c, _ := Parse("x\n" + magic).Cell(1); len(c.n.cuts) != 1 {
			t.Errorf("%s: taken as a comment", magic)
		}
	}
	for _, prose := range []string{
		"# %time is money", "# %time spent in forward", "# %time series analysis", "# %timeit shows that it is slower", "# %time x?", "# %time don't",
		"# %time the loop.", "# %time and %memory", "# %time,", "# %time-consuming", "# %timer",
		"# %env is set above", "# %env variables are read here", "# %cd to the data folder", "# %load the data first", "# %run this cell again",
		"# %load balancing is on, see below.", "# %matplotlib is needed for this", "# %pip is better than conda", "# %pwd shows where", "# %store what we have",
		"# %reset when it is stuck", "# %watermark", "# %s", "# %d items", "# % time x", "# %", "## %time x = 1", "# # %time x = 1", "# x %time y",
		"# !", "# !!", "# ! ls", "# !!ls", "# !!! careful", "# != 0", "# !important", "# !note: see train.py", "# !Warning", "# !this must be fixed",
		"# !find out why it is slow", "# !make sure that it works", "# !x is not y", "#!ls", "#!/bin/sh", "#!important", "# !x, y",
		"# !/usr/bin/env python3", "# !(a | b) == !a & !b", "# !x -> !a !b", "# !Sub arn:${a}", "# !Ref <id>", "# !a = b",
	} {
		if c, _ := Parse("x\n" + prose).Cell(1); len(c.n.cuts) != 0 {
			t.Errorf("%s: taken as a magic", prose)
		}
	}
	for _, magic := range []string{
		"# %%time", "#%%time", "# %%time x = f()", "# %%timeit -n 3", "# %%capture out", "# %%capture --no-stderr", "# %%bash", "# %%bash -e", "# %%sh",
		"# %%writefile Makefile", "# %%writefile -a x.py", "# %%file ./x", "# %%script bash", "# %%script false --no-raise-error", "# %%html", "# %%latex",
		"# %%prun", "# %%sx", "# %%!", "#!%%time", "# %%python3", "# %%javascript",
	} {
		if c, ok := Parse(magic + "\nx").Cell(1); !ok || c.n.origin != byCellMagic || c.Title() != "" {
			t.Errorf("%s: taken as a title", magic)
		}
	}
}

// IPython's own magics are never taken for a misspelling of ours.
func TestIPythonIsNotNear(t *testing.T) {
	for name, magic := range ipythonMagics {
		for text, there := range map[string]bool{"# %" + name: magic.line != notThere, "# %%" + name: magic.cell != notThere} {
			if n, ok := nearMagic(text); ok && there {
				t.Errorf("%s is nearly %s", text, n.fix)
			}
		}
	}
}
