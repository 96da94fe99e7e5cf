package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
	"dipls/session"
)

// completion offers names from the namespace where a cell runs and, in directives and magics, what these take. It starts no process, and does not wait
// for one that is busy.
type completion struct{ s *server }

func newCompletion(s *server) feature {
	c := &completion{s}
	return feature{
		methods: map[string]rpc.Method{
			protocol.MethodTextDocumentCompletion: rpc.Request(c.complete),
			protocol.MethodCompletionItemResolve:  rpc.Request(c.resolve),
		},
		capabilities: func(caps *protocol.ServerCapabilities) {
			caps.CompletionProvider = &protocol.CompletionOptions{
				TriggerCharacters: []string{".", "%", "-", "=", ":", "\"", "'"}, ResolveProvider: ptr(true),
			}
		},
	}
}

// maxCompletionCode is how much of the code before the cursor is sent to a process.
const maxCompletionCode = 4000

var (
	// keyed is the end of a line in which a string is an item's key.
	keyed = regexp.MustCompile(`[\pL\pN_\]]\[[ \t]*(?:'[^'\\]*|"[^"\\]*)$`)
	// completable is the end of a line at which a process is asked even if the user has not asked.
	completable = regexp.MustCompile(`[\pL\pN_.]$|^[ \t]*%{1,2}$`)
)

func (c *completion) complete(ctx context.Context, p *protocol.CompletionParams) (*protocol.CompletionList, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	offset := d.Offset(p.Position)
	cell, ok := d.File.CellAt(offset)
	if !ok {
		return nil, nil
	}
	line, at := lineBefore(cell, offset)
	invoked := p.Context.TriggerKind != protocol.CompletionTriggerKindTriggerCharacter
	offered, sure := c.ofMagics(ctx, d, cell, line, invoked)
	if sure {
		return listOf(d, cell, offset, offered), nil
	}
	body := cell.BodyRange()
	if cell.Type() != cells.CodeCell || offset < body.Start {
		return nil, nil
	}
	if !worthAsking(cell.Body(), offset-body.Start, line, invoked) {
		return nil, nil
	}
	w := c.s.existing(ctx, d)
	if w == nil {
		return listOrNothing(d, cell, offset, offered), nil
	}
	code := codeBefore(cell.Body(), offset-body.Start, at-body.Start)
	found, err := w.Complete(ctx, session.Lookup{Target: c.s.targetOfLine(w, d, cell, line), Code: code, Cursor: utf8.RuneCountInString(code)})
	if err != nil {
		return listOrNothing(d, cell, offset, offered), nil // nobody knows now
	}
	return c.listOfFound(d, cell, offset, code, found), nil
}

// listOrNothing returns the list of offers that need no process; nil if there are none.
func listOrNothing(d *docs.Snapshot, cell cells.Cell, offset int, offered []offer) *protocol.CompletionList {
	if len(offered) == 0 {
		return nil
	}
	return listOf(d, cell, offset, offered)
}

// lineBefore returns the text of an offset's line up to the offset; at is where that line starts in the document.
func lineBefore(c cells.Cell, offset int) (line string, at int) {
	r := c.Range()
	text := c.Text()[:offset-r.Start]
	i := strings.LastIndexAny(text, "\r\n") + 1
	return text[i:], r.Start + i
}

// codeBefore returns the end of the code before an offset, starting with a whole line. The offset's own line begins at lineStart.
func codeBefore(body string, offset, lineStart int) string {
	start := max(0, min(lineStart, offset-maxCompletionCode))
	start = strings.LastIndexByte(body[:start], '\n') + 1
	return body[start:offset]
}

// worthAsking reports whether a process should be asked what may stand at an offset of a cell's body.
func worthAsking(body string, offset int, line string, invoked bool) bool {
	if keyed.MatchString(line) {
		return true
	}
	last := offset - 1
	if line == "" {
		return invoked
	}
	if strings.HasPrefix(strings.TrimLeft(line, " \t"), "%") {
		return true // IPython's line, whose arguments are Python as often as not
	}
	return cells.StuffAt(body, last) == cells.InCode && (invoked || completable.MatchString(line))
}

// itemData comes back with a completion item that is to be resolved.
type itemData struct {
	URI  uri.URI     `json:"uri"`
	Cell docs.CellID `json:"cell"`
	Code string      `json:"code"` // a name, dotted or not
}

// owner finds the names before the member that is completed, with their dots.
var owner = regexp.MustCompile(`(?:^|[^\pL\pN_.)\]'"])((?:[\pL_][\pL\pN_]*\.)+)$`)

// listOfFound returns the list of what a process has found.
func (c *completion) listOfFound(d *docs.Snapshot, cell cells.Cell, offset int, code string, found session.Completion) *protocol.CompletionList {
	start := runeOffset(code, found.Start)
	edit := d.Range(cells.Range{Start: offset - (len(code) - start), End: offset})
	line := code[strings.LastIndexByte(code[:start], '\n')+1 : start]
	chain, member := "", strings.HasSuffix(line, ".")
	if m := owner.FindStringSubmatch(line); m != nil {
		chain = m[1]
	}
	list := &protocol.CompletionList{IsIncomplete: found.Incomplete, Items: make([]protocol.CompletionItem, 0, len(found.Matches))}
	for i, match := range found.Matches {
		text, kind := match.Text, match.Kind
		item := protocol.CompletionItem{
			Label: clean.Line(text), SortText: protocol.NewOptional(fmt.Sprintf("%04d", i)), TextEdit: &protocol.TextEdit{Range: edit, NewText: text},
		}
		if kind != "" {
			item.Kind = objectKinds[kind]
			if kind == "magic" {
				item.FilterText = protocol.NewOptional(text)
			}
			if resolvable := kind != "keyword" && kind != "param" && kind != "magic"; resolvable && (chain != "" || !member) && !keyed.MatchString(line) {
				data, _ := json.Marshal(itemData{d.URI, d.ID(cell), chain + text}) // strings and a number: can be encoded
				item.Data = protocol.LSPAny(data)
			}
		}
		list.Items = append(list.Items, item)
	}
	return list
}

// runeOffset is the byte offset of a number of code points.
func runeOffset(text string, n int) int {
	for i := range text {
		if n == 0 {
			return i
		}
		n--
	}
	return len(text)
}

// resolve adds what an item's name is bound to.
func (c *completion) resolve(ctx context.Context, item *protocol.CompletionItem) (*protocol.CompletionItem, error) {
	var data itemData
	if len(item.Data) == 0 || json.Unmarshal(item.Data, &data) != nil {
		return item, nil
	}
	d := c.s.docs.LastKnown(data.URI)
	if d == nil {
		return item, nil
	}
	cell, ok := d.Find(data.Cell)
	if !ok {
		return item, nil
	}
	w := c.s.existing(ctx, d)
	if w == nil {
		return item, nil
	}
	answers, err := w.Inspect(ctx, session.Lookup{Target: firstOf(c.s.targetNow(w, d, cell)), Code: data.Code, Cursor: utf8.RuneCountInString(data.Code)})
	if err != nil {
		return item, nil // nobody knows now
	}
	format := c.format()
	if text := describeName(answers, c.s.hostsOf(w), format == protocol.MarkupKindMarkdown); text != "" {
		item.Documentation = &protocol.MarkupContent{Kind: format, Value: text}
	}
	return item, nil
}

// firstOf returns the process of a target that completions come from, as far as it is known: the local namespace, or one rank.
func firstOf(t cells.Target) cells.Target {
	switch {
	case t.Where == cells.Everywhere:
		return cells.Target{Where: cells.Local}
	case t.Where == cells.Remote && t.Ranks.IsZero():
		return cells.Target{Where: cells.Remote, Ranks: ranklist.Of(0)}
	}
	return t
}

// format is Markdown unless the client wants plain text.
func (c *completion) format() protocol.MarkupKind {
	t := c.s.client.Can.TextDocument
	if t != nil && t.Completion != nil && t.Completion.CompletionItem != nil {
		if formats := t.Completion.CompletionItem.DocumentationFormat; len(formats) > 0 && !slices.Contains(formats, protocol.MarkupKindMarkdown) {
			return protocol.MarkupKindPlainText
		}
	}
	return protocol.MarkupKindMarkdown
}
