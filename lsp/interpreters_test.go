package lsp_test

import (
	"os"
	"path/filepath"
	"testing"

	"dipls/internal/lsptest"
)

// The interpreters of a folder that is not trusted are listed, and none of them is run.
func TestInterpreters(t *testing.T) {
	noPythonNamed(t)
	folder, python := hostile(t, true)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(python)), "pyvenv.cfg"), []byte("version = 3.12.1\n"), 0o600))
	e, _ := startFaked(t, lsptest.Options{Folder: folder, Init: lsptest.Object{"trusted": false}, Settings: lsptest.Object{"python": ""}})
	type interpreter struct {
		Path, Version, Torch, Kind string
		Current                    bool
	}
	listed := func() []interpreter {
		var reply struct{ Interpreters []interpreter }
		e.Command("dip.interpreters", lsptest.Object{}, &reply)
		return reply.Interpreters
	}
	if list := listed(); len(list) == 0 || list[0] != (interpreter{Path: python, Version: "3.12.1", Kind: "venv", Current: true}) {
		t.Errorf("%+v, want %s first", list, python)
	}
	e.Settings(lsptest.Object{"python": "/bin/sh"})
	await(t, "the one of the setting as well", func() bool {
		list := listed()
		last := list[len(list)-1]
		return last.Path == "/bin/sh" && last.Current && !list[0].Current
	})
	if _, err := os.Stat(filepath.Join(folder, "ran")); err == nil {
		t.Error("an interpreter was run")
	}
}
