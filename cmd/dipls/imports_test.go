package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the package borders of docs/architecture.md: which project packages each one may import, in tests too; see [testsMayImport].
// Imports point down only.
var mayImport = map[string][]string{
	"dipls/cells": {},

	"dipls/ranks/wire":               {},
	"dipls/ranks/link":               {"dipls/ranks/wire"},
	"dipls/ranks/agent":              {},
	"dipls/ranks/host":               {"dipls/ranks/wire", "dipls/ranks/agent"},
	"dipls/ranks/host/afar":          {"dipls/ranks/host", "dipls/ranks/host/join", "dipls/ranks/host/mux", "dipls/ranks/link", "dipls/ranks/wire"},
	"dipls/ranks/host/afar/afartest": {"dipls/ranks/host/join", "dipls/ranks/host/mux"},
	"dipls/ranks/host/join":          {"dipls/ranks/host/mux"},
	"dipls/ranks/host/mux":           {},
	"dipls/ranks":                    {"dipls/ranks/wire", "dipls/ranks/link", "dipls/ranks/host"},
	"dipls/ranks/fleet/project":      {},
	"dipls/ranks/fleet": {
		"dipls/ranks/agent", "dipls/ranks/fleet/project", "dipls/ranks/host", "dipls/ranks/host/afar", "dipls/ranks/host/join", "dipls/ranks/host/mux",
		"dipls/ranks/launch", "dipls/ranks/wire",
	},
	"dipls/ranks/launch":   {"dipls/ranks/agent"},
	"dipls/ranks/fakerank": {"dipls/ranks/wire", "dipls/ranks/host"},

	"dipls/diagnose": {"dipls/ranks/wire"},

	"dipls/dipexec/event":           {"dipls/ranks/wire"},
	"dipls/dipexec/event/eventtest": {"dipls/dipexec/event"},
	"dipls/dipexec/view":            {"dipls/cells", "dipls/dipexec/event"},
	"dipls/dipexec/journal":         {"dipls/dipexec/event", "dipls/dipexec/view", "dipls/ranks/wire"},
	"dipls/dipexec": {
		"dipls/cells", "dipls/dipexec/event", "dipls/dipexec/journal", "dipls/diagnose", "dipls/ranks", "dipls/ranks/host",
		"dipls/ranks/wire",
	},

	"dipls/session": {
		"dipls/cells", "dipls/diagnose", "dipls/dipexec", "dipls/dipexec/event", "dipls/dipexec/journal", "dipls/internal/trust", "dipls/ranks",
		"dipls/ranks/fleet", "dipls/ranks/host", "dipls/ranks/wire",
	},

	"dipls/session/history": {"dipls/dipexec/event", "dipls/session"},
	"dipls/session/remote": {
		"dipls/cells", "dipls/dipexec/event", "dipls/ranks/wire", "dipls/session", "dipls/session/history",
	},
	"dipls/session/lifetime": {"dipls/session"},
	"dipls/session/registry": {"dipls/dipexec/journal", "dipls/ranks/host", "dipls/ranks/wire", "dipls/session", "dipls/session/remote"},
	"dipls/session/daemon":   {"dipls/session", "dipls/session/lifetime", "dipls/session/registry", "dipls/session/remote"},

	"dipls/lsp/docs": {"dipls/cells"},
	"dipls/lsp/rpc":  {},
	"dipls/lsp": {"dipls/lsp/docs", "dipls/lsp/rpc", "dipls/cells", "dipls/dipexec/event", "dipls/dipexec/view", "dipls/export", "dipls/export/job",
		"dipls/session"},
	"dipls/lsp/gen": {"dipls/lsp", "dipls/cells", "dipls/dipexec/event"},

	"dipls/export":     {"dipls/cells", "dipls/dipexec/event", "dipls/dipexec/view", "dipls/session"},
	"dipls/export/job": {"dipls/cells"},

	"dipls/internal/bytesize":    {},
	"dipls/internal/clean":       {},
	"dipls/internal/contain":     {},
	"dipls/internal/flock":       {},
	"dipls/internal/leaktest":    {},
	"dipls/internal/lsptest":     {},
	"dipls/internal/paced":       {},
	"dipls/internal/private":     {},
	"dipls/internal/quiet":       {},
	"dipls/internal/ranklist":    {},
	"dipls/internal/sessiontest": {"dipls/cells", "dipls/dipexec/event", "dipls/ranks/wire", "dipls/session"},
	"dipls/internal/stress":      {},
	"dipls/internal/testdisk":    {},
	"dipls/internal/testhosts":   {},
	"dipls/internal/testpython":  {},
	"dipls/internal/vocabulary":  {},
	"dipls/internal/trace":       {},
	"dipls/internal/trust":       {"dipls/internal/private"},

	"dipls/cmd/dipls": {
		"dipls/cells", "dipls/dipexec/event", "dipls/dipexec/journal", "dipls/dipexec/view", "dipls/session", "dipls/session/daemon", "dipls/session/registry",
		"dipls/export", "dipls/export/job", "dipls/lsp", "dipls/internal/trust",
		"dipls/ranks/launch", // for a host that joins a session: it is no front of one
	},
	"dipls/bench/keystroke": {"dipls/dipexec/journal", "dipls/session", "dipls/lsp"},
	"dipls/bench/figures": {
		"dipls/cells", "dipls/ranks", "dipls/dipexec", "dipls/dipexec/event", "dipls/dipexec/journal", "dipls/session", "dipls/session/remote",
	},
	"dipls/bench/fanout": {
		"dipls/cells", "dipls/ranks", "dipls/ranks/host", "dipls/ranks/host/join", "dipls/ranks/host/mux", "dipls/ranks/link", "dipls/ranks/wire",
		"dipls/dipexec", "dipls/dipexec/event", "dipls/dipexec/journal",
	},
}

// testsMayImport is what tests of a package may import besides.
var testsMayImport = map[string][]string{
	"dipls/ranks":          {"dipls/ranks/host/afar"}, // for pools over hosts
	"dipls/session/daemon": {"dipls/dipexec/journal"},
	"dipls/lsp": { // for servers with sessions
		"dipls/internal/lsptest", "dipls/internal/trust", "dipls/dipexec/journal", "dipls/session/daemon", "dipls/session/registry",
	},
	"dipls/session/remote":  {"dipls/dipexec/journal"}, // likewise
	"dipls/export":          {"dipls/dipexec/journal"}, // likewise
	"dipls/session/history": {"dipls/ranks/wire"},      // for output to record
}

// tools are what any package may import: each does one thing, and knows nothing of dipls.
var tools = []string{
	"dipls/internal/bytesize", "dipls/internal/clean", "dipls/internal/contain", "dipls/internal/flock", "dipls/internal/paced", "dipls/internal/private",
	"dipls/internal/quiet", "dipls/internal/ranklist", "dipls/internal/trace",
}

// helpers are what any test may import.
var helpers = []string{
	"dipls/dipexec/event/eventtest", "dipls/internal/leaktest", "dipls/internal/sessiontest",
	"dipls/internal/stress", "dipls/internal/testdisk", "dipls/internal/testhosts", "dipls/internal/testpython",
	"dipls/ranks/fakerank", "dipls/ranks/host/afar/afartest",
}

// onlyImporters names the packages that may import a library in their shipped code, because its rules of use are kept there.
var onlyImporters = map[string][]string{
	"github.com/go-zeromq/zmq4": {"dipls/ranks/link"},
	"github.com/spf13/cobra":    {"dipls/cmd/dipls"},
	// docs for positions and URIs as clients write them
	"go.lsp.dev/": {"dipls/lsp", "dipls/lsp/rpc", "dipls/lsp/docs", "dipls/session/remote", "dipls/ranks/host/afar"},
}

func TestPackageBorders(t *testing.T) {
	out, err := exec.Command("go", "list", "-f",
		`{{.ImportPath}}|{{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`, "dipls/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
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
		check := func(imports []string, allowed ...[]string) {
			for _, imported := range imports {
				if strings.HasPrefix(imported, "dipls/") && imported != name && !slices.Contains(slices.Concat(allowed...), imported) {
					t.Errorf("%s must not import %s", name, imported)
				}
			}
		}
		check(imports, allowed, tools, helpers)
		check(testImports, allowed, tools, helpers, testsMayImport[name])
		for _, imported := range imports {
			if slices.Contains(helpers, imported) && !slices.Contains(helpers, name) {
				t.Errorf("%s imports %s outside of tests", name, imported)
			}
			for library, owners := range onlyImporters {
				if strings.HasPrefix(imported, library) && !slices.Contains(owners, name) {
					t.Errorf("%s must not import %s: only %s may", name, imported, strings.Join(owners, ", "))
				}
			}
		}
	}
}
