package lsptest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// document is an open document, as the editor has it.
type document struct {
	text    string
	version int
}

// Position is a place in a document: line and character, from 0, in the units of the editor's encoding.
type Position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

// Range is a range of positions.
type Range struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Edit replaces a range of a document.
type Edit struct {
	Range Range  `json:"range"`
	Text  string `json:"text"`
}

// Open opens a file of the folder with a text. It is not written to disk.
func (e *Editor) Open(name, text string) {
	e.t.Helper()
	e.docs[name] = &document{text, 1}
	e.Notify("textDocument/didOpen", Object{"textDocument": Object{"uri": e.URI(name), "languageId": "python", "version": 1, "text": text}})
}

// OpenRepeated opens a file whose text is a text repeated many times. It costs hardly more than sending it.
func (e *Editor) OpenRepeated(name, text string, times int) {
	e.t.Helper()
	e.docs[name] = &document{strings.Repeat(text, times), 1}
	const place = "the text"
	body, err := json.Marshal(Object{"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": Object{
		"textDocument": Object{"uri": e.URI(name), "languageId": "python", "version": 1, "text": place},
	}})
	quoted, again := json.Marshal(text)
	if err := errors.Join(err, again); err != nil {
		e.t.Fatal(err)
	}
	before, after, _ := strings.Cut(string(body), place)
	whole := strings.Repeat(string(quoted[1:len(quoted)-1]), times)
	e.writeRaw(fmt.Sprintf("Content-Length: %d\r\n\r\n", len(before)+len(whole)+len(after)), before, whole, after)
}

// Close closes a document.
func (e *Editor) Close(name string) {
	e.t.Helper()
	delete(e.docs, name)
	e.Notify("textDocument/didClose", Object{"textDocument": Object{"uri": e.URI(name)}})
}

// Text is the text of an open document.
func (e *Editor) Text(name string) string { return e.docs[name].text }

// Edit makes edits one after the other, and tells the server in one notification.
func (e *Editor) Edit(name string, edits ...Edit) {
	e.t.Helper()
	d := e.document(name)
	for _, edit := range edits {
		e.apply(d, edit)
	}
	e.change(name, d, edits)
}

func (e *Editor) apply(d *document, edit Edit) {
	e.t.Helper()
	start, end := e.offset(d.text, edit.Range.Start), e.offset(d.text, edit.Range.End)
	d.text = d.text[:start] + edit.Text + d.text[end:]
}

// Edits makes several edits and tells the server in one notification. next chooses each edit once those before it are made.
func (e *Editor) Edits(name string, count int, next func() Edit) {
	e.t.Helper()
	d := e.document(name)
	edits := make([]Edit, count)
	for i := range edits {
		edits[i] = next()
		e.apply(d, edits[i])
	}
	e.change(name, d, edits)
}

// Replace replaces a text that occurs exactly once.
func (e *Editor) Replace(name, old, new string) {
	e.t.Helper()
	d := e.document(name)
	if n := strings.Count(d.text, old); n != 1 {
		e.t.Fatalf("%q occurs %d times in %s", old, n, name)
	}
	start := strings.Index(d.text, old)
	e.Edit(name, Edit{Range{e.Position(name, start), e.Position(name, start+len(old))}, new})
}

// SetText replaces the whole text, in a change without a range.
func (e *Editor) SetText(name, text string) {
	e.t.Helper()
	d := e.document(name)
	d.text = text
	e.change(name, d, []Object{{"text": text}})
}

func (e *Editor) document(name string) *document {
	e.t.Helper()
	d := e.docs[name]
	if d == nil {
		e.t.Fatalf("%s is not open", name)
	}
	return d
}

func (e *Editor) change(name string, d *document, changes any) {
	e.t.Helper()
	d.version++
	e.Notify("textDocument/didChange", Object{
		"textDocument": Object{"uri": e.URI(name), "version": d.version}, "contentChanges": changes,
	})
}

// Position is the position of a byte offset in an open document.
func (e *Editor) Position(name string, offset int) Position {
	e.t.Helper()
	text := e.document(name).text
	before := text[:offset]
	return Position{strings.Count(before, "\n"), e.units(before[strings.LastIndexByte(before, '\n')+1:])}
}

// offset is the byte offset of a position, which must be in the text. Lines end in \n.
func (e *Editor) offset(text string, p Position) int {
	e.t.Helper()
	start := 0
	for range p.Line {
		i := strings.IndexByte(text[start:], '\n')
		if i < 0 {
			e.t.Fatalf("there is no line %d", p.Line)
		}
		start += i + 1
	}
	i := start
	for column := 0; column < p.Character; {
		_, size := utf8.DecodeRuneInString(text[i:])
		if size == 0 {
			e.t.Fatalf("line %d has no character %d", p.Line, p.Character)
		}
		column += e.units(text[i : i+size])
		i += size
	}
	return i
}

// units is the length of text in the units of the encoding that was agreed on.
func (e *Editor) units(text string) int {
	switch encoding := fmt.Sprint(e.Caps["positionEncoding"]); encoding {
	case "utf-8":
		return len(text)
	case "utf-32":
		return utf8.RuneCountInString(text)
	default:
		return len(utf16.Encode([]rune(text)))
	}
}
