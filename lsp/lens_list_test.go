package lsp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.lsp.dev/protocol"

	"dipls/dipexec/view"
	"dipls/lsp/docs"
)

// After any edits, the lenses of a document are those that the same text has when it is opened.
func TestLensListOfEdits(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	lines := []string{"# %%", "# %%", "# %% [markdown]", "# %%dip", "# %%dip --sea", "x = 1", "# %dipush x", "", "'''", "%makedip"}
	some := func(n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteString(lines[random.IntN(len(lines))] + "\n")
		}
		return b.String()
	}
	choice := lensChoice{kinds: []lensKind{lensCell, lensRemote, lensAbove}}
	f := newBoardFixture(t, some(40))
	old := emptyList
	var spare []byte
	states := map[docs.CellID]runOfCell{}
	for i := range 4000 {
		lineCount := f.doc().File.Lines()
		from := random.IntN(lineCount + 1)
		switch random.IntN(12) {
		case 0:
			f.edit(uint32(from), uint32(from+random.IntN(30)), some(3))
		case 1:
			choice = lensChoice{
				kinds:  []lensKind{lensAbove, lensLocal, lensCell, lensEverywhere}[:random.IntN(5)],
				unsaid: unsaid{autodip: []string{"", "%%dip --see all"}[random.IntN(2)]},
			}
		case 2:
			states = map[docs.CellID]runOfCell{}
			for _, id := range f.doc().IDs() {
				if random.IntN(5) == 0 {
					states[id] = runOfCell{view.RunState(random.IntN(3)), random.IntN(2) == 0, random.IntN(2) == 0}
				}
			}
		case 3: // two places at once
			f.editAll(protocol.Range{Start: protocol.Position{Line: uint32(lineCount)}, End: protocol.Position{Line: uint32(lineCount)}}, some(4),
				protocol.Range{}, some(4))
		case 4, 5, 6: // a line near the top, which may be the first that runs
			from = random.IntN(min(4, lineCount))
			f.edit(uint32(from), uint32(from+1), lines[random.IntN(len(lines))]+"\n")
		default:
			f.edit(uint32(from), uint32(from+random.IntN(3)), some(6))
		}
		d := f.doc()
		list := newLensList(d, choice, states, old, spare)
		fresh := newLensList(d, choice, states, emptyList, nil)
		if string(list.json) != string(fresh.json) || fmt.Sprint(list.begins) != fmt.Sprint(fresh.begins) || list.runs != fresh.runs {
			t.Fatalf("edit %d of %q: got\n%s %v %d\nwant\n%s %v %d", i, d.File.Text(), list.json, list.begins, list.runs, fresh.json, fresh.begins, fresh.runs)
		}
		if !json.Valid(list.json) {
			t.Fatalf("%s", list.json)
		}
		if random.IntN(4) > 0 { // a client does not ask after every edit
			if old != emptyList {
				spare = old.json
			}
			old = list
		}
	}
}

// editAll makes two edits in one notification.
func (f *boardFixture) editAll(first protocol.Range, text string, second protocol.Range, more string) {
	f.t.Helper()
	f.must(f.docs.DidChange(f.t.Context(), &protocol.DidChangeTextDocumentParams{
		TextDocument: protocol.VersionedTextDocumentIdentifier{
			TextDocumentIdentifier: protocol.TextDocumentIdentifier{URI: boardURI}, Version: f.doc().Version + 1,
		},
		ContentChanges: []protocol.TextDocumentContentChangeEvent{
			&protocol.TextDocumentContentChangePartial{Range: first, Text: text}, &protocol.TextDocumentContentChangePartial{Range: second, Text: more},
		},
	}))
}
