package lsptest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"sync"
)

// recorder writes down what servers send.
type recorder struct {
	seed maphash.Seed

	mu     sync.Mutex // guards what follows
	file   *os.File
	w      *bufio.Writer
	seen   map[uint64]struct{} // messages that come again and again are written once
	failed error
}

// recording is nil unless Record has been called, which is before any editor starts.
var recording *recorder

// Record writes every message that editors get from their servers from now on to a file in a directory, for [Validate].
func Record(dir string) error {
	f, err := os.CreateTemp(dir, "lsp-messages-*.jsonl")
	if err != nil {
		return err
	}
	recording = &recorder{seed: maphash.MakeSeed(), file: f, w: bufio.NewWriter(f), seen: map[uint64]struct{}{}}
	return nil
}

// record writes a message down. method is its own or, of an answer, that of the request.
func (r *recorder) record(method string, m Message) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := maphash.String(r.seed, method+" "+string(m.body))
	if _, again := r.seen[key]; again || r.failed != nil {
		return
	}
	r.seen[key] = struct{}{}
	line, err := json.Marshal(Object{"method": method, "message": m.body})
	if err == nil {
		_, err = r.w.Write(append(line, '\n'))
	}
	r.failed = err
}

// Validate ends the recording and checks every message against an independent implementation of LSP, the Python package lsprotocol: a field
// that LSP does not have, one that is missing and one of another type are errors. Methods that begin with one of the
// prefixes are extensions and are not checked. validator is the path of validate.py, which stands beside this file.
func Validate(python, validator string, prefixes ...string) error {
	r := recording
	if r == nil {
		return nil
	}
	recording = nil
	defer os.Remove(r.file.Name())
	if err := errors.Join(r.failed, r.w.Flush(), r.file.Close()); err != nil {
		return fmt.Errorf("recording the messages: %w", err)
	}
	if len(r.seen) == 0 {
		return nil // tests without an editor
	}
	out, err := exec.Command(python, append([]string{validator, r.file.Name()}, prefixes...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
