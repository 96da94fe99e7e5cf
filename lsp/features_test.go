package lsp

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"
)

// neighbours are the files that may know what belongs to features: the table that makes them, and what lsp/gen is given.
var neighbours = map[string]bool{"feature.go": true, "schema.go": true}

// A feature never calls another feature, and nothing else calls one: what is declared in a feature's files is used there only. A feature's files are the one
// of its constructor, and those whose names begin with that one's and an underscore. What two features need belongs below them: in a store such as the
// board and the marks, in the words about runs, or in docs.
func TestFeaturesKeepApart(t *testing.T) {
	info, files, fset := typesOf(t)
	base := func(p token.Pos) string { return filepath.Base(fset.Position(p).Filename) }

	features := map[string]string{} // the main file of each
	for _, name := range constructors(t, files["feature.go"]) {
		for id, o := range info.Defs {
			if f, ok := o.(*types.Func); ok && id.Name == name && f.Signature().Recv() == nil {
				features[base(id.Pos())] = name
			}
		}
	}
	if len(features) < 10 {
		t.Fatalf("only these features are found: %v", features)
	}
	featureOf := func(file string) string {
		if features[file] != "" {
			return file
		}
		stem, _, _ := strings.Cut(strings.TrimSuffix(file, ".go"), "_")
		if features[stem+".go"] != "" {
			return stem + ".go"
		}
		return ""
	}

	for id, o := range info.Uses {
		if o.Pkg() == nil || o.Pkg().Name() != "lsp" || !o.Pos().IsValid() {
			continue
		}
		user, owner := base(id.Pos()), featureOf(base(o.Pos()))
		if owner == "" || owner == featureOf(user) || neighbours[user] || isLocal(o) {
			continue
		}
		t.Errorf("%v: %s is used, which belongs to the feature of %s. A feature never calls another one, and nothing calls a feature: move what both need "+
			"below them, to a store, to the words about runs or to docs", fset.Position(id.Pos()), o.Name(), owner)
	}
}

// isLocal reports whether an object is declared within a function.
func isLocal(o types.Object) bool {
	if v, ok := o.(*types.Var); ok && v.IsField() {
		return false
	}
	f, isFunc := o.(*types.Func)
	return o.Parent() != o.Pkg().Scope() && !(isFunc && f.Signature().Recv() != nil)
}

// constructors are the functions in the table of features.
func constructors(t *testing.T, file *ast.File) (names []string) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "features" {
			for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
				names = append(names, e.(*ast.Ident).Name)
			}
		}
		return true
	})
	return names
}

// typesOf checks the types of the package, of those that it declares itself: what it imports is not looked at.
func typesOf(t *testing.T) (*types.Info, map[string]*ast.File, *token.FileSet) {
	t.Helper()
	fset := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	var list []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = file
		list = append(list, file)
	}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: nothing{}, Error: func(error) {}}
	_, _ = config.Check("dipls/lsp", fset, list, info) // without its imports it has errors
	return info, files, fset
}

// nothing is an importer that imports nothing.
type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not looked at") }
