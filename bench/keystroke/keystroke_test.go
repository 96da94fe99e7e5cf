// Package keystroke measures how long a person waits after typing a character into a large file, until everything in view is up to date again.
// Run it with `make bench-lsp`.
package keystroke

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/journal"
	"dipls/lsp"
	"dipls/session"
)

const (
	cellCount    = 10_000
	linesPerCell = 12 // 120,000 lines
	visibleLines = 60
	document     = "file:///tmp/keystroke/train.py"
)

// The document: a cell for every 12 lines; each fourth runs on the ranks.
func text() string {
	var b strings.Builder
	for i := range cellCount {
		fmt.Fprintf(&b, "# %%%% Step %d\n", i)
		if i%4 == 0 {
			b.WriteString("# %%dip --see all\n")
		} else {
			b.WriteString("import math\n")
		}
		for line := range linesPerCell - 2 {
			fmt.Fprintf(&b, "x%d = math.sqrt(%d) + sum(i * i for i in range(%d))  # é\n", line, i, line)
		}
	}
	return b.String()
}

// BenchmarkKeystroke types a character into the directive of a cell in the middle of the file, or takes it away, which brings a problem or
// removes it. It waits until the lenses of the document are there, those of the visible part are resolved, and the diagnostics of the new
// version have come.
func BenchmarkKeystroke(b *testing.B) {
	c := connect(b, text())
	const line = cellCount / 2 * linesPerCell // a marker, and below it a directive
	lenses := c.visible(b, line-visibleLines/2, line+visibleLines/2)
	if len(lenses) == 0 {
		b.Fatal("there are no lenses")
	}
	const column = len("# %%dip --see all")
	edits := [2]string{
		fmt.Sprintf(`{"range":{"start":{"line":%d,"character":%d},"end":{"line":%d,"character":%d}},"text":"x"}`, line+1, column, line+1, column),
		fmt.Sprintf(`{"range":{"start":{"line":%d,"character":%d},"end":{"line":%d,"character":%d}},"text":""}`, line+1, column, line+1, column+1),
	}
	took := make([]time.Duration, 0, b.N)
	size := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		begin := time.Now()
		c.change(edits[i%2])
		c.request("textDocument/codeLens", `{"textDocument":{"uri":"`+document+`"}}`)
		answer, published := c.await(b, 1)
		size = len(answer)
		for _, lens := range lenses {
			c.request("codeLens/resolve", lens)
		}
		_, more := c.await(b, len(lenses))
		for published = published || more; !published; {
			published = c.isDiagnostics(c.read(b))
		}
		took = append(took, time.Since(begin))
	}
	b.StopTimer()
	keep(b, took)
	report(b, took)
	b.ReportMetric(float64(size), "lens-bytes")
	b.ReportMetric(float64(len(lenses)), "resolved")
}

// BenchmarkMovingDiagnostics types a line above 7,500 cells with a diagnostic each, or takes it away. It waits until all the diagnostics have
// come with their new lines.
func BenchmarkMovingDiagnostics(b *testing.B) {
	c := connect(b, strings.ReplaceAll(text(), "import math", "%dipush --rank 0 x"))
	edits := [2]string{
		`{"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":0}},"text":"\n"}`,
		`{"range":{"start":{"line":0,"character":0},"end":{"line":1,"character":0}},"text":""}`,
	}
	took := make([]time.Duration, 0, b.N)
	var published []byte
	for published = c.read(b); !c.isDiagnostics(published); {
		published = c.read(b)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		begin := time.Now()
		c.change(edits[i%2])
		for published = c.read(b); !c.isDiagnostics(published); {
			published = c.read(b)
		}
		took = append(took, time.Since(begin))
	}
	b.StopTimer()
	if n := bytes.Count(published, []byte(`"unknown-flag"`)); n != cellCount*3/4 {
		b.Errorf("%d diagnostics", n)
	}
	report(b, took)
	b.ReportMetric(float64(len(published)), "bytes")
}

// keep writes how long each keystroke took, in milliseconds, as JSON to the file named by $DIPLS_KEYSTROKES, if that is set.
func keep(b *testing.B, took []time.Duration) {
	path := os.Getenv("DIPLS_KEYSTROKES")
	if path == "" {
		return
	}
	samples := make([]float64, len(took))
	for i, d := range took {
		samples[i] = milliseconds(d)
	}
	data, err := json.Marshal(samples)
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// report reports how long the keystrokes took.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[len(took)/2]), "p50-ms")
	b.ReportMetric(milliseconds(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), "max-ms")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// client is an editor that decodes only what it needs, so that the server is measured and not the client.
type client struct {
	conn    net.Conn
	r       *bufio.Reader
	buffer  []byte
	count   int
	version int
}

// connect starts a server in this process, at the other end of a socket, and opens the document.
func connect(b *testing.B, text string) *client {
	mine, theirs := sockets(b)
	c := &client{conn: mine, r: bufio.NewReaderSize(mine, 1<<20)}
	ctx, cancel := context.WithCancel(context.Background())
	store := journal.Open(journal.Options{Dir: b.TempDir()})
	sessions := lsp.NewSessions(func(dir string) session.API {
		return session.New(session.Options{Dir: dir, Journal: store})
	}, nil)
	ended := make(chan struct{})
	go func() {
		_ = lsp.Serve(ctx, theirs, lsp.Deps{Sessions: sessions, Version: "bench"})
		_ = sessions.Close(context.Background())
		store.Close()
		close(ended)
	}()
	b.Cleanup(func() {
		cancel()
		mine.Close()
		<-ended
	})
	c.request("initialize", `{"processId":null,"rootUri":null,"initializationOptions":{"prewarm":false},
		"capabilities":{"textDocument":{"publishDiagnostics":{"versionSupport":true}}}}`)
	c.await(b, 1)
	c.send(`{"jsonrpc":"2.0","method":"initialized","params":{}}`)
	quoted, err := json.Marshal(text)
	if err != nil {
		b.Fatal(err)
	}
	c.version = 1
	c.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"textDocument/didOpen","params":`+
		`{"textDocument":{"uri":"%s","languageId":"python","version":1,"text":%s}}}`, document, quoted))
	return c
}

// sockets are the two ends of a stream of the operating system.
func sockets(b *testing.B) (mine, theirs net.Conn) {
	l, err := net.Listen("unix", b.TempDir()+"/s")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if mine, err = net.Dial("unix", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	return mine, theirs
}

func (c *client) send(body string) {
	// If the server is gone, read fails.
	_, _ = io.WriteString(c.conn, "Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
}

// change makes an edit.
func (c *client) change(edit string) {
	c.version++
	c.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"%s","version":%d},"contentChanges":[%s]}}`,
		document, c.version, edit))
}

func (c *client) request(method, params string) {
	c.count++
	c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}`, c.count, method, params))
}

// read reads a message, which is valid until the next read.
func (c *client) read(b *testing.B) []byte {
	size := 0
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				b.Fatal(err)
			}
		}
	}
	c.buffer = slices.Grow(c.buffer[:0], size)[:size]
	if _, err := io.ReadFull(c.r, c.buffer); err != nil {
		b.Fatal(err)
	}
	return c.buffer
}

// await reads messages until a number of requests have been answered; it returns the last answer, and whether the diagnostics of the current version
// were among the messages.
func (c *client) await(b *testing.B, answers int) (answer []byte, published bool) {
	for answers > 0 {
		m := c.read(b)
		head := m[:min(len(m), 100)]
		switch {
		case !bytes.Contains(head, []byte(`"id":`)):
			published = published || c.isDiagnostics(m)
			continue
		case bytes.Contains(head, []byte(`"error"`)):
			b.Fatalf("%.300s", m)
		}
		answer = m
		answers--
	}
	return answer, published
}

// isDiagnostics reports whether a message is the diagnostics of the current version.
func (c *client) isDiagnostics(m []byte) bool {
	return bytes.Contains(m[:min(len(m), 100)], []byte("publishDiagnostics")) && bytes.Contains(m, fmt.Appendf(nil, `"version":%d`, c.version))
}

// visible are the document's lenses between two lines, as a client sends them to be resolved. A cell keeps its identity, and so its lenses, while it is edited.
func (c *client) visible(b *testing.B, from, to int) (lenses []string) {
	c.request("textDocument/codeLens", `{"textDocument":{"uri":"`+document+`"}}`)
	answer, _ := c.await(b, 1)
	var m struct{ Result []json.RawMessage }
	if err := json.Unmarshal(answer, &m); err != nil {
		b.Fatal(err)
	}
	for _, raw := range m.Result {
		var lens struct {
			Range struct{ Start struct{ Line int } }
		}
		if err := json.Unmarshal(raw, &lens); err != nil {
			b.Fatal(err)
		}
		if from <= lens.Range.Start.Line && lens.Range.Start.Line < to {
			lenses = append(lenses, string(raw))
		}
	}
	return lenses
}
