package lsp

import (
	"fmt"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

// objectKinds maps the kinds of objects that namespaces report to LSP's.
var objectKinds = map[string]protocol.CompletionItemKind{
	"instance": protocol.CompletionItemKindVariable, "function": protocol.CompletionItemKindFunction, "class": protocol.CompletionItemKindClass,
	"module": protocol.CompletionItemKindModule, "property": protocol.CompletionItemKindProperty, "param": protocol.CompletionItemKindField,
	"keyword": protocol.CompletionItemKindKeyword, "magic": protocol.CompletionItemKindFunction,
}

// variant is an object on which some processes agree.
type variant struct {
	who    []ranklist.Who
	object session.Object
}

// foldObjects groups processes whose objects have the same key. Groups are in the order of their first process.
func foldObjects(who []ranklist.Who, objects []session.Object, key func(session.Object) string) []variant {
	var found []variant
	index := map[string]int{}
	for i, o := range objects {
		k := key(o)
		at, known := index[k]
		if !known {
			at = len(found)
			index[k] = at
			found = append(found, variant{object: o})
		}
		found[at].who = append(found[at].who, who[i])
	}
	return found
}

// describeName describes what processes bind a name to, in Markdown or plain text; "" if none binds it. hostOf is as for [ranklist.Together].
func describeName(answers []session.Inspection, hostOf func(rank int) string, markdown bool) string {
	var who, missing []ranklist.Who
	name := func(who []ranklist.Who) string { return ranklist.NameEach(who) + ranklist.OnHost(who, hostOf) }
	var objects []session.Object
	for _, a := range answers {
		switch {
		case a.Silent:
		case a.Found && a.Object != nil:
			who, objects = append(who, a.Who), append(objects, *a.Object)
		default:
			missing = append(missing, a.Who)
		}
	}
	if len(objects) == 0 {
		return ""
	}
	// Ranks whose objects differ only in device or value share a paragraph, with all of their devices and values.
	outlines := foldObjects(who, objects, func(o session.Object) string { return fmt.Sprint(o.Type, o.Shape, o.DType, o.Signature, "\x00", o.Doc) })
	tell := name
	if len(answers) == 1 && answers[0].Who.IsLocal() {
		tell = nil
	}
	var parts []string
	for _, v := range outlines {
		var same []session.Object
		for i, w := range who {
			if slices.Contains(v.who, w) {
				same = append(same, objects[i])
			}
		}
		parts = append(parts, describeVariant(v, same, tell, markdown))
	}
	if len(missing) > 0 {
		parts = append(parts, "not defined: "+name(missing))
	}
	return strings.Join(parts, "\n\n")
}

// describeVariant describes the object of processes that agree on everything but device and value. name names them; nil: they need no name.
func describeVariant(v variant, objects []session.Object, name func([]ranklist.Who) string, markdown bool) string {
	o := v.object
	code := clean.Line
	bold := code
	if markdown {
		code = codeSpan
		bold = func(text string) string { return "**" + code(text) + "**" }
	}
	head := bold(o.Name + o.Signature)
	facts := []string{code(o.Type)}
	if o.Kind != "instance" {
		facts = []string{o.Kind}
		if _, known := objectKinds[o.Kind]; !known {
			facts[0] = code(o.Kind)
		}
	}
	if o.Shape != nil {
		facts = append(facts, "shape "+code(shapeText(o.Shape)))
	}
	if o.DType != "" {
		facts = append(facts, code(o.DType))
	}
	if devices := devicesOf(objects); devices != "" {
		facts = append(facts, code(devices))
	}
	switch {
	case o.Bytes != nil:
		facts = append(facts, bytesText(*o.Bytes))
	case o.Length != nil && o.Shape == nil:
		facts = append(facts, fmt.Sprintf("length %d", *o.Length))
	}
	head += " " + view.Joined(facts...)
	if name != nil {
		head += " — " + name(v.who)
	}
	parts := []string{head}
	values := foldObjects(v.who, objects, func(o session.Object) string { return o.Text })
	var lines []string
	for _, value := range values {
		text := value.object.Text
		if text == "" || o.Kind == "class" || o.Kind == "module" {
			continue
		}
		if len(values) > 1 {
			text = name(value.who) + ": " + text
		}
		lines = append(lines, text)
	}
	if len(lines) > 0 {
		parts = append(parts, codeBlock(strings.Join(lines, "\n"), markdown))
	}
	if o.Doc != "" {
		parts = append(parts, codeBlock(o.Doc, markdown))
	}
	return strings.Join(parts, "\n\n")
}

// codeSpan makes text a code span on one line. Nothing in it can end the span, neither a backtick nor a blank line.
func codeSpan(text string) string {
	text = strings.TrimSpace(strings.ReplaceAll(clean.Line(text), "`", "'"))
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// codeBlock makes text a code block.
func codeBlock(text string, markdown bool) string {
	text = clean.Text(text)
	if !markdown {
		return text
	}
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + text + "\n" + fence
}

// shapeText writes a shape as Python does.
func shapeText(shape []int) string {
	text := strings.Join(strings.Fields(strings.Trim(fmt.Sprint(shape), "[]")), ", ")
	if len(shape) == 1 {
		text += ","
	}
	return "(" + text + ")"
}

// devicesOf names the devices of objects: "cpu", "cuda:0-3".
func devicesOf(objects []session.Object) string {
	var numbers []int
	var names []string
	for _, o := range objects {
		var n int
		if rest, ok := strings.CutPrefix(o.Device, "cuda:"); ok {
			if _, err := fmt.Sscanf(rest, "%d", &n); err == nil {
				numbers = append(numbers, n)
				continue
			}
		}
		if o.Device != "" && !slices.Contains(names, o.Device) {
			names = append(names, o.Device)
		}
	}
	if len(numbers) > 0 {
		names = append(names, "cuda:"+ranklist.Of(numbers...).String())
	}
	return strings.Join(names, ", ")
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	size, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
