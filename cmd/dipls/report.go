package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
)

// reportedRuns is how many of the last runs a report tells of.
const reportedRuns = 20

const reportAbout = `A report for somebody who looks for a fault of dipls.

doctor.txt   what dipls doctor found
about.json   versions and the machine's kind
log.txt      dipls' own log of the pool that doctor tried out
runs/        the events of the last runs, oldest first, one JSON object a line

%s
The home directory stands there as "~". Look into it before you send it.
`

const (
	reportWithout = `What cells printed and returned, the texts of their exceptions, code and variables are not in it. Sentences of dipls itself may quote
what a process printed when it could not start or died.`
	reportWith = "What cells printed and returned, and their code, are in it, because --with-output asked for that."
)

// report is what doctor gathers for a bug report.
type report struct {
	output   bool // include what runs printed, returned and raised, and their code
	findings bytes.Buffer
	log      bytes.Buffer
	python   string
	packages map[string]string
}

// write writes the report as a zip file, which must not exist yet. A file that could not be completed is removed.
func (r *report) write(path string) (runs int, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	z := zip.NewWriter(f)
	runs, err = r.fill(z)
	return runs, errors.Join(err, z.Close(), f.Close())
}

func (r *report) fill(z *zip.Writer) (runs int, err error) {
	about := reportWithout
	if r.output {
		about = reportWith
	}
	versions, err := json.MarshalIndent(r.versions(), "", "  ")
	if err != nil {
		return 0, err
	}
	for _, file := range [][2]string{
		{"README.txt", fmt.Sprintf(reportAbout, about)}, {"doctor.txt", r.findings.String()}, {"log.txt", r.log.String()}, {"about.json", string(versions) + "\n"},
	} {
		if err := addText(z, file[0], withoutHome(file[1])); err != nil {
			return 0, err
		}
	}
	dir, err := journal.DefaultDir()
	if err != nil {
		return 0, nil // which doctor.txt tells
	}
	all := journal.Runs(dir)
	for _, run := range all[max(0, len(all)-reportedRuns):] {
		w, err := z.Create("runs/" + filepath.Base(run) + ".jsonl")
		if err != nil {
			return runs, err
		}
		if err := r.run(w, run); err != nil {
			return runs, err
		}
		runs++
	}
	return runs, nil
}

func (r *report) versions() map[string]any {
	about := map[string]any{
		"dipls": version + revision(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cores": runtime.NumCPU(),
		"python": r.python, "packages": r.packages,
	}
	var uname unix.Utsname
	if unix.Uname(&uname) == nil {
		about["kernel"] = unix.ByteSliceToString(uname.Release[:])
	}
	return about
}

// run writes the events of a run. An event that cannot be read becomes a line that says so: it may be the fault that is being looked for.
func (r *report) run(w io.Writer, dir string) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	reader, err := journal.Read(dir)
	if err != nil {
		return enc.Encode(map[string]string{"unreadable": withoutHome(err.Error())})
	}
	defer reader.Close()
	if r.output {
		if err := enc.Encode(map[string]string{"code": reader.Record.Code}); err != nil {
			return err
		}
	}
	for {
		ev, _, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return enc.Encode(map[string]string{"unreadable": withoutHome(err.Error())})
		}
		fields, err := r.fields(ev)
		if err != nil {
			return err
		}
		if err := enc.Encode(fields); err != nil {
			return err
		}
	}
}

// reportedFields are the fields of events that reveal nothing about the user's code, data and output.
var reportedFields = []string{
	"event", "run", "cell", "rank", "local", "path", "line", "target", "see", "seen", "quiet", "autodip", "parent", "journal", "name", "wait", "clear", "update",
	"execution_count", "ename", "frames", "state", "status", "seconds", "size", "exit_code", "level", "reason",
}

// fields are the event's fields. A private text is replaced by its length.
func (r *report) fields(ev event.Event) (map[string]any, error) {
	b, err := json.Marshal(ev)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(withoutHome(string(b))), &fields); err != nil {
		return nil, err
	}
	if r.output {
		return fields, nil
	}
	for name, value := range fields {
		text, isText := value.(string)
		switch {
		case slices.Contains(reportedFields, name):
		case name == "text" && ev.Head().Kind == event.KindLog: // a sentence of ours
		case isText:
			fields[name] = fmt.Sprintf("(%d bytes)", len(text))
		default:
			delete(fields, name)
		}
	}
	return fields, nil
}

func addText(z *zip.Writer, name, text string) error {
	w, err := z.Create(name)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// withoutHome puts "~" where the home directory stands.
func withoutHome(text string) string {
	home, err := os.UserHomeDir()
	if err != nil || len(home) < 2 {
		return text
	}
	return strings.ReplaceAll(text, home, "~")
}

// describeReport is the sentence about a report that was written.
func describeReport(path string, runs int, output bool) string {
	what := "no output, no code, no variables"
	if output {
		what = "with their output and code"
	}
	return fmt.Sprintf("%s: versions, what is said here, a log, the events of the last %d runs (%s). Look into it before you send it", path, runs, what)
}

// reportFault says why a report was not written, and what to do.
func reportFault(path string, err error) (remedy string, _ error) {
	if errors.Is(err, fs.ErrExist) {
		return "name another file", fmt.Errorf("%s is there already, and is left as it is", path)
	}
	return "name a file in a directory that you may write to", err
}
