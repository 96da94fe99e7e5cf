package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/lsp"
)

// root is the directory of the project.
const root = "../.."

// The files that are made from tables and types are as these are.
func TestUpToDate(t *testing.T) {
	files, err := generated(root)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the tables and types say (%v): go generate ./lsp", path, err)
		}
	}
}

// The examples of what commands answer are of the types that are declared for it, with all that is always there.
func TestAnswers(t *testing.T) {
	schema := lsp.NewSchema()
	for _, c := range schema.Commands {
		answer := reflect.New(c.Answer).Interface()
		decoder := json.NewDecoder(strings.NewReader(c.Reply))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(answer); err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		encoded, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if json.Unmarshal(encoded, &want) != nil || json.Unmarshal([]byte(c.Reply), &got) != nil {
			t.Fatalf("%s: %s is not JSON", c.Name, encoded)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the example is not all of an answer: %s", c.Name, diff)
		}
	}
}
