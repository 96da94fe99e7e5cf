package main

import (
	"embed"
	"reflect"
	"strings"
	"text/template"

	"dipls/lsp"
)

//go:embed *.tmpl
var templates embed.FS

// pages are the templates of docs/settings.md and docs/commands.md.
var pages = template.Must(template.New("").Funcs(template.FuncMap{"choice": choiceOf, "arguments": argumentsOf}).ParseFS(templates, "*.tmpl"))

// page is a page of docs, by its name there.
func page(name string, schema lsp.Schema) (string, error) {
	var b strings.Builder
	err := pages.ExecuteTemplate(&b, name+".tmpl", schema)
	return b.String(), err
}

// choiceOf says which values a setting may have, if there are only some.
func choiceOf(row lsp.Setting) string {
	if row.Values == nil {
		return ""
	}
	values := "`" + strings.Join(row.Values, "`, `") + "`."
	if strings.HasPrefix(row.Kind, "array") {
		return "Any of " + values
	}
	return "One of " + values
}

// An argument is a field of a command's argument.
type argument struct {
	Name, Type, Doc string
	Needed          bool
}

// argumentsOf are the fields of a command's argument, those of embedded structs included.
func argumentsOf(c lsp.Command) []argument {
	var arguments []argument
	for _, f := range reflect.VisibleFields(c.Args) {
		if f.Anonymous || f.Tag.Get("json") == "" {
			continue
		}
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		arguments = append(arguments, argument{name, lsp.TypeName(f.Type), f.Tag.Get("doc"), option == ""})
	}
	return arguments
}
