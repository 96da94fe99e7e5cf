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
	var reply struct {
		Interpreters []struct {
			Path, Version, Torch, Kind string
			Current                    bool
		}
	}
	e.Command("dip.interpreters", lsptest.Object{}, &reply)
	if len(reply.Interpreters) == 0 || reply.Interpreters[0].Path != python || reply.Interpreters[0].Version != "3.12.1" || reply.Interpreters[0].Kind != "venv" ||
		!reply.Interpreters[0].Current {
		t.Errorf("%+v, want %s first", reply, python)
	}
	e.Settings(lsptest.Object{"python": "/bin/sh"})
	e.Command("dip.interpreters", lsptest.Object{}, &reply)
	if last := reply.Interpreters[len(reply.Interpreters)-1]; last.Path != "/bin/sh" || !last.Current || reply.Interpreters[0].Current {
		t.Errorf("%+v, want the one of the setting as well", reply)
	}
	if _, err := os.Stat(filepath.Join(folder, "ran")); err == nil {
		t.Error("an interpreter was run")
	}
}
