package lsp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"dipls/internal/lsptest"
	"dipls/lsp"
)

// alive fails the test if the server does not answer any more.
func alive(t *testing.T, e *lsptest.Editor) {
	t.Helper()
	if err := e.TryCommand("dip.status", nil, nil); err != nil {
		t.Fatalf("the server is not well: %v", err)
	}
}

// Nothing that a client sends ends the server, as long as the server can tell where messages begin.
func TestGarbage(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		e := lsptest.Start(t, lsptest.Options{Server: server})
		for _, body := range []string{
			`{`, `}`, `null`, `17`, `"text"`, `[]`, `[{"jsonrpc":"2.0","id":1,"method":"shutdown"}]`, `{}`, `{"jsonrpc":"2.0"}`,
			`{"jsonrpc":"1.0","id":1,"method":"shutdown"}`, `{"jsonrpc":"2.0","id":{},"method":"shutdown"}`,
			`{"jsonrpc":"2.0","id":1,"method":17}`, "\xff\xfe", strings.Repeat("[", 100000), ` `,
		} {
			e.Mark()
			e.WriteRaw(fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
			e.Await(fmt.Sprintf("a refusal of %.40q", body), func(m lsptest.Message) bool {
				return m.Error != nil && string(m.ID) == "null" && (m.Error.Code == -32700 || m.Error.Code == -32600)
			})
		}
		for _, header := range []string{
			"Nonsense\r\n\r\n", "Content-Length: many\r\n\r\n", "Content-Length: -1\r\n\r\n", "Content-Length: 3\r\n\r\nabcdef\r\n",
			"\x00\x01\x02\r\n\r\n", strings.Repeat("x", 200000) + "\r\n\r\n",
		} {
			e.Mark()
			e.WriteRaw(header)
			e.Await(fmt.Sprintf("a refusal of %.40q", header), func(m lsptest.Message) bool { return m.Error != nil })
			alive(t, e)
		}
		for _, body := range []string{ // responses and notifications that mean nothing
			`{"jsonrpc":"2.0","id":99,"result":null}`, `{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"m"}}`,
			`{"jsonrpc":"2.0","method":"no/such"}`, `{"jsonrpc":"2.0","method":"$/no/such","params":[]}`,
			`{"jsonrpc":"2.0","method":"textDocument/didOpen"}`, `{"jsonrpc":"2.0","method":"textDocument/didOpen","params":17}`,
			`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"file:///no.py","version":1},"contentChanges":[]}}`,
			`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"contentChanges":"x"}}`,
			`{"jsonrpc":"2.0","method":"textDocument/didClose","params":{"textDocument":{"uri":"file:///no.py"}}}`,
			`{"jsonrpc":"2.0","method":"workspace/didChangeConfiguration","params":{"settings":[1]}}`,
			`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":12345}}`, `{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"x"}}`,
			`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":{}}}`, `{"jsonrpc":"2.0","method":"$/cancelRequest"}`,
			`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1e99}}`,
			`{"jsonrpc":"2.0","method":"initialized","params":{}}`,
		} {
			e.WriteRaw(fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
			alive(t, e)
		}
		e.Open("a.py", "# %%\nx\n")
		uri := e.URI("a.py")
		for _, test := range []struct {
			method string
			params any
			code   int
			want   string
		}{
			{"no/such", nil, -32601, `"no/such" is not supported`},
			{"textDocument/rename", lsptest.Object{}, -32601, "not supported"},
			{"initialize", e.InitializeParams(), -32600, "twice"},
			{"workspace/executeCommand", nil, -32602, "there is no command"},
			{"workspace/executeCommand", 17, -32602, "do not fit"},
			{"workspace/executeCommand", lsptest.Object{"command": "dip.none"}, -32602, `there is no command "dip.none"; there are dip.runCell`},
			{"workspace/executeCommand", command("dip.runCell"), -32602, "which document?"},
			{"workspace/executeCommand", command("dip.runCell", 1), -32602, "want an object as argument, not number"},
			{"workspace/executeCommand", command("dip.runCell", nil), -32602, "which document?"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{}, lsptest.Object{}), -32602, "want one object as argument, not 2"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": "file:///none.py", "cell": 1}), -32602, "none.py is not open"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri}), -32602, "which cell?"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri, "cell": "1"}), -32602, "dip.runCell: cell: want integer, not string"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri, "cell": 9}), -32602, "there is no cell 9: the document has 1"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri, "cell": -1}), -32602, "there is no cell -1"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri, "position": lsptest.Object{"line": -1}}), -32602, "dip.runCell"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri, "cell": 1, "target": "moon"}), -32602, "target"},
			{"workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": uri, "cell": 1, "see": "moon"}), -32602, "see"},
			{"workspace/executeCommand", command("dip.runSelection", lsptest.Object{"uri": uri}), -32602, "which lines?"},
			{"workspace/executeCommand", command("dip.push", lsptest.Object{}), -32602, "which variables?"},
			{"workspace/executeCommand", command("dip.push", lsptest.Object{"names": []string{"x; import os"}}), -32602, "no name of a variable"},
			{"workspace/executeCommand", command("dip.pull", lsptest.Object{"names": []string{"x"}, "rank": -1}), -32602, "there is no rank -1"},
			{"workspace/executeCommand", command("dip.makePool", lsptest.Object{"ranks": -1}), -32602, "at least one rank"},
			{"workspace/executeCommand", command("dip.makePool", lsptest.Object{"gpus": "first"}), -32602, "gpus"},
			{"workspace/executeCommand", command("dip.autodip", lsptest.Object{"on": true, "flags": "--moon"}), -32602, "flags"},
			{"workspace/executeCommand", command("dip.interrupt", lsptest.Object{"run": "none"}), -32803, "there is no run none"},
			{"workspace/executeCommand", command("dip.clear", lsptest.Object{}), -32602, "not open"},
		} {
			err := e.Call(test.method, test.params, nil)
			var answer *lsptest.Error
			if !errors.As(err, &answer) || answer.Code != test.code || !strings.Contains(answer.Message, test.want) {
				t.Errorf("%s %v: %v, want %q (%d)", test.method, test.params, err, test.want, test.code)
			}
		}
		alive(t, e)
	})
}

func command(name string, arguments ...any) lsptest.Object {
	return lsptest.Object{"command": name, "arguments": arguments}
}

// documentedArguments are the fields of each command's argument and their types, as docs/commands.md has them.
func documentedArguments(t *testing.T) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile("../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| `(\\w+)` \\| ([^|]+) \\|")
	all := map[string]map[string]string{}
	name := ""
	for line := range strings.Lines(string(data)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			name = strings.TrimSpace(title)
			all[name] = map[string]string{}
		}
		if fields := row.FindStringSubmatch(line); fields != nil {
			all[name][fields[1]] = fields[2]
		}
	}
	return all
}

// Every argument of every command is refused if it is of another type, and the refusal names it.
func TestWrongArguments(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	e.Open("a.py", "# %%\nx\n")
	documented := documentedArguments(t)
	offered, _ := lsptest.Dig(e.Caps, "executeCommandProvider.commands").([]any)
	if len(offered) == 0 || len(offered) != len(documented) {
		t.Fatalf("the server offers %v, documented are %v", offered, documented)
	}
	refused := func(name string, want string, arguments ...any) {
		t.Helper()
		err := e.Call("workspace/executeCommand", command(name, arguments...), nil)
		var answer *lsptest.Error
		if !errors.As(err, &answer) || answer.Code != -32602 || !strings.Contains(answer.Message, want) {
			t.Errorf("%s %v: %v, want %q", name, arguments, err, want)
		}
	}
	for _, offer := range offered {
		name := offer.(string)
		for _, argument := range []any{17, "text", true, []any{}, []any{lsptest.Object{}}} {
			refused(name, "want an object as argument", argument)
		}
		refused(name, "want one object as argument, not 2", lsptest.Object{}, lsptest.Object{})
		for field, kind := range documented[name] {
			for _, value := range []any{lsptest.Object{"x": []any{}}, []any{[]any{}}, true, "text", 1.5} {
				// This says nothing of values that have the right type and make no sense.
				_, object := value.(lsptest.Object)
				if object && strings.HasPrefix(kind, "LSP's ") ||
					kind == map[string]string{"bool": "boolean", "string": "string", "float64": "number"}[fmt.Sprintf("%T", value)] {
					continue
				}
				refused(name, field, lsptest.Object{field: value})
			}
		}
	}
	alive(t, e)
}

// requestsAt are all requests about a document, with a position wherever one is wanted.
func requestsAt(uri any, position any) map[string]lsptest.Object {
	document := lsptest.Object{"uri": uri}
	place := lsptest.Object{"start": position, "end": position}
	return map[string]lsptest.Object{
		"textDocument/codeLens":       {"textDocument": document},
		"textDocument/documentSymbol": {"textDocument": document},
		"textDocument/foldingRange":   {"textDocument": document},
		"textDocument/selectionRange": {"textDocument": document, "positions": []any{position, position}},
		"textDocument/inlayHint":      {"textDocument": document, "range": place},
		"textDocument/hover":          {"textDocument": document, "position": position},
		"textDocument/completion":     {"textDocument": document, "position": position},
		"textDocument/codeAction": {"textDocument": document, "range": place, "context": lsptest.Object{
			"diagnostics": []any{lsptest.Object{"range": place, "message": "m", "data": position}},
		}},
		"dip/cells":                {"textDocument": document, "range": place},
		"codeLens/resolve":         {"range": place, "data": position},
		"completionItem/resolve":   {"label": "l", "data": position},
		"codeAction/resolve":       {"title": "t", "data": position},
		"inlayHint/resolve":        {"position": position, "label": "l", "data": position},
		"workspace/executeCommand": command("dip.runCell", lsptest.Object{"uri": uri, "position": position, "target": "moon"}),
	}
}

// answered waits for the answer to a request. It may be an error, but not one that says that the server has a fault.
func answered(t *testing.T, e *lsptest.Editor, request lsptest.Sent, about ...any) {
	t.Helper()
	var answer *lsptest.Error
	if err := e.Wait(request, nil); err != nil && (!errors.As(err, &answer) || answer.Code == -32603) {
		t.Errorf("%s %v: %v", request.Method, about, err)
	}
}

// Every request is answered, at any place in any document, and no answer says that the server has a fault.
func TestAbsurdRequests(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		e := lsptest.Start(t, lsptest.Options{Server: server, Init: lsptest.Object{"prewarm": false}})
		e.Open("empty.py", "")
		e.Open("marker.py", "# %%dip")
		e.Open("rockets.py", "# %% 🚀\r\n🚀𝔘 = '\u2028'\r# %%dip --see moon\n")
		e.Open("broken.py", "# %% [markdown\n'''\n(\n# %%\n\x00")
		e.Open("closed.py", "# %%\nx\n")
		e.Close("closed.py")
		for _, uri := range []any{
			e.URI("empty.py"), e.URI("marker.py"), e.URI("rockets.py"), e.URI("broken.py"), e.URI("closed.py"),
			"file:///none.py", "untitled:Untitled-1", "", "%zz", "file://", "\x00", nil, 17,
		} {
			for _, position := range []any{
				lsptest.Position{}, lsptest.Position{Line: 1, Character: 1}, lsptest.Position{Line: 1<<31 - 1, Character: 1<<31 - 1},
				lsptest.Position{Line: 1<<32 - 1, Character: 1<<32 - 1}, lsptest.Position{Line: 1 << 62}, lsptest.Position{Line: -1, Character: -1},
				lsptest.Object{"line": 0.5, "character": "x"}, lsptest.Object{}, nil, 17, "text", []any{},
			} {
				var sent []lsptest.Sent
				for method, params := range requestsAt(uri, position) {
					sent = append(sent, e.Send(method, params))
				}
				for _, request := range sent {
					answered(t, e, request, uri, position)
				}
			}
		}
		alive(t, e)
	})
}

// Requests of every kind are cancelled as soon as they are sent. Each gets one answer: its own, or that it was cancelled.
func TestCancelEverything(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t), Init: lsptest.Object{"prewarm": false}})
	e.Open("a.py", strings.Repeat("# %%\nx = 1\n", 500))
	for range 20 {
		var sent []lsptest.Sent
		for method, params := range requestsAt(e.URI("a.py"), lsptest.Position{Line: 1}) {
			request := e.Send(method, params)
			e.Notify("$/cancelRequest", lsptest.Object{"id": json.RawMessage(request.ID)})
			sent = append(sent, request)
		}
		for _, request := range sent {
			answered(t, e, request)
		}
	}
	alive(t, e)
}

// A panic in a handler fails only its request.
func TestPanics(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	var answer *lsptest.Error
	if err := e.Call("test/panic", nil, nil); !errors.As(err, &answer) || answer.Code != -32603 {
		t.Errorf("%v", err)
	}
	e.Notify("test/panics", nil)
	e.Await("word of it", lsptest.Method("window/logMessage"), lsptest.Contains("message", "a fault of ours"))
	alive(t, e)
}

// A request that waits is cancelled by $/cancelRequest, and others are answered meanwhile.
func TestCancelRequest(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	sent := e.Send("test/wait", nil)
	e.Await("the beginning", lsptest.Method("test/waiting"))
	alive(t, e)
	e.Notify("$/cancelRequest", lsptest.Object{"id": 1 << 20})
	var id int
	fmt.Sscan(sent.ID, &id)
	e.Notify("$/cancelRequest", lsptest.Object{"id": id})
	var answer *lsptest.Error
	if err := e.Wait(sent, nil); !errors.As(err, &answer) || answer.Code != -32800 {
		t.Errorf("%v", err)
	}
}

// A document of 50 MB is taken like any other, whether it has many cells or long ones.
func TestHugeDocument(t *testing.T) {
	const size = 50 << 20
	t.Run("in process", func(t *testing.T) {
		if raced { // each byte costs twelve times as much then; the program takes all of them
			hugeDocument(t, inProcess(t), size/20)
		} else {
			hugeDocument(t, inProcess(t), size)
		}
	})
	t.Run("program", func(t *testing.T) { hugeDocument(t, program(t), size) })
}

func hugeDocument(t *testing.T, server lsptest.Server, size int) {
	e := lsptest.Start(t, lsptest.Options{Server: server})
	const header, line = "# %% a cell\n", "x = 'some text that makes it long, and then some more'\n"
	many := size/len(header+line) + 1
	e.OpenRepeated("many.py", header+line, many)
	long := header + strings.Repeat(line, 200)
	e.OpenRepeated("long.py", long, size/len(long)+1)
	e.Edit("long.py", lsptest.Edit{Text: "# "})
	for method, params := range requestsAt(e.URI("long.py"), lsptest.Position{Line: 1}) {
		answered(t, e, e.Send(method, params))
	}
	e.Edit("many.py", lsptest.Edit{Text: "# "})
	err := e.TryCommand("dip.runCell", lsptest.Object{"uri": e.URI("many.py"), "cell": 1 << 30}, nil)
	if want := fmt.Sprintf("there is no cell %d: the document has %d", 1<<30, many); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	alive(t, e)
}

// A client that stops reading delays nobody else. Of messages of which only the last version counts, it gets the last version.
func TestClientThatDoesNotRead(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	alive(t, e)
	resume := e.StopReading()
	e.Open("a.py", "")
	sent := e.Send("test/flood", lsptest.Object{"Bytes": 80 << 20})
	for i := range 200 { // the server goes on to read
		e.SetText("a.py", fmt.Sprint(i))
	}
	text := e.Send("test/text", lsptest.Object{"uri": e.URI("a.py")})
	resume()
	if err := e.Wait(sent, nil); err != nil {
		t.Error(err)
	}
	var got string
	if err := e.Wait(text, &got); err != nil || got != "199" {
		t.Errorf("%q, %v", got, err)
	}
	e.Await("the last version", lsptest.Method("test/latest"))
	if n := len(e.Messages(lsptest.Method("test/latest"))); n != 1 {
		t.Errorf("%d versions", n)
	}
}

// However often a refresh is wanted, one request is under way at a time, and one comes after the last wish.
func TestRefresh(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	resume := e.StopReading()
	sent := e.Send("test/refresh", nil)
	<-lsp.Wished
	resume()
	if err := e.Wait(sent, nil); err != nil {
		t.Fatal(err)
	}
	asked := func(all []lsptest.Message) (n int) {
		for _, m := range all {
			if m.Method == "workspace/codeLens/refresh" {
				n++
			}
		}
		return n
	}
	e.Until("two refreshes", func(all []lsptest.Message) bool { return asked(all) >= 2 })
	alive(t, e)
	if n := asked(e.Messages()); n > 3 { // one may have been read before the editor stopped
		t.Errorf("%d refreshes for 100 wishes", n)
	}
}
