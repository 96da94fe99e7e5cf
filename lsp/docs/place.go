package docs

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.lsp.dev/protocol"

	"dipls/cells"
)

// LineMagic returns the line magic that covers a line, and its cell. line counts from 1.
func (d *Snapshot) LineMagic(line int) (c cells.Cell, m cells.Magic, ok bool) {
	c, ok = d.File.CellAt(d.File.Offset(cells.Position{Line: line - 1}, cells.UTF8))
	if !ok || line > c.EndLine() {
		return c, m, false
	}
	for _, m := range c.LineMagics() {
		if first, last := d.Position(m.Range.Start), d.Position(m.Range.End); int(first.Line) < line && line <= int(last.Line)+1 {
			return c, m, true
		}
	}
	return c, m, false
}

// Text returns the document's text between two offsets; "" if they are not in the body of one cell.
func (d *Snapshot) Text(start, end int) string {
	c, ok := d.File.CellAt(start)
	if !ok {
		return ""
	}
	body := c.BodyRange()
	if start < body.Start || end > body.End {
		return ""
	}
	return c.Body()[start-body.Start : end-body.Start]
}

// NameAt finds the name of a variable or an attribute that a byte offset touches in a cell: word is its range in the document, line the line that it
// stands on, and at where in that line it ends. word is empty if there is none. In strings and comments there are no names, except in line magics.
func (d *Snapshot) NameAt(c cells.Cell, offset int) (line string, at int, word cells.Range) {
	body, base := c.Body(), c.BodyRange().Start
	start, end := wordAround(body, offset-base)
	if start == end || !isNameStart(body[start:]) {
		return "", 0, cells.Range{}
	}
	word = cells.Range{Start: base + start, End: base + end}
	if cells.StuffAt(body, start) != cells.InCode && !inArguments(c, word) {
		return "", 0, cells.Range{}
	}
	from := strings.LastIndexAny(body[:start], "\r\n") + 1
	to := len(body)
	if i := strings.IndexAny(body[end:], "\r\n"); i >= 0 {
		to = end + i
	}
	return body[from:to], end - from, word
}

// inArguments reports whether a range lies in the arguments of a line magic.
func inArguments(c cells.Cell, r cells.Range) bool {
	for _, m := range c.LineMagics() {
		if r.Start >= m.Range.End-len(m.Args) && r.End <= m.Range.End {
			return true
		}
	}
	return false
}

// wordAround is the word of letters, digits and underscores that touches an offset of text.
func wordAround(text string, offset int) (start, end int) {
	if offset < 0 || offset > len(text) {
		return 0, 0
	}
	start, end = offset, offset
	for start > 0 {
		r, size := utf8.DecodeLastRuneInString(text[:start])
		if !isNameRune(r) {
			break
		}
		start -= size
	}
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !isNameRune(r) {
			break
		}
		end += size
	}
	return start, end
}

func isNameRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.In(r, unicode.Digit, unicode.Mn, unicode.Mc, unicode.Pc)
}

func isNameStart(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return r == '_' || unicode.IsLetter(r)
}

// CodeRange returns the range of the code in a line of a cell, or of a name if the line has it exactly once. line counts from 1.
func (d *Snapshot) CodeRange(c cells.Cell, line int, name string) protocol.Range {
	start := d.File.Offset(cells.Position{Line: line - 1}, cells.UTF8)
	end := d.File.Offset(cells.Position{Line: line - 1, Column: d.File.Size()}, cells.UTF8)
	text := d.Text(start, end)
	if strings.TrimSpace(text) == "" {
		return d.LineRange(line) // the header, or nothing
	}
	if i, ok := onlyWord(text, name); ok {
		return d.Range(cells.Range{Start: start + i, End: start + i + len(name)})
	}
	return d.Range(cells.Range{
		Start: start + len(text) - len(strings.TrimLeft(text, " \t\f")), End: start + len(strings.TrimRight(text, " \t\f")),
	})
}

// onlyWord returns where a name stands as a word in text; ok is false unless it stands there exactly once.
func onlyWord(text, name string) (at int, ok bool) {
	if name == "" {
		return 0, false
	}
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return at, ok
		}
		i += from
		from = i + len(name)
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[from:])
		if inName(before) || inName(after) {
			continue
		}
		if ok {
			return 0, false
		}
		at, ok = i, true
	}
}

func inName(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
