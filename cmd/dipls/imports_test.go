package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the package borders of docs/architecture.md: which project packages each one may import, in tests too.
// Imports point down only.
var mayImport = map[string][]string{
	"dipls/cells":               {},
	"dipls/ranks/wire":          {},
	"dipls/ranks":               {"dipls/internal/trace", "dipls/ranks/wire", "dipls/ranks/fakerank"}, // the last in tests
	"dipls/ranks/fakerank":      {"dipls/ranks/wire"},
	"dipls/dipexec":             {"dipls/internal/trace", "dipls/cells", "dipls/ranks", "dipls/ranks/wire", "dipls/ranks/fakerank"},
	"dipls/session":             {"dipls/cells", "dipls/dipexec", "dipls/ranks", "dipls/ranks/wire", "dipls/ranks/fakerank"},
	"dipls/lsp":                 {"dipls/internal/trace", "dipls/cells", "dipls/dipexec", "dipls/session", "dipls/ranks", "dipls/ranks/wire", "dipls/internal/lsptest"}, // the last in tests
	"dipls/internal/lsptest":    {},
	"dipls/internal/testpython": {},
	"dipls/internal/trace":      {},
	"dipls/cmd/dipls":           {"dipls/internal/trace", "dipls/cells", "dipls/ranks", "dipls/dipexec", "dipls/session", "dipls/lsp"},
	"dipls/bench/keystroke":     {"dipls/dipexec", "dipls/lsp"},
	"dipls/bench/figures":       {"dipls/cells", "dipls/ranks", "dipls/dipexec"},
	"dipls/bench/fanout":        {"dipls/cells", "dipls/ranks", "dipls/ranks/fakerank", "dipls/dipexec"},
}

// onlyImporter names the one package that may import a library in its shipped code, because its rules of use are kept there.
var onlyImporter = map[string]string{
	"github.com/go-zeromq/zmq4": "dipls/ranks",
	"github.com/spf13/cobra":    "dipls/cmd/dipls",
	"go.lsp.dev/":               "dipls/lsp",
}

func TestPackageBorders(t *testing.T) {
	out, err := exec.Command("go", "list", "-f",
		`{{.ImportPath}}|{{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`, "dipls/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	const helper = "dipls/internal/testpython" // any test may import it
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		name, imports, testImports := fields[0], strings.Fields(fields[1]), strings.Fields(fields[2])
		if strings.Contains(name, "/node_modules/") {
			continue // some packages of npm come with Go
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table of package borders", name)
		}
		for _, imported := range slices.Concat(imports, testImports) {
			if strings.HasPrefix(imported, "dipls/") && imported != name && imported != helper && !slices.Contains(allowed, imported) {
				t.Errorf("%s must not import %s", name, imported)
			}
		}
		for _, imported := range imports {
			if strings.HasSuffix(imported, "/fakerank") || imported == helper {
				t.Errorf("%s imports %s outside of tests", name, imported)
			}
			for library, owner := range onlyImporter {
				if strings.HasPrefix(imported, library) && name != owner {
					t.Errorf("%s must not import %s: only %s may", name, imported, owner)
				}
			}
		}
	}
}
