package journal

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// maxOpenFiles is how many NAME.out files a Store keeps open, but at most a quarter of what the process may open. Further ones are opened for
// each write.
const maxOpenFiles = 512

// Output keeps what one process puts out in a run: NAME.out, the bytes that it printed, and files of rich output. Only one goroutine at a time may
// use it. The zero value keeps nothing.
type Output struct {
	r      *Recorder // nil: nothing is kept
	who    ranklist.Who
	in     *section // whose file is written
	f      *os.File // nil: it is not open
	size   int64    // of the file
	total  int64    // of what the process has printed, all sections together
	riches int      // rich output saved so far
}

// Output begins to keep the output of a process, until the Output is closed.
func (r *Recorder) Output(who ranklist.Who) Output {
	if r != nil {
		r.refs.Add(1)
	}
	return Output{r: r, who: who}
}

// Keeps reports whether there is a journal at all, even if it cannot be written.
func (o *Output) Keeps() bool { return o.r != nil }

// Dir is the directory with all output of the process so far; "" if some of it is missing.
func (o *Output) Dir() string {
	if o.r == nil || o.r.off.Load() || o.r.partial.Load() {
		return ""
	}
	return o.r.dir
}

// Close says that nothing comes any more.
func (o *Output) Close() {
	if o.r != nil {
		o.closeFile()
		o.r.release()
		o.r = nil
	}
}

// Print keeps bytes that the process printed to a stream.
func (o *Output) Print(stream string, b []byte) {
	r := o.r
	switch {
	case r == nil:
		return
	case r.off.Load():
		r.lose(o, len(b))
		return
	}
	n, err := o.write(b)
	if err != nil {
		r.lose(o, len(b)-n)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fail(err)
		return
	}
	r.wrote(o.in, n)
	o.in.printed.Add(int64(n))
	r.printed(o, stream, int64(n))
}

// Event keeps an event of the process other than a Stream. It saves rich output that people look at as files, and names them in the event.
func (o *Output) Event(e event.Event) {
	if o.r == nil {
		return
	}
	kept := e // without the files' content, and with names that are still right if the directory is moved
	switch e := e.(type) {
	case *event.Display:
		if e.Clear {
			break
		}
		if saved, rest := o.save(e.Data); saved != nil {
			e.Files = saved
			copied := *e
			copied.Data, copied.Files = rest, namesOf(saved)
			kept = &copied
		}
	case *event.Result:
		if saved, rest := o.save(e.Data); saved != nil {
			e.Files = saved
			copied := *e
			copied.Data, copied.Files = rest, namesOf(saved)
			kept = &copied
		}
	}
	o.r.Event(kept)
}

// base is what the names of the process's files begin with.
func (o *Output) base() string { return baseOf(o.who) }

// baseOf is what the names of a process's files begin with: "rank-3", "local".
func baseOf(who ranklist.Who) string {
	if rank, ok := who.Rank(); ok {
		return "rank-" + strconv.Itoa(rank)
	}
	return "local"
}

// write appends to the file of the section that is written, which is opened when there is something to write.
func (o *Output) write(b []byte) (n int, err error) {
	if s := o.r.section.Load(); o.in != s {
		o.closeFile()
		o.in, o.size = s, 0
	}
	if o.f == nil {
		path, err := o.r.file(o.in, o.in.name(o.base(), rawSuffix), o.size == 0)
		if err != nil {
			return 0, err
		}
		if o.f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return 0, err
		}
		if o.r.store.open.Add(1) > o.r.store.maxOpen {
			defer o.closeFile()
		}
	}
	n, err = o.f.Write(b)
	o.size += int64(n)
	o.total += int64(n)
	return n, err
}

func (o *Output) closeFile() {
	if o.f != nil {
		_ = o.f.Close() // every write has been checked
		o.f = nil
		o.r.store.open.Add(-1)
	}
}

// richFiles are the MIME types that are kept in files of their own.
var richFiles = map[string]struct {
	ext    string
	base64 bool
}{
	"image/png":       {".png", true},
	"image/jpeg":      {".jpg", true},
	"image/gif":       {".gif", true},
	"image/webp":      {".webp", true},
	"application/pdf": {".pdf", true},
	"image/svg+xml":   {".svg", false},
	"text/html":       {".html", false},
}

// isRich reports whether an event brings rich output.
func isRich(e event.Event) bool {
	switch e := e.(type) {
	case *event.Result:
		return true
	case *event.Display:
		return !e.Clear
	default:
		return false
	}
}

// save saves rich output as files. It returns their paths by MIME type, nil if there are none, and the rest of data.
func (o *Output) save(data map[string]json.RawMessage) (files map[string]string, rest map[string]json.RawMessage) {
	r := o.r
	if r.off.Load() {
		return nil, nil
	}
	o.riches++
	in := r.section.Load()
	for _, mime := range slices.Sorted(maps.Keys(data)) {
		kind, ok := richFiles[mime]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(data[mime], &s) != nil {
			continue
		}
		content, lossless := []byte(s), true
		if kind.base64 {
			var err error
			if content, err = base64.StdEncoding.DecodeString(s); err != nil {
				continue
			}
			lossless = base64.StdEncoding.EncodeToString(content) == s // no line feeds
		}
		path, err := r.file(in, in.name(o.base(), fmt.Sprintf("-%d%s", o.riches, kind.ext)), true)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			_ = os.Remove(path) // half of it
			r.mu.Lock()
			defer r.mu.Unlock()
			r.fail(err)
			return nil, nil
		}
		r.wrote(in, max(len(content), leastFile))
		if files == nil {
			files, rest = map[string]string{}, maps.Clone(data)
		}
		files[mime] = path
		if lossless {
			delete(rest, mime)
		}
	}
	return files, rest
}

// namesOf are files without their directory.
func namesOf(files map[string]string) map[string]string {
	names := make(map[string]string, len(files))
	for mime, path := range files {
		names[mime] = filepath.Base(path)
	}
	return names
}

// outputName matches the names of the files with what processes printed.
var outputName = regexp.MustCompile(`^(?:local|rank-(\d+))(?:\.(\d+))?\.out$`)

// OutputFile is a file of a run's journal with what a process printed, byte by byte.
type OutputFile struct {
	Path    string
	Who     ranklist.Who
	Section int // 0: the first one. There are others once the journal has come near its limit
	Size    int64
}

// OutputFiles lists those of a run's directory, by section and then by process, the local namespace first.
func OutputFiles(dir string) ([]OutputFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []OutputFile
	for _, entry := range entries {
		m := outputName.FindStringSubmatch(entry.Name())
		info, err := entry.Info()
		if m == nil || err != nil { // removed meanwhile
			continue
		}
		f := OutputFile{Path: filepath.Join(dir, entry.Name()), Size: info.Size()}
		if m[1] != "" {
			rank, err := strconv.Atoi(m[1])
			if err != nil { // none of ours
				continue
			}
			f.Who = ranklist.Rank(rank)
		}
		f.Section, _ = strconv.Atoi(m[2])
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b OutputFile) int {
		if a.Section != b.Section {
			return a.Section - b.Section
		}
		return a.Who.Compare(b.Who)
	})
	return files, nil
}
