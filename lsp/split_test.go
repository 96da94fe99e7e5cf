package lsp_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

var updateSplit = flag.Bool("update-split", false, "write testdata/split.json anew")

// A text that is split gives itself back. testdata/split.json has the pieces of all example files, for clients that make something of them.
func TestSplit(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events})
	files, err := filepath.Glob("../testdata/c[ae]*s/*.py")
	must(t, err)
	if len(files) < 5 {
		t.Fatalf("%d example files", len(files))
	}
	type piece struct {
		Kind   string `json:"kind"`
		Header string `json:"header"`
		Body   string `json:"body"`
	}
	type pieces struct {
		Gap   string  `json:"gap"`
		Cells []piece `json:"cells"`
	}
	all := map[string]pieces{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		if valid := strings.ToValidUTF8(string(text), ""); valid != string(text) {
			continue // no editor gives such a text
		}
		var answer pieces
		must(t, e.Call("dip/split", lsptest.Object{"text": string(text)}, &answer))
		joined := answer.Gap
		for _, c := range answer.Cells {
			joined += c.Header + c.Body
		}
		if joined != string(text) {
			t.Errorf("%s: the pieces are not the text", file)
		}
		all[strings.TrimPrefix(filepath.ToSlash(file), "../testdata/")] = answer
	}
	want, err := json.MarshalIndent(all, "", " ")
	must(t, err)
	golden := "../testdata/split.json"
	if *updateSplit {
		must(t, os.WriteFile(golden, append(want, '\n'), 0o644))
	}
	if got, err := os.ReadFile(golden); err != nil || string(got) != string(want)+"\n" {
		t.Errorf("%s is not up to date (%v): go test ./lsp -run TestSplit -update-split", golden, err)
	}
}
