package lsp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dipls/internal/lsptest"
)

// Each file of a workspace runs as python would run it, locally and on the ranks, whichever ran first.
func TestSecondFileOfAWorkspace(t *testing.T) {
	needPython(t)
	dir := t.TempDir()
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Folder: dir, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	for _, name := range []string{"one ü", "two"} {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "model.py"), fmt.Appendf(nil, "who = %q", name), 0o600); err != nil {
			t.Fatal(err)
		}
		e.Open(name+"/train.py", fmt.Sprintf("# %%%%dip everywhere\nimport sys, os, model\n"+
			"assert (model.who, __file__, sys.argv[0], sys.path[0]) == (%q, %q, __file__, os.path.dirname(__file__))\n",
			name, filepath.Join(folder, "train.py")))
	}
	for _, name := range []string{"two", "one ü", "two"} {
		ran(e, name+"/train.py", 1)
	}
}
