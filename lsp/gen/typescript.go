package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/lsp"
)

// typescriptReference is what a client in TypeScript needs to know of the server, as a module: the types of what it sends and takes, made from the structs
// that are encoded, and the tables of commands and settings.
func typescriptReference(schema lsp.Schema, source source) string {
	t := &typescript{schema: schema, source: source, names: map[reflect.Type]string{}, known: map[string]reflect.Type{}}
	t.body.WriteString("// Made from the server's types and tables by \"go generate ./lsp\".\n")
	t.events()
	t.commands()
	t.settings()
	t.messages()
	return t.body.String()
}

// eventKinds are all kinds of events.
var eventKinds = []event.Kind{
	event.KindRunQueued, event.KindRunStarted, event.KindStream, event.KindDisplay, event.KindResult, event.KindError,
	event.KindRankState, event.KindPoolState, event.KindRunFinished, event.KindHang, event.KindInput, event.KindLog,
}

// typescriptTypes are the types that are written otherwise than by their kind, as package.Type in Go.
var typescriptTypes = map[string]string{
	"uri.URI":         "string",
	"ranklist.Who":    "number",
	"ranklist.List":   "string",
	"lsp.gpuList":     "string | number | number[]",
	"json.RawMessage": "unknown", // any JSON: a value of a MIME type
	"event.Event":     "DipEvent",
	"event.List":      "DipEvent[]",
	"time.Time":       "string", // RFC 3339
}

// typescriptFields are fields whose type says less than is true, as Type.Field in Go.
var typescriptFields = map[string]string{
	"Stream.Name":         union("stdout", "stderr"),
	"RankState.State":     union("busy", "ready", "interrupting", "dead", "stopped"),
	"PoolState.State":     union("none", "starting", "ready", "dead", "stopped"),
	"runStatus.State":     union("queued", "running"),
	"options.Trusted":     "boolean",
	"Object.Kind":         union("instance", "function", "class", "module", "property"),
	"Header.Kind":         "string", // of an event it is its own kind
	"variableValue.Local": "true",
	"cellInfo.Kind":       union(cells.CodeCell.String(), cells.MarkdownCell.String(), cells.RawCell.String()),
	"PoolInfo.State":      union("none", "starting", "ready", "busy", "interrupting", "dead", "stopped"),
	"RankInfo.State":      union("starting", "ready", "busy", "interrupting", "dead", "stopped"),
	"LocalInfo.State":     union("starting", "ready", "busy", "interrupting", "dead", "stopped"),
	"PoolInfo.Method":     union("", "fork", "spawn"),
}

// typescript writes a module.
type typescript struct {
	schema lsp.Schema
	source source
	body   strings.Builder
	names  map[reflect.Type]string // of the interfaces that have been written
	known  map[string]reflect.Type // the same, the other way round
}

// section writes something at the top level.
func (t *typescript) section(format string, args ...any) {
	t.body.WriteByte('\n')
	fmt.Fprintf(&t.body, format, args...)
}

func (t *typescript) events() {
	var names []string
	for _, kind := range eventKinds {
		ev, err := event.ParseJSON(fmt.Appendf(nil, `{"event":%q}`, kind))
		if err != nil {
			panic("gen: " + err.Error()) // a mistake in the table
		}
		of := reflect.TypeOf(ev).Elem()
		name := of.Name() + "Event"
		names = append(names, name)
		t.interfaceOf(name, of, false, map[string]string{"event": quote(string(kind))})
	}
	t.section("/** What happens in runs and pools. */\n%s", declaration("export type DipEvent =", names, ";"))
}

func (t *typescript) commands() {
	var arguments, answers strings.Builder
	for _, c := range t.schema.Commands {
		fmt.Fprintf(&arguments, "  %s: %s;\n", quote(t.prefixed(c.Name)), t.named(c.Args, true))
		fmt.Fprintf(&answers, "  %s: %s;\n", quote(t.prefixed(c.Name)), t.named(c.Answer, false))
	}
	t.section("/** The argument of each command. */\nexport interface CommandArguments {\n%s}\n", &arguments)
	t.section("/** What each command answers. */\nexport interface CommandAnswers {\n%s}\n", &answers)
	t.section("export type CommandName = keyof CommandArguments;\n")
	t.section("export interface CommandRow {\n  readonly name: CommandName;\n  readonly title: string;\n}\n")
	t.section("/** All commands. */\nexport const commands: readonly CommandRow[] = [\n")
	for _, c := range t.schema.Commands {
		t.row([][2]string{{"name", quote(t.prefixed(c.Name))}, {"title", quote(c.Title)}})
	}
	t.body.WriteString("];\n")
}

func (t *typescript) settings() {
	t.section("/** Settings without their prefix. */\nexport interface Settings {\n")
	for _, row := range t.schema.Settings {
		t.field(property(row.Key), true, settingType(row), row.Doc)
	}
	t.body.WriteString("}\n")
	t.section("export interface SettingRow {\n  readonly key: string;\n  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object';\n" +
		"  /** What a value, or each in an array, can be. */\n  readonly enum?: readonly string[];\n" +
		"  readonly default: string | number | boolean | readonly string[] | Readonly<Record<string, string>>;\n" +
		"  /** What it does, in Markdown. */\n  readonly doc: string;\n}\n")
	t.section("/** All settings. */\nexport const settings: readonly SettingRow[] = [\n")
	for _, row := range t.schema.Settings {
		kind, _, _ := strings.Cut(row.Kind, " ")
		fields := [][2]string{{"key", quote(t.prefixed(row.Key))}, {"type", quote(kind)}}
		if row.Values != nil {
			fields = append(fields, [2]string{"enum", list(row.Values)})
		}
		t.row(append(fields, [2]string{"default", settingDefault(row)}, [2]string{"doc", quoteText(row.Doc)}))
	}
	t.body.WriteString("];\n")
}

// prefixed is the full name of a command or a setting.
func (t *typescript) prefixed(name string) string { return t.schema.Section + "." + name }

// settingType is the type of a setting.
func settingType(row lsp.Setting) string {
	one := "string"
	if row.Values != nil {
		one = union(row.Values...)
	}
	switch row.Kind {
	case "array of strings":
		return arrayOf(one)
	case "object of strings":
		return "Readonly<Record<string, string>>"
	case "integer":
		return "number"
	case "string":
		return one
	}
	return row.Kind
}

// settingDefault is the default of a setting.
func settingDefault(row lsp.Setting) string {
	var text string
	if json.Unmarshal([]byte(row.Default), &text) == nil {
		return quote(text)
	}
	var texts []string
	if json.Unmarshal([]byte(row.Default), &texts) == nil {
		return list(texts)
	}
	return row.Default
}

// messages writes what LSP does not have.
func (t *typescript) messages() {
	t.interfaceOf("InitializationOptions extends Settings", t.schema.Options, true, nil)
	rows := map[string]string{} // by method
	for _, m := range t.schema.Requests {
		rows[m.Method] = fmt.Sprintf("{ params: %s; answer: %s }", t.named(m.Params, true), t.named(m.Answer, false))
	}
	for _, m := range t.schema.ClientRequests {
		rows[m.Method] = fmt.Sprintf("{ params: %s; answer: %s | null }", t.named(m.Params, false), t.named(m.Answer, true))
	}
	for _, m := range slices.Concat(t.schema.ClientNotifications, t.schema.Notifications) {
		rows[m.Method] = "undefined"
		if m.Params != nil {
			rows[m.Method] = t.typeOf(m.Params, false)
		}
	}
	table := func(doc, name string, messages []lsp.Message) {
		t.section("/** %s. */\nexport interface %s {\n", doc, name)
		for _, m := range messages {
			fmt.Fprintf(&t.body, "  %s: %s;\n", quote(m.Method), rows[m.Method])
		}
		t.body.WriteString("}\n")
	}
	table("The requests that LSP does not have", "Requests", t.schema.Requests)
	table("The server's requests that LSP does not have", "ServerRequests", t.schema.ClientRequests)
	table("The client's notifications that LSP does not have, with their parameters", "ClientNotifications", t.schema.ClientNotifications)
	table("The parameters of the server's notifications that LSP does not have", "Notifications", t.schema.Notifications)
}

// named is the name of a struct's interface, which is written first if it has not been.
func (t *typescript) named(of reflect.Type, argument bool) string {
	name, written := t.names[of]
	if written {
		return name
	}
	first, size := utf8.DecodeRuneInString(of.Name())
	name = string(unicode.ToUpper(first)) + of.Name()[size:]
	if t.known[name] != nil {
		panic(fmt.Sprintf("gen: %v and %v have one name in TypeScript", of, t.known[name]))
	}
	t.names[of], t.known[name] = name, of
	if of.NumField() == 0 {
		t.section("export type %s = Record<string, never>;\n", name)
		return name
	}
	t.interfaceOf(name, of, argument, nil)
	return name
}

// interfaceOf writes a struct, after the structs of its fields. In an argument, a pointer that is needed is never null; elsewhere it may be. given has the
// types of fields whose Go type says less than is known.
func (t *typescript) interfaceOf(name string, of reflect.Type, argument bool, given map[string]string) {
	type field struct {
		name, typ, doc string
		optional       bool
	}
	var fields []field
	for _, f := range jsonFields(of) {
		key, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		typ := given[key]
		if typ == "" {
			typ = t.fieldType(of, f, argument)
		}
		doc := cmp.Or(f.Tag.Get("doc"), t.source.comments[ownerOf(of, f).String()+"."+f.Name])
		fields = append(fields, field{property(key), typ, doc, option != ""})
	}
	t.section("export interface %s {\n", name)
	for _, f := range fields {
		t.field(f.name, f.optional, f.typ, f.doc)
	}
	t.body.WriteString("}\n")
}

// jsonFields are the fields of a struct that are encoded, those of embedded structs included, of which an outer one hides an inner one of the same name.
func jsonFields(of reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(of) {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key == "" || key == "-" {
			continue
		}
		hidden := slices.IndexFunc(fields, func(g reflect.StructField) bool {
			other, _, _ := strings.Cut(g.Tag.Get("json"), ",")
			return other == key && len(g.Index) < len(f.Index)
		})
		if hidden < 0 {
			fields = append(fields, f)
		}
	}
	return fields
}

// ownerOf is the struct that a field is of: of, or one that is embedded in it.
func ownerOf(of reflect.Type, f reflect.StructField) reflect.Type {
	for _, i := range f.Index[:len(f.Index)-1] {
		of = of.Field(i).Type
	}
	return of
}

// fieldType is the type of a field of a struct, or of one that is embedded in it.
func (t *typescript) fieldType(of reflect.Type, f reflect.StructField, argument bool) string {
	if typ := typescriptFields[ownerOf(of, f).Name()+"."+f.Name]; typ != "" {
		return typ
	}
	typ := t.typeOf(f.Type, argument)
	if _, option, _ := strings.Cut(f.Tag.Get("json"), ","); f.Type.Kind() == reflect.Pointer && option == "" && !argument {
		return typ + " | null"
	}
	return typ
}

func (t *typescript) typeOf(of reflect.Type, argument bool) string {
	if typ, ok := typescriptTypes[of.String()]; ok {
		return typ
	}
	if values := t.source.values[of.String()]; values != nil {
		return union(values...)
	}
	switch of.Kind() {
	case reflect.Pointer:
		return t.typeOf(of.Elem(), argument)
	case reflect.Struct:
		return t.named(of, argument)
	case reflect.Slice:
		return arrayOf(t.typeOf(of.Elem(), argument))
	case reflect.Map:
		return fmt.Sprintf("Record<%s, %s>", t.typeOf(of.Key(), argument), t.typeOf(of.Elem(), argument))
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return "number"
	}
	panic(fmt.Sprintf("gen: there is no type in TypeScript for %v", of))
}

// field writes a field of an interface.
func (t *typescript) field(name string, optional bool, typ, doc string) {
	if doc != "" {
		doc = strings.NewReplacer("*/", "*\\/", "nil:", "null:").Replace(doc)
		if lines := wrap(doc, lineWidth-len("  /**  */")); len(lines) == 1 {
			fmt.Fprintf(&t.body, "  /** %s */\n", doc)
		} else {
			fmt.Fprintf(&t.body, "  /**\n   * %s\n   */\n", strings.Join(lines, "\n   * "))
		}
	}
	mark := ""
	if optional {
		mark = "?"
	}
	t.body.WriteString(indent(declaration(name+mark+":", strings.Split(typ, " | "), ";"), "  "))
}

// row writes an object of a table. A value of several lines begins below its key.
func (t *typescript) row(fields [][2]string) {
	t.body.WriteString("  {\n")
	for _, f := range fields {
		key, value := f[0], " "+f[1]
		if strings.Contains(value, "\n") {
			value = "\n" + indent(f[1], "      ")
		}
		fmt.Fprintf(&t.body, "    %s:%s,\n", key, value)
	}
	t.body.WriteString("  },\n")
}

// wrap breaks text at blanks into lines of at most so many characters, where it has blanks.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// quoteText is a string as a row has it: one that is too long for a line is a sum of several.
func quoteText(text string) string {
	lines := wrap(text, lineWidth-len("      '' +"))
	for i, line := range lines {
		if i < len(lines)-1 {
			line += " "
		}
		lines[i] = quote(line)
	}
	if one := quote(text); len(lines) == 1 && utf8.RuneCountInString("    doc: "+one+",") > lineWidth {
		return "\n" + one
	}
	return strings.Join(lines, " +\n")
}

// lineWidth is how long a line may be before it is broken.
const lineWidth = 120

// declaration is a union behind what it is the type of, in one line if that is not too long.
func declaration(head string, members []string, end string) string {
	line := head + " " + strings.Join(members, " | ") + end + "\n"
	if utf8.RuneCountInString(line)+1 <= lineWidth {
		return line
	}
	return head + "\n  | " + strings.Join(members, "\n  | ") + end + "\n"
}

// indent indents lines.
func indent(lines, by string) string {
	return by + strings.TrimSuffix(strings.ReplaceAll(lines, "\n", "\n"+by), by)
}

// union is the type of any of some strings.
func union(values ...string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return strings.Join(quoted, " | ")
}

func arrayOf(typ string) string {
	if strings.Contains(typ, " | ") {
		return "(" + typ + ")[]"
	}
	return typ + "[]"
}

// list is an array of strings.
func list(values []string) string {
	return "[" + strings.ReplaceAll(union(values...), " | ", ", ") + "]"
}

// property is the name of a property, quoted if need be.
func property(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return quote(name)
	}
	return name
}

// quote is a string in the quotes that need fewer escapes, by preference single ones.
func quote(text string) string {
	double := strconv.Quote(text)
	if strings.Count(text, "'") > strings.Count(text, `"`) {
		return double
	}
	inner := strings.ReplaceAll(double[1:len(double)-1], `\"`, `"`)
	return "'" + strings.ReplaceAll(inner, "'", `\'`) + "'"
}
