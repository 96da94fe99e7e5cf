package main

import (
	"fmt"
	"reflect"
	"strings"

	"dipls/lsp"
)

// settingsReference is docs/settings.md.
func settingsReference(schema lsp.Schema) string {
	var b strings.Builder
	b.WriteString(`<!-- Made from the table in lsp/settings.go by "go generate ./lsp". -->
# Settings

The language server takes settings in three ways; a later one wins:

1. ` + "`initializationOptions`" + ` of the ` + "`initialize`" + ` request, without the prefix ` + "`dip.`" + `: ` + "`{\"ranks\": 4, \"diagnostics\": {\"output\": \"off\"}}`" + `
2. ` + "`workspace/configuration`" + `, section ` + "`dip`" + `, asked for after ` + "`initialized`" + ` and after each ` + "`workspace/didChangeConfiguration`" + ` and
` + "`workspace/didChangeWorkspaceFolders`" + `, once for each workspace folder
3. ` + "`workspace/didChangeConfiguration`" + ` with ` + "`{\"settings\": {\"dip\": {…}}}`" + `, from clients that cannot be asked

A key with a dot may be nested. A value that does not fit is told to the user, and the setting stays as it was. Settings that say how Python is
started (` + "`dip.python`, `dip.preload`, `dip.start`" + `) count when it is started: ` + "`dip.restart`" + ` does that anew. Those of a pool count for the next one:
` + "`dip.restartPool`" + ` makes it. When one of them changes, the user is told so and may choose it there and then (` + "`window/showMessageRequest`" + `).

| setting | type | default | |
|---|---|---|---|
`)
	for _, row := range schema.Settings {
		doc := row.Doc
		if row.Values != nil {
			doc += " One of `" + strings.Join(row.Values, "`, `") + "`."
			if strings.HasPrefix(row.Kind, "array") {
				doc = row.Doc + " Any of `" + strings.Join(row.Values, "`, `") + "`."
			}
		}
		fmt.Fprintf(&b, "| `%s.%s` | %s | `%s` | %s |\n", schema.Section, row.Key, row.Kind, row.Default, doc)
	}
	b.WriteString(`
Besides, ` + "`initializationOptions.events: true`" + ` asks for [events](language-server.md#output) instead of text, and ` + "`initializationOptions.trusted`" + ` says whether what
is in the folders may be run. With ` + "`true`" + ` it may, also to start Python ahead. With ` + "`false`" + `, as editors say where their user has not said otherwise, no process is ever
started, Python included, and commands that need one answer with an error, until the client sends the notification ` + "`dip/trusted`" + `. A client that says nothing runs nothing of a folder
until a command that runs something: that is the user's consent for this folder, one message says what will run, and it is remembered (` + "`dipls trust`" + `). About an interpreter that belongs to the
folder (` + "`.venv`" + `) the user is asked once (` + "`window/showMessageRequest`" + `); a client that cannot ask is told, and goes on. [SECURITY.md](../SECURITY.md) has the rule.
`)
	return b.String()
}

// commandsReference is docs/commands.md.
func commandsReference(schema lsp.Schema) string {
	var b strings.Builder
	b.WriteString(`<!-- Made from the table in lsp/commands.go by "go generate ./lsp". -->
# Commands

The language server's commands, for ` + "`workspace/executeCommand`" + `. Each takes one object as its only argument, which may be left out where
nothing in it is needed, and ignores fields that it does not know. A command that runs something answers with the run's id at once; the rest
comes as [events](events.md), and as diagnostics, lenses and hints. Runs begin in the order of the commands, with the text as it is
when the command comes.
`)
	for _, c := range schema.Commands {
		fmt.Fprintf(&b, "\n## %s.%s\n\n%s\n", schema.Section, c.Name, c.Doc)
		if fields := fieldsOf(c.Args); len(fields) > 0 {
			b.WriteString("\n| argument | type | |\n|---|---|---|\n")
			for _, f := range fields {
				name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
				need := ""
				if option == "" {
					need = "; needed"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s%s |\n", name, lsp.TypeName(f.Type), f.Tag.Get("doc"), need)
			}
		}
		fmt.Fprintf(&b, "\nAnswers `%s`.\n", c.Reply)
	}
	return b.String()
}

// fieldsOf are the fields of a struct of arguments, those of embedded structs included.
func fieldsOf(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous && f.Tag.Get("json") != "" {
			fields = append(fields, f)
		}
	}
	return fields
}
