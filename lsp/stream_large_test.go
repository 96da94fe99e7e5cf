package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"unsafe"

	"go.lsp.dev/jsonrpc2"
)

// A large result arrives in an answer like any other, whatever the client calls its request, and the next one is sent from the same memory.
func TestLargeResults(t *testing.T) {
	mine, theirs := net.Pipe()
	s := newStream(theirs)
	conn := jsonrpc2.NewConn(s, jsonrpc2.WithCodec(codec{s}))
	results := make(chan *largeResult, 1)
	var want string
	conn.Go(t.Context(), func(_ context.Context, req *jsonrpc2.Request) (any, error) {
		if req.Method() == "small" {
			return "small", nil
		}
		r := s.largeResult([]byte(want))
		results <- r
		return r, nil
	})
	t.Cleanup(func() {
		mine.Close()
		<-conn.Done()
		<-s.out.done
	})

	r := bufio.NewReader(mine)
	ask := func(id, method string) (answer struct{ ID, Result json.RawMessage }) {
		t.Helper()
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"%s"}`, id, method)
		if _, err := fmt.Fprintf(mine, "Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		var size int
		if _, err := fmt.Fscanf(r, "Content-Length: %d\r\n\r\n", &size); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			t.Fatalf("%.200s: %v", data, err)
		}
		if string(answer.ID) != id {
			t.Errorf("got id %s, want %s", answer.ID, id)
		}
		if err := s.out.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	var last *byte
	for i, id := range []string{"1", `"one"`, `"` + strings.Repeat("long ", 40) + `"`, `"` + strings.Repeat("x", 5000) + `"`, "2147483647"} {
		want = `["` + strings.Repeat("a lens, ", 20_000+i) + `"]`
		if got := ask(id, "large"); string(got.Result) != want {
			t.Errorf("id %.20s: got %.100s", id, got.Result)
		}
		buffer := (<-results).buffer
		memory := unsafe.SliceData(buffer[:1])
		if last != nil && memory != last && len(id) < 100 {
			t.Errorf("id %s: the result is in fresh memory", id)
		}
		last = unsafe.SliceData(s.out.spare)
		if got := ask("3", "small"); string(got.Result) != `"small"` {
			t.Errorf("got %s", got.Result)
		}
	}
	if n := len(s.large.waiting); n > 0 {
		t.Errorf("%d results wait to be sent", n)
	}
}
