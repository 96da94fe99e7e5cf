// Package lsptest is an editor for tests: it starts a language server, in the process of the test or as a program, speaks LSP with
// it, and records every message. It uses none of the server's types and libraries, so that it reads what the server sends as a
// stranger does: JSON as it comes.
//
//	e := lsptest.Start(t, lsptest.Options{Server: inProcess})
//	e.Open("train.py", "# %%\nprint(1)\n")
//	var reply struct{ Run string }
//	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "cell": 1}, &reply)
//	e.Await("the end of the run", lsptest.Method("dip/event"), lsptest.Has("event", "run_finished"))
//
// Nothing waits for a time to pass. Await looks at all messages since the last [Editor.Mark], then at each new one. If none fits before the
// test's deadline, the test fails and shows what did come.
//
// What the server asks, the editor answers: workspace/configuration from Options.Settings, refreshes and progress tokens with null,
// window/showDocument with success. At the end of the test it shuts the server down, and fails the test if that ends with an
// error. Leaked goroutines are found by goleak in TestMain.
//
// [Files] reads tests whose files have marks in them; see there.
package lsptest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long something may take before a test gives up; no test depends on its value.
const patience = 2 * time.Minute

// Object is a JSON object.
type Object = map[string]any

// Server starts a server that speaks on the stream, and returns when the server has ended. It has to end when ctx does, or the stream.
type Server func(ctx context.Context, stream io.ReadWriteCloser) error

// Options say what editor it is.
type Options struct {
	Server       Server
	Folder       string   // the workspace folder; "" makes one for the test
	NoFolder     bool     // no folder is open: Folder is only where files are
	Capabilities Object   // besides what the editor can do anyway
	Init         any      // initializationOptions
	Kept         bool     // sessions outlive the editor; without it the initializationOptions say that they do not
	Settings     Object   // answer to workspace/configuration, section "dip"; nil: the editor cannot be asked
	Encodings    []string // position encodings; nil: the client names none
	ProcessID    *int     // nil: this process
	Answers      Answers  // instead of the answers that the editor gives by itself
	Program      string   // what the editor calls itself; "": it does not say
	Raw          bool     // do not initialize: the test does it itself
}

// Answers say what the editor answers to what the server asks, by method. An *[Error] is a refusal, and a [Later] an answer that has to be waited for.
type Answers map[string]func(Message) any

// Later returns the answer when it is there. The editor reads on meanwhile.
type Later func() any

// Message is one message, as it came.
type Message struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`

	body json.RawMessage // all of it
}

// Error is an answer that is an error.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// Get decodes the part of the parameters, or of the result, at a path such as "diagnostics.0.message"; nil if there is none.
func (m Message) Get(path string) any {
	raw := m.Params
	if m.Method == "" {
		raw = m.Result
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return Dig(v, path)
}

// Dig finds the value at a path such as "diagnostics.0.message" in decoded JSON; nil if there is none.
func Dig(v any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i < 0 || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// String is the message as JSON, cut short.
func (m Message) String() string {
	b, _ := json.Marshal(m) // it came as JSON
	if len(b) > 600 {
		return string(b[:600]) + "…"
	}
	return string(b)
}

// Editor is one editor with its server.
type Editor struct {
	t      testing.TB
	o      Options
	Folder string // the workspace folder
	Caps   Object // the server's capabilities

	stream  io.ReadWriteCloser
	writing sync.Mutex
	served  chan error // the server's end
	read    chan struct{}
	cancel  context.CancelFunc
	docs    map[string]*document

	mu       sync.Mutex // guards what follows
	messages []Message
	mark     int             // where Await begins
	calls    map[string]Sent // by id
	count    int
	more     chan struct{} // closed when a message comes
	paused   chan struct{} // not nil: nothing is read until it is closed
	ended    bool          // the server has closed the stream
	left     bool          // the editor has shut the server down
}

// Start starts a server and, unless the options are raw, initializes it.
func Start(t testing.TB, o Options) *Editor {
	t.Helper()
	if o.Folder == "" {
		o.Folder = t.TempDir()
	}
	mine, theirs := pipes(t)
	ctx, cancel := context.WithCancel(context.Background())
	e := &Editor{
		t: t, o: o, Folder: o.Folder, stream: mine, served: make(chan error, 1), read: make(chan struct{}), cancel: cancel,
		docs: map[string]*document{}, calls: map[string]Sent{}, more: make(chan struct{}),
	}
	go func() {
		e.served <- o.Server(ctx, theirs)
		theirs.Close()
	}()
	go e.readAll()
	t.Cleanup(e.end)
	if !o.Raw {
		e.initialize()
	}
	return e
}

// pipes are the two ends of a stream over pipes of the operating system, as an editor makes them.
func pipes(t testing.TB) (a, b io.ReadWriteCloser) {
	t.Helper()
	ra, wb, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	rb, wa, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return &duplex{ra, wa}, &duplex{rb, wb}
}

// duplex is a stream of two pipes.
type duplex struct{ r, w *os.File }

func (d *duplex) Read(b []byte) (int, error)  { return d.r.Read(b) }
func (d *duplex) Write(b []byte) (int, error) { return d.w.Write(b) }
func (d *duplex) Close() error                { return errors.Join(d.w.Close(), d.r.Close()) }

// initialize does what an editor does first.
func (e *Editor) initialize() {
	e.t.Helper()
	var result struct{ Capabilities Object }
	if err := e.Call("initialize", e.InitializeParams(), &result); err != nil {
		e.t.Fatalf("initialize: %v", err)
	}
	e.Caps = result.Capabilities
	e.Notify("initialized", Object{})
}

// InitializeParams are what the editor says of itself.
func (e *Editor) InitializeParams() Object {
	caps := Object{
		"workspace": Object{
			"configuration": e.o.Settings != nil, "workspaceFolders": true,
			"codeLens": Object{"refreshSupport": true}, "inlayHint": Object{"refreshSupport": true},
		},
		"window": Object{"workDoneProgress": true, "showDocument": Object{"support": true}},
		"textDocument": Object{
			"publishDiagnostics": Object{"relatedInformation": true, "versionSupport": true},
			"codeAction":         Object{"codeActionLiteralSupport": Object{"codeActionKind": Object{"valueSet": []string{"", "quickfix", "source"}}}},
		},
	}
	if e.o.Encodings != nil {
		caps["general"] = Object{"positionEncodings": e.o.Encodings}
	}
	merge(caps, e.o.Capabilities)
	pid := os.Getpid()
	if e.o.ProcessID != nil {
		pid = *e.o.ProcessID
	}
	params := Object{"processId": pid, "rootUri": nil, "capabilities": caps, "workspaceFolders": nil}
	if e.o.Program != "" {
		params["clientInfo"] = Object{"name": e.o.Program}
	}
	if init := e.initOptions(); init != nil {
		params["initializationOptions"] = init
	}
	if !e.o.NoFolder {
		params["workspaceFolders"] = []any{Object{"uri": fileURI(e.Folder), "name": "test"}}
		params["rootUri"] = fileURI(e.Folder)
	}
	return params
}

// initOptions are the initializationOptions.
func (e *Editor) initOptions() any {
	init, ok := e.o.Init.(Object)
	if e.o.Kept || e.o.Init != nil && !ok {
		return e.o.Init
	}
	own := Object{"session": Object{"keep": "0"}}
	merge(own, init)
	return own
}

// merge puts what is in one object into another, and likewise what is in those within.
func merge(into, from Object) {
	for key, value := range from {
		inner, nested := into[key].(Object)
		if more, ok := value.(Object); ok && nested {
			merge(inner, more)
			continue
		}
		into[key] = value
	}
}

func fileURI(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// URI is the uri of a file of the folder, or of another document that is named by its uri: untitled:NAME, vscode-notebook-cell:PATH#CELL.
func (e *Editor) URI(name string) string {
	if scheme, _, ok := strings.Cut(name, ":"); ok && (scheme == "untitled" || scheme == "vscode-notebook-cell") {
		return name
	}
	return fileURI(filepath.Join(e.Folder, name))
}

// Call sends a request and waits for the answer, which it decodes into result unless that is nil. An error of the server's is an *[Error].
func (e *Editor) Call(method string, params, result any) error {
	e.t.Helper()
	return e.Wait(e.Send(method, params), result)
}

// Sent is a request that has been sent.
type Sent struct {
	ID     string
	Method string
	answer chan Message
}

// Send sends a request.
func (e *Editor) Send(method string, params any) Sent {
	e.t.Helper()
	e.mu.Lock()
	e.count++
	sent := Sent{fmt.Sprint(e.count), method, make(chan Message, 1)}
	e.calls[sent.ID] = sent
	e.mu.Unlock()
	e.write(Object{"jsonrpc": "2.0", "id": json.RawMessage(sent.ID), "method": method, "params": params})
	return sent
}

// Wait waits for the answer to a request.
func (e *Editor) Wait(sent Sent, result any) error {
	e.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case m, ok := <-sent.answer:
		switch {
		case !ok:
			return io.EOF
		case m.Error != nil:
			return m.Error
		case result == nil:
			return nil
		}
		if err := json.Unmarshal(m.Result, result); err != nil {
			e.t.Fatalf("%s answered %s: %v", sent.Method, m.Result, err)
		}
		return nil
	case <-timer.C:
		e.fail("%s was not answered", sent.Method)
		return nil
	}
}

// Notify sends a notification.
func (e *Editor) Notify(method string, params any) {
	e.t.Helper()
	e.write(Object{"jsonrpc": "2.0", "method": method, "params": params})
}

// Command executes a command, and fails the test if that does.
func (e *Editor) Command(name string, args Object, result any) {
	e.t.Helper()
	if err := e.TryCommand(name, args, result); err != nil {
		e.t.Fatalf("%s %v: %v", name, args, err)
	}
}

// TryCommand executes a command.
func (e *Editor) TryCommand(name string, args Object, result any) error {
	e.t.Helper()
	params := Object{"command": name}
	if args != nil {
		params["arguments"] = []any{args}
	}
	return e.Call("workspace/executeCommand", params, result)
}

// Run executes a command that runs something, and returns the run's id.
func (e *Editor) Run(name string, args Object) string {
	e.t.Helper()
	var reply struct{ Run string }
	e.Command(name, args, &reply)
	if reply.Run == "" {
		e.t.Fatalf("%s answered no run", name)
	}
	return reply.Run
}

// write sends a message.
func (e *Editor) write(m any) {
	e.t.Helper()
	body, err := json.Marshal(m)
	if err != nil {
		e.t.Fatal(err)
	}
	e.WriteRaw(fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
}

// WriteRaw sends any bytes. A server that is gone is no failure here; a test that waits for it will notice.
func (e *Editor) WriteRaw(text string) { e.writeRaw(text) }

// writeRaw sends bytes that come in pieces.
func (e *Editor) writeRaw(pieces ...string) {
	e.writing.Lock()
	defer e.writing.Unlock()
	for _, piece := range pieces {
		_, _ = io.WriteString(e.stream, piece)
	}
}

// StopReading makes the editor read nothing until the function that it returns is called.
func (e *Editor) StopReading() (resume func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	paused := make(chan struct{})
	e.paused = paused
	return sync.OnceFunc(func() { close(paused) })
}

// Mark forgets the messages that have come: Await looks at later ones only.
func (e *Editor) Mark() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mark = len(e.messages)
}

// Messages are all messages since the last Mark that fit the conditions.
func (e *Editor) Messages(conditions ...Condition) []Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []Message
	for _, m := range e.messages[e.mark:] {
		if fits(m, conditions) {
			found = append(found, m)
		}
	}
	return found
}

// Condition is something that a message fulfils or not.
type Condition func(Message) bool

func fits(m Message, conditions []Condition) bool {
	return !slices.ContainsFunc(conditions, func(c Condition) bool { return !c(m) })
}

// Method fits messages of a method.
func Method(name string) Condition { return func(m Message) bool { return m.Method == name } }

// Has fits messages whose parameters, or result, have a value at a path: compared as text.
func Has(path string, value any) Condition {
	return func(m Message) bool { return fmt.Sprint(m.Get(path)) == fmt.Sprint(value) }
}

// Contains fits messages that have a string at a path that contains a text.
func Contains(path, text string) Condition {
	return func(m Message) bool {
		s, _ := m.Get(path).(string)
		return strings.Contains(s, text)
	}
}

// Await waits for the first message since the last Mark that fits all conditions.
func (e *Editor) Await(what string, conditions ...Condition) Message {
	e.t.Helper()
	var found Message
	e.Until(what, func(all []Message) bool {
		for _, m := range all {
			if fits(m, conditions) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// Until waits until a condition on all messages since the last Mark comes true. It is asked again after each message.
func (e *Editor) Until(what string, condition func([]Message) bool) {
	e.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		e.mu.Lock()
		all, more, ended := e.messages[e.mark:len(e.messages):len(e.messages)], e.more, e.ended
		e.mu.Unlock()
		if condition(all) {
			return
		}
		if ended {
			e.fail("the server has ended; still waiting for %s", what)
		}
		select {
		case <-more:
		case <-timer.C:
			e.fail("gave up waiting for %s", what)
		}
	}
}

// fail fails the test with the last messages.
func (e *Editor) fail(format string, args ...any) {
	e.t.Helper()
	e.mu.Lock()
	var b strings.Builder
	for _, m := range e.messages[max(0, len(e.messages)-30):] {
		fmt.Fprintf(&b, "\n\t%s", m)
	}
	e.mu.Unlock()
	e.t.Fatalf(format+"; the last messages:%s", append(args, b.String())...)
}

// readAll reads messages until the server closes the stream.
func (e *Editor) readAll() {
	defer close(e.read)
	r := newReader(e.stream)
	for {
		e.mu.Lock()
		paused := e.paused
		e.mu.Unlock()
		if paused != nil {
			<-paused
		}
		m, err := r.next()
		e.mu.Lock()
		if err != nil {
			e.ended = true
			for _, sent := range e.calls {
				close(sent.answer)
			}
			clear(e.calls)
			close(e.more)
			e.more = make(chan struct{})
			e.mu.Unlock()
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				e.t.Errorf("the server sent what is no message: %v", err)
			}
			return
		}
		e.messages = append(e.messages, m)
		close(e.more)
		e.more = make(chan struct{})
		sent, awaited := e.calls[string(m.ID)]
		if m.Method == "" && awaited {
			delete(e.calls, string(m.ID))
			sent.answer <- m
		}
		e.mu.Unlock()
		recording.record(cmp.Or(m.Method, sent.Method), m)
		if m.Method != "" && m.ID != nil {
			e.answer(m)
		}
	}
}

// answer answers what the server asks.
func (e *Editor) answer(m Message) {
	var result any
	own := e.o.Answers[m.Method]
	switch {
	case own != nil:
		result = own(m)
	case m.Method == "workspace/configuration":
		items, _ := m.Get("items").([]any)
		e.mu.Lock()
		settings := e.o.Settings
		e.mu.Unlock()
		result = slices.Repeat([]any{settings}, len(items))
	case m.Method == "window/showDocument":
		result = Object{"success": true}
	case m.Method == "workspace/applyEdit":
		result = Object{"applied": true}
	}
	go func() { // a server that does not read must not keep the editor from reading
		if later, ok := result.(Later); ok {
			result = later()
		}
		answer := Object{"jsonrpc": "2.0", "id": m.ID, "result": result}
		if refusal, ok := result.(*Error); ok {
			answer = Object{"jsonrpc": "2.0", "id": m.ID, "error": Object{"code": refusal.Code, "message": refusal.Message}}
		}
		body, _ := json.Marshal(answer)
		e.WriteRaw(fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	}()
}

// Settings changes the settings and tells the server.
func (e *Editor) Settings(settings Object) {
	e.mu.Lock()
	e.o.Settings = settings
	e.mu.Unlock()
	e.Notify("workspace/didChangeConfiguration", Object{"settings": Object{"dip": settings}})
}

// Leave closes the editor's end of the stream without shutdown, as when the editor dies, and returns the server's error.
func (e *Editor) Leave() error {
	e.left = true
	e.stream.Close()
	return e.awaitEnd()
}

// Shutdown ends the server as LSP wants it, and returns its error.
func (e *Editor) Shutdown() error {
	e.t.Helper()
	e.left = true
	if err := e.Call("shutdown", nil, nil); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	e.Notify("exit", nil)
	return e.awaitEnd()
}

// AwaitEnd waits for the server to end by itself, and returns its error.
func (e *Editor) AwaitEnd() error {
	e.left = true
	return e.awaitEnd()
}

func (e *Editor) awaitEnd() error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-e.served:
		e.served <- err
		return err
	case <-timer.C:
		e.fail("the server does not end")
		return nil
	}
}

// end is the end of the test.
func (e *Editor) end() {
	e.mu.Lock()
	if e.paused != nil {
		select {
		case <-e.paused:
		default:
			close(e.paused)
		}
	}
	e.mu.Unlock()
	if !e.left && !e.t.Failed() {
		if err := e.Shutdown(); err != nil {
			e.t.Errorf("the server ended with: %v", err)
		}
	}
	e.cancel()
	e.stream.Close()
	select {
	case <-e.served:
	case <-time.After(patience):
		e.t.Error("the server does not end")
	}
	<-e.read
}
