package journal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// Reader reads the events of a run from its journal: the same events in the same order as they were published. Only pieces of
// one stream with nothing between them may be cut differently. A Log event stands where output was removed
// because the journal's limit was reached.
type Reader struct {
	Record Record

	dir     string
	index   *os.File
	section int // whose index that is
	lines   *bufio.Reader
	procs   map[ranklist.Who]*readProc
	at      time.Duration // of the last index line
	output  indexStream   // the rest of the last stretch of output
	queue   []event.Event // to be returned next
	to      *Mark         // where the events end; nil: where the journal does
	ended   bool          // the index has been read
	gapped  bool          // the last event about output was that something was removed

	follows bool   // what is there is not the end
	half    []byte // the beginning of an index line of which the rest has not been written yet
	again   bool   // the index was at its end, and is looked at once more: another section has begun
	waits   bool   // there is nothing more now
	beyond  bool   // also output that the index does not mention yet is wanted
}

// readProc is what has been read of one process.
type readProc struct {
	who     ranklist.Who
	raw     *os.File
	section int           // whose file raw is
	seen    map[int]int64 // by section: how much of its file the index has mentioned
	text    [2]event.TextDecoder
	header  event.Header // for its Stream events
}

// indexStream is an index line about a stretch of output.
type indexStream struct {
	event.Header
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`

	Section int `json:"section"`
}

// Read opens the journal in the directory dir. The run may still be going on, or its server may have died: the events end
// where the journal does. The error is [fs.ErrNotExist] for a run that had nothing to keep.
func Read(dir string) (*Reader, error) {
	r := &Reader{dir: dir, procs: map[ranklist.Who]*readProc{}}
	var err error
	if r.Record, err = ReadRecord(dir); err != nil {
		return nil, err
	}
	if r.index, err = os.Open(filepath.Join(dir, indexName)); err != nil {
		return nil, err
	}
	r.lines = bufio.NewReader(r.index)
	return r, nil
}

// ReadTo opens a journal as Read does, but the events end at the mark. A character that is incomplete there is left out.
func ReadTo(m Mark) (*Reader, error) {
	r, err := Read(m.dir)
	if err != nil {
		return nil, err
	}
	r.to = &m
	r.lines.Reset(r.upToMark())
	return r, nil
}

// upToMark is the current section's index, as far as it is to be read.
func (r *Reader) upToMark() io.Reader {
	if r.to != nil && r.to.section == r.section {
		return io.LimitReader(r.index, r.to.size)
	}
	return r.index
}

// Close closes the files.
func (r *Reader) Close() {
	_ = r.index.Close()
	for _, p := range r.procs {
		p.close()
	}
}

func (p *readProc) close() {
	if p.raw != nil {
		_ = p.raw.Close()
		p.raw = nil
	}
}

// Next returns the next event and when it was published, counted from the run's start. It returns [io.EOF] at the end; if the reader
// follows, at the end of what is there now.
func (r *Reader) Next() (event.Event, time.Duration, error) {
	for len(r.queue) == 0 {
		var err error
		switch {
		case r.output.Size > 0:
			err = r.readOutput()
		case r.waits:
			r.waits = false
			return nil, 0, io.EOF
		case !r.ended:
			err = r.readLine()
		default:
			return nil, 0, io.EOF
		}
		if err != nil {
			return nil, 0, fmt.Errorf("journal %s: %w", r.dir, err)
		}
	}
	e := r.queue[0]
	r.queue = r.queue[1:]
	return e, r.at, nil
}

// readLine reads a line of the index.
func (r *Reader) readLine() error {
	line, err := r.lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) { // a line without an end was being written when the server died, or is being written
		r.half = append(r.half, line...)
		return r.nextSection()
	}
	if err != nil {
		return err
	}
	line, r.half, r.again = append(r.half, line...), nil, false
	var head struct {
		Time float64    `json:"time"`
		Kind event.Kind `json:"event"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return err
	}
	r.at = time.Duration(head.Time * float64(time.Second))
	if head.Kind == event.KindStream {
		r.output = indexStream{}
		err := json.Unmarshal(line, &r.output)
		r.skipRead()
		return err
	}
	e, err := event.ParseJSON(line)
	if err != nil {
		return err
	}
	switch e := e.(type) {
	case *event.Display:
		e.Data, err = r.restore(e.Data, e.Files)
	case *event.Result:
		e.Data, err = r.restore(e.Data, e.Files)
	case *event.RankState:
		if e.State == event.StateReady || e.State == event.StateDead {
			who, _ := e.Who()
			r.flush(r.proc(who))
		}
	}
	r.queue = append(r.queue, e)
	return err
}

// readOutput reads a piece of the current stretch of output.
func (r *Reader) readOutput() error {
	who, _ := r.output.Who()
	p := r.proc(who)
	if p.raw == nil || p.section != r.output.Section {
		name := (&section{number: r.output.Section}).name(baseOf(p.who), rawSuffix)
		f, err := os.Open(filepath.Join(r.dir, name))
		if errors.Is(err, fs.ErrNotExist) && r.output.Section > 0 { // removed meanwhile
			r.gap()
			return nil
		}
		if err != nil {
			return err
		}
		p.close()
		p.raw, p.section = f, r.output.Section
	}
	b := make([]byte, min(r.output.Size, event.MaxText))
	if _, err := p.raw.ReadAt(b, r.output.Offset); err != nil {
		if errors.Is(err, io.EOF) && p.section > 0 { // the section is just being removed
			r.gap()
			return nil
		}
		return err
	}
	r.output.Offset += int64(len(b))
	r.output.Size -= int64(len(b))
	p.seen[p.section] = max(p.seen[p.section], r.output.Offset)
	r.push(p, r.output.Name, p.text[event.StreamIndex(r.output.Name)].Decode(b))
	return nil
}

// nextSection goes on with the index of the next section that there is.
func (r *Reader) nextSection() error {
	for {
		next, err := r.after(r.section)
		if err != nil {
			return err
		}
		switch {
		case r.to != nil && (next == 0 || next > r.to.section):
			r.ended = true
			return nil
		case next == 0 && r.follows:
			return r.pause()
		case next == 0:
			return r.readRest()
		case r.follows && !r.again: // its last lines may have come since
			r.again = true
			return nil
		}
		index, err := os.Open(filepath.Join(r.dir, (&section{number: next}).name(indexBase, indexExt)))
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return err
		}
		_ = r.index.Close()
		if next > r.section+1 {
			r.gap()
		}
		r.index, r.section, r.half, r.again = index, next, nil, false
		r.lines.Reset(r.upToMark())
		return nil
	}
}

// after is the number of the first section after one; 0: there is none.
func (r *Reader) after(number int) (next int, err error) { return sectionAfter(r.dir, number) }

// sectionAfter is the number of the first section of a journal after one; 0: there is none.
func sectionAfter(dir string, number int) (next int, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		digits, index := strings.CutPrefix(strings.TrimSuffix(entry.Name(), indexExt), indexBase+".")
		if n, err := strconv.Atoi(digits); index && err == nil && n > number && (next == 0 || n < next) {
			next = n
		}
	}
	return next, err
}

// gap is the event for output that was removed. It skips the rest of the current stretch.
func (r *Reader) gap() {
	r.output = indexStream{}
	if r.gapped {
		return
	}
	r.gapped = true
	r.queue = append(r.queue, &event.Log{
		Header: event.Header{Kind: event.KindLog, Run: r.Record.Run, Cell: event.CellOf(r.Record.Cell)}, Level: event.LevelWarning, Path: r.dir, Missing: true,
		Text: "what was put out here is not kept: the journal has reached its limit (--journal-limit, dip.journalLimit)",
	})
}

// readRest reads, stretch by stretch, output that the index does not mention because the server died. Then it ends the events.
func (r *Reader) readRest() error {
	if more, err := r.findRest(); more || err != nil {
		return err
	}
	r.ended = true
	for _, who := range slices.SortedFunc(maps.Keys(r.procs), ranklist.Who.Compare) {
		r.flush(r.procs[who])
	}
	return nil
}

// findRest looks for a stretch of output that the index does not mention; which of the two streams it came from is not known.
func (r *Reader) findRest() (more bool, err error) {
	files, err := OutputFiles(r.dir)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		if seen := r.proc(f.Who).seen[f.Section]; f.Size > seen {
			r.output = indexStream{
				Header: r.proc(f.Who).header, Name: event.Stdout, Offset: seen, Size: f.Size - seen, Section: f.Section,
			}
			return true, nil
		}
	}
	return false, nil
}

func (r *Reader) proc(who ranklist.Who) *readProc {
	p := r.procs[who]
	if p == nil {
		p = &readProc{
			who: who, seen: map[int]int64{},
			header: event.HeaderOf(event.KindStream, r.Record.Run, event.CellOf(r.Record.Cell), who),
		}
		r.procs[who] = p
	}
	return p
}

// flush returns what a process's decoders hold back.
func (r *Reader) flush(p *readProc) {
	for i := range p.text {
		r.push(p, event.StreamNames[i], p.text[i].Flush())
	}
}

func (r *Reader) push(p *readProc, name, text string) {
	if text != "" {
		r.gapped = false
		r.queue = append(r.queue, &event.Stream{Header: p.header, Name: name, Text: text})
	}
}

// jsonString is s as JSON, with HTML as it is.
func jsonString(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can be encoded
	return bytes.TrimSpace(b.Bytes())
}

// restore puts the contents of files back into data, and makes their paths whole.
func (r *Reader) restore(data map[string]json.RawMessage, files map[string]string) (map[string]json.RawMessage, error) {
	for mime, name := range files {
		path := filepath.Join(r.dir, filepath.Base(name))
		files[mime] = path
		if _, ok := data[mime]; ok {
			continue
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && r.section > 0 { // removed meanwhile
			continue
		}
		if err != nil {
			return data, err
		}
		s := string(content)
		if richFiles[mime].base64 {
			s = base64.StdEncoding.EncodeToString(content)
		}
		if data == nil {
			data = map[string]json.RawMessage{}
		}
		data[mime] = jsonString(s)
	}
	return data, nil
}
