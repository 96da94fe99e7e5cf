package lsp

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/dipexec"
)

// fieldComments are the comments of all fields of structs in the packages whose types clients see, as package.Type.Field.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	comments := map[string]string{}
	for _, dir := range []string{".", "../dipexec", "../ranks/wire"} {
		paths, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(paths) == 0 {
			t.Fatalf("no source in %s (%v)", dir, err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				spec, named := n.(*ast.TypeSpec)
				if !named {
					return true
				}
				if structure, ok := spec.Type.(*ast.StructType); ok {
					for _, field := range structure.Fields.List {
						text := field.Comment.Text()
						if text == "" {
							text = field.Doc.Text()
						}
						for _, name := range field.Names {
							comments[file.Name.Name+"."+spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
						}
					}
				}
				return true
			})
		}
	}
	return comments
}

// The examples of what commands answer are of the types that are declared for it, with all that is always there.
func TestAnswers(t *testing.T) {
	for _, c := range commands {
		answer := reflect.New(reflect.TypeOf(c.answer).Elem()).Interface()
		decoder := json.NewDecoder(strings.NewReader(c.reply))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(answer); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		encoded, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if json.Unmarshal(encoded, &want) != nil || json.Unmarshal([]byte(c.reply), &got) != nil {
			t.Fatalf("%s: %s is not JSON", c.name, encoded)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the example is not all of an answer: %s", c.name, diff)
		}
	}
}

// Fields whose types are given by hand are there.
func TestTypescriptFields(t *testing.T) {
	text := typescriptReference(nil)
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
		ev, err := dipexec.ParseJSON([]byte(`{"event":"` + string(kind) + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		visit(reflect.TypeOf(ev))
	}
	for _, c := range commands {
		visit(reflect.TypeOf(c.args))
		visit(reflect.TypeOf(c.answer))
	}
	visit(reflect.TypeFor[cellsAnswer]())
	visit(reflect.TypeFor[options]())
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
	page, err := os.ReadFile("../docs/events.md")
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
