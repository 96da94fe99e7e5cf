package lsp

import (
	"strings"
	"testing"

	"dipls/cells"
)

// Every magic and every flag of one is told what it does, and nothing else is.
func TestMagicDocs(t *testing.T) {
	used := map[string]bool{}
	for _, cell := range []bool{false, true} {
		for _, name := range cells.MagicNames(cell) {
			magic := "%" + name
			if cell {
				magic = "%%" + name
			}
			if magicDocs[magic] == "" {
				t.Errorf("%s is not told of", magic)
			}
			for _, f := range cells.FlagsOf(name, cell) {
				if flagDoc(magic, f) == "" {
					t.Errorf("%s %s is not told of", magic, f.Names[0])
				}
				if _, own := flagDocs[magic+" "+f.Names[0]]; own {
					used[magic+" "+f.Names[0]] = true
				} else {
					used[f.Names[0]] = true
				}
			}
		}
	}
	for key := range flagDocs {
		if !used[key] {
			t.Errorf("there is no %s", strings.TrimSpace(key))
		}
	}
}
