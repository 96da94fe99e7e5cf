package lsptest

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"dipls/internal/testpython"
)

// Correct messages pass, and every kind of fault is found.
func TestValidate(t *testing.T) {
	python := testpython.Need(t)
	if exec.Command(python, "-c", "import lsprotocol").Run() != nil {
		t.Skip("lsprotocol is missing: run make setup")
	}
	const zero = `{"line":0,"character":0}`
	const empty = `{"start":` + zero + `,"end":` + zero + `}`
	tests := []struct{ method, message, want string }{
		{"window/logMessage", `{"method":"window/logMessage","params":{"type":4,"message":"m"}}`, ""},
		{"dip/event", `{"method":"dip/event","params":{"anything":[null]}}`, ""},
		{"test/text", `{"id":1,"result":"x"}`, ""},
		{"shutdown", `{"id":1,"result":null}`, ""},
		{"", `{"id":null,"error":{"code":-32700,"message":"m"}}`, ""},
		{"textDocument/codeLens", `{"id":1,"result":[{"range":` + empty + `,"data":{"x":1}}]}`, ""},
		{"textDocument/hover", `{"id":1,"result":null}`, ""},
		{"$/progress", `{"method":"$/progress","params":{"token":"t","value":{"kind":"begin","title":"t","percentage":3}}}`, ""},
		{"textDocument/codeAction", `{"id":1,"result":[{"title":"t","kind":"source.dip",` +
			`"edit":{"changes":{"file:///a":[{"range":` + empty + `,"newText":""}]}}}]}`, ""},

		{"no/such", `{"method":"no/such"}`, "LSP has no no/such"},
		{"textDocument/hover", `{"id":1,"method":"textDocument/hover","params":{}}`, "the client's to send"},
		{"window/logMessage", `{"method":"window/logMessage","params":{"type":4,"message":"m","more":1}}`, ".params.more: LogMessageParams has no such field"},
		{"window/logMessage", `{"method":"window/logMessage","params":{"type":4}}`, ".params.message: LogMessageParams must have it"},
		{"window/logMessage", `{"method":"window/logMessage","params":{"type":"4","message":"m"}}`, `"4" is no MessageType`},
		{"window/logMessage", `{"method":"window/logMessage","params":{"type":4,"message":5}}`, "5 is no str"},
		{"textDocument/codeLens", `{"id":1,"result":[{"range":` + empty + `,"command":null}]}`, "null, where it should be left out"},
		{"textDocument/codeLens", `{"id":1,"result":[{"range":{"start":` + zero + `,"end":{"line":-1,"character":0}}}]}`, ".result[0].range.end.line"},
		{"textDocument/codeLens", `{"id":1}`, "an answer has a result or an error"},
		{"textDocument/documentSymbol", `{"id":1,"result":[{"name":"n","kind":99,"range":` + empty + `,"selectionRange":` + empty + `}]}`, "99 is no SymbolKind"},
		{"textDocument/documentSymbol", `{"id":1,"result":[{"name":"n","kind":2,"range":` + empty + `,` +
			`"selectionRange":{"start":` + zero + `,"end":{"line":1,"character":0}}}]}`, "not inside of range"},
		{"$/progress", `{"method":"$/progress","params":{"token":"t","value":{"kind":"report","title":"t"}}}`, ".params.value.title"},
		{"dip/event", `{"method":"dip/event","params":17}`, "neither an object nor a list"},
	}
	for _, wrong := range []bool{false, true} { // all messages of a kind at once: starting Python takes long
		if err := Record(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			if wrong == (test.want != "") {
				recording.record(test.method, Message{body: json.RawMessage(`{"jsonrpc":"2.0",` + test.message[1:])})
			}
		}
		err := Validate(python, "validate.py", "dip/", "test/")
		if !wrong && err != nil {
			t.Error(err)
		}
		if wrong && err == nil {
			t.Error("nothing was found")
		}
		for _, test := range tests {
			if wrong && err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: want %q in %v", test.message, test.want, err)
			}
		}
	}
}
