// Command gen writes what is made from the language server's tables and types: docs/settings.md, docs/commands.md, and for VS Code's extension the TypeScript
// module that it is compiled with and a grammar. "go generate ./lsp" runs it; nothing of it is in the program that users have.
//
// A command or a setting is changed in the tables of package lsp, a message in the struct that is encoded. What the module says of a field is the
// field's own comment.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"dipls/lsp"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen ROOT, the directory of the project")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// write writes all files of the project at root.
func write(root string) error {
	files, err := generated(root)
	if err != nil {
		return err
	}
	for path, text := range files {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generated are the files to be, by their path in the project at root.
func generated(root string) (map[string]string, error) {
	source, err := readSource(root)
	if err != nil {
		return nil, err
	}
	schema := lsp.NewSchema()
	files := map[string]string{"vscode-extension/src/generated/server.ts": typescriptReference(schema, source)}
	if files[grammarPath], err = grammar(); err != nil {
		return nil, err
	}
	for _, name := range []string{"settings.md", "commands.md"} {
		if files["docs/"+name], err = page(name, schema); err != nil {
			return nil, err
		}
	}
	return files, nil
}
