package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// sourceDirs are the packages whose types clients see.
var sourceDirs = []string{"lsp", "dipexec", "dipexec/event", "ranks/wire", "session"}

// source is what the text of a program says and reflection does not.
type source struct {
	comments map[string]string   // of the fields of structs, by package.Type.Field
	values   map[string][]string // the constants of string types, by package.Type, in their order
}

// readSource reads the packages of the project at root whose types clients see.
func readSource(root string) (source, error) {
	s := source{comments: map[string]string{}, values: map[string][]string{}}
	for _, dir := range sourceDirs {
		paths, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(paths) == 0 {
			return s, fmt.Errorf("no source in %s (%v)", dir, err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return s, err
			}
			for _, declaration := range file.Decls {
				if declaration, ok := declaration.(*ast.GenDecl); ok {
					s.read(file.Name.Name, declaration)
				}
			}
		}
	}
	return s, nil
}

// read reads a declaration of a package.
func (s source) read(pkg string, declaration *ast.GenDecl) {
	for _, spec := range declaration.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if structure, ok := spec.Type.(*ast.StructType); ok {
				s.readFields(pkg+"."+spec.Name.Name, structure)
			}
		case *ast.ValueSpec:
			if typ, named := spec.Type.(*ast.Ident); named && declaration.Tok == token.CONST {
				s.readConstants(pkg+"."+typ.Name, spec)
			}
		}
	}
}

func (s source) readFields(of string, structure *ast.StructType) {
	for _, field := range structure.Fields.List {
		text := field.Comment.Text()
		if text == "" {
			text = field.Doc.Text()
		}
		for _, name := range field.Names {
			s.comments[of+"."+name.Name] = strings.Join(strings.Fields(text), " ")
		}
	}
}

// readConstants reads those that are strings.
func (s source) readConstants(of string, spec *ast.ValueSpec) {
	for _, value := range spec.Values {
		if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value) // it has been parsed
			s.values[of] = append(s.values[of], text)
		}
	}
}
