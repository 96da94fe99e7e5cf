package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/dipexec/event"
	"dipls/lsp"
)

// Fields whose types are given by hand are there.
func TestTypescriptFields(t *testing.T) {
	source, err := readSource(root)
	if err != nil {
		t.Fatal(err)
	}
	schema := lsp.NewSchema()
	text := typescriptReference(schema, source)
	for _, part := range []string{
		"event: 'error';\n", "data?: Record<string, unknown>;\n", "state: 'busy' | 'ready' | 'interrupting' | 'dead' | 'stopped';\n",
		"  run: CurrentRun | null;\n", "'dip.makePool': MakePoolArgs;\n", "gpus?: string | number | number[];\n", "'diagnostics.output'?: 'off' | 'last' | 'full';\n",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q", part)
		}
	}
	types := map[string]reflect.Type{}
	var visit func(reflect.Type)
	visit = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || types[of.Name()] != nil {
			return
		}
		types[of.Name()] = of
		for i := range of.NumField() {
			visit(of.Field(i).Type)
		}
	}
	for _, kind := range eventKinds {
		ev, err := event.ParseJSON([]byte(`{"event":"` + string(kind) + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		visit(reflect.TypeOf(ev))
	}
	for _, c := range schema.Commands {
		visit(c.Args)
		visit(c.Answer)
	}
	for _, m := range schema.Requests {
		visit(m.Params)
		visit(m.Answer)
	}
	visit(schema.Options)
	for name := range typescriptFields {
		owner, field, _ := strings.Cut(name, ".")
		if types[owner] == nil {
			t.Errorf("%s: there is no such type", name)
		} else if _, ok := types[owner].FieldByName(field); !ok {
			t.Errorf("%s: there is no such field", name)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"plain": `'plain'`, "it's": `"it's"`, `say "no"`: `'say "no"'`, `it's "so"`: `'it\'s "so"'`, "a\\b\n": `'a\\b\n'`, "✓": "'✓'", "": "''",
	} {
		if got := quote(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Every kind of event that the page on events describes has a type.
func TestEventKinds(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	page, _, _ = bytes.Cut(page, []byte("\n## Journal\n"))
	var described, known []string
	for line := range strings.Lines(string(page)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			described = append(described, strings.TrimSpace(name))
		}
	}
	for _, kind := range eventKinds {
		known = append(known, string(kind))
	}
	if diff := cmp.Diff(described, known); diff != "" {
		t.Error(diff)
	}
}
