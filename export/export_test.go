package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
)

// text is a file of cells; the tests run it.
const text = `# %% [markdown]
# # Über *alles*
# <script>alert(1)</script> [a](javascript:alert(2))
# %% Plot <b>
# %%dip --see all
plot()
# %% Silent
x = 1
# %% Fails
# %%dip
fail()
# %% New
y = 2
`

// teller tells a recorder what a run has put out; head makes the header of an event of a rank.
type teller func(r *journal.Recorder, head func(event.Kind, int) event.Header)

// ran keeps a run of a cell, on two ranks if it goes there, with what tell tells.
func ran(t *testing.T, store *journal.Store, run string, cell int, title, target, code string, status event.Status, tell teller) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, cell, 0, time.Local)
	r, err := store.Begin(journal.Record{Run: run, Cell: cell, Path: "/ü/train.py", Line: 1, Title: title, Target: target, See: "0", Code: code, Started: at}, 0,
		journal.Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	head := func(kind event.Kind, rank int) event.Header {
		return event.HeaderOf(kind, run, event.CellOf(cell), ranklist.Rank(rank))
	}
	started := &event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: run, Cell: event.CellOf(cell)}, Target: target, See: "0", Quiet: true}
	r.Event(started)
	for rank := range 2 {
		r.Event(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateBusy})
	}
	if tell != nil {
		tell(r, head)
	}
	for rank := range 2 {
		r.Event(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateReady, Status: status})
	}
	r.Event(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: run, Cell: event.CellOf(cell)}, Status: status, Seconds: 1.5})
	r.Finish(event.Report{Status: status, Parts: []event.PartReport{{Who: ranklist.Rank(1), PeakMemory: 3 << 30}}}, at.Add(1500*time.Millisecond))
}

// print has a rank print something.
func print(r *journal.Recorder, rank int, text string) {
	out := r.Output(ranklist.Rank(rank))
	out.Print(event.Stdout, []byte(text))
	out.Close()
}

// raw is a JSON string.
func raw(s string) json.RawMessage { b, _ := json.Marshal(s); return b }

// gathered is the document of the text after some runs.
func gathered(t *testing.T) Document {
	t.Helper()
	store := journal.Open(journal.Options{Dir: filepath.Join(t.TempDir(), "läufe 1")})
	ran(t, store, "a-1", 2, "Plot <b>", "remote", "\nplot()\n", event.StatusOK, func(r *journal.Recorder, head func(event.Kind, int) event.Header) {
		for rank := range 2 {
			print(r, rank, "the same\n\x1b[31mrank "+fmt.Sprint(rank)+"\x1b[0m </pre><script>alert(3)</script>\n")
		}
		figure := map[string]json.RawMessage{"image/png": raw("iVBORw0KGgo=\n"), "text/plain": raw("<Figure>")}
		r.Event(&event.Display{Header: head(event.KindDisplay, 1), Data: figure})
		html := map[string]json.RawMessage{"text/html": raw("<script>alert(4)</script><p>\"table\""), "text/plain": raw("<HTML>")}
		r.Event(&event.Display{Header: head(event.KindDisplay, 1), Data: html})
		r.Event(&event.Result{Header: head(event.KindResult, 0), ExecutionCount: 7, Data: map[string]json.RawMessage{"text/plain": raw("42")}})
	})
	ran(t, store, "a-2", 3, "Silent", "local", "x = 1", event.StatusOK, nil)
	ran(t, store, "a-3", 4, "Fails", "remote", "fail_otherwise()", event.StatusError, func(r *journal.Recorder, head func(event.Kind, int) event.Header) {
		print(r, 0, strings.Repeat("0123456789\n", 200_000))
		r.Event(&event.Failure{Header: head(event.KindError, 1), EName: "ValueError", EValue: "<img src=x onerror=alert(5)>",
			Traceback: []string{"Traceback", "ValueError: <img src=x onerror=alert(5)>"}})
	})
	store.Close()
	d, err := Gather(store.Dir(), "/ü/train.py", cells.Parse(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGather(t *testing.T) {
	d := gathered(t)
	if len(d.Cells) != 5 {
		t.Fatalf("%d cells", len(d.Cells))
	}
	plot, silent, fails, fresh := d.Cells[1], d.Cells[2], d.Cells[3], d.Cells[4]
	if plot.Run == nil || plot.Edited || len(plot.Outputs) != 5 || plot.Run.PeakMemory != 3<<30 {
		t.Fatalf("%+v", plot)
	}
	if got, want := plot.Outputs[0].Text, "[0-1] the same\n"; !strings.HasPrefix(got, want) || !strings.Contains(got, "[0] \x1b[31mrank 0") {
		t.Errorf("%q", got)
	}
	if o := plot.Outputs[3]; o.Label != "[1]" || o.Data["image/png"] == nil {
		t.Errorf("%+v", o)
	}
	if o := plot.Outputs[1]; !o.Result || o.Count != 7 || o.Label != "[0]" {
		t.Errorf("%+v", o)
	}
	if silent.Run == nil || silent.Run.Run != "a-2" || len(silent.Outputs) != 0 {
		t.Errorf("%+v", silent)
	}
	if fails.Run == nil || !fails.Edited {
		t.Errorf("%+v", fails.Run)
	}
	size, said := 0, false
	for _, o := range fails.Outputs {
		size += len(o.Text)
		said = said || strings.Contains(o.Text, "of output left out here; 'dipls logs a-3' has all of it")
	}
	if size > 2*maxText || !said {
		t.Errorf("%d bytes, and it says so: %v", size, said)
	}
	if fresh.Run != nil || fresh.Source != "y = 2" {
		t.Errorf("%+v", fresh)
	}
}

func TestNotebook(t *testing.T) {
	var b bytes.Buffer
	if err := WriteNotebook(&b, gathered(t)); err != nil {
		t.Fatal(err)
	}
	var n struct {
		Cells []struct {
			Type     string `json:"cell_type"`
			ID       string
			Source   []string
			Metadata struct {
				Title string
				Dipls struct {
					Run, Status string
					Edited      bool
					PeakMemory  int64 `json:"peak_memory"`
					Outputs     []struct{ Ranks string }
				}
			}
			Outputs []struct {
				Type  string `json:"output_type"`
				Text  []string
				Data  map[string]any
				EName string
			}
		}
		Format int `json:"nbformat"`
		Minor  int `json:"nbformat_minor"`
	}
	if err := json.Unmarshal(b.Bytes(), &n); err != nil || n.Format != 4 || n.Minor != 5 || len(n.Cells) != 5 {
		t.Fatalf("%v %+v", err, n)
	}
	if c := n.Cells[0]; c.Type != "markdown" || c.Source[0] != "# Über *alles*\n" {
		t.Errorf("%+v", c)
	}
	c := n.Cells[1]
	var kinds []string
	for i, o := range c.Outputs {
		kinds = append(kinds, fmt.Sprint(o.Type, " ", c.Metadata.Dipls.Outputs[i].Ranks, " ", strings.TrimSpace(strings.Join(o.Text, "|"))))
	}
	want := "stream 0-1 [0-1] the same\n|[0] \x1b[31mrank 0\x1b[0m </pre><script>alert(3)</script>/stream 0 [0]/execute_result 0 " +
		"/stream 1 [1] \x1b[31mrank 1\x1b[0m </pre><script>alert(3)</script>/stream 1 [1]/display_data 1 /stream 1 [1]/display_data 1 "
	if got := strings.Join(kinds, "/"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if c.Metadata.Title != "Plot <b>" || c.Metadata.Dipls.Run != "a-1" || c.Metadata.Dipls.PeakMemory != 3<<30 {
		t.Errorf("%+v", c.Metadata)
	}
	failed := n.Cells[3]
	if last := failed.Outputs[len(failed.Outputs)-1]; last.Type != "error" || last.EName != "ValueError" || !failed.Metadata.Dipls.Edited {
		t.Errorf("%+v", last)
	}
}

// Nothing that a program, a title or a Markdown cell says becomes a part of the page, and no script of theirs can run.
func TestPageEscapesEverything(t *testing.T) {
	var b bytes.Buffer
	if err := WritePage(&b, gathered(t), time.Now()); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if n := strings.Count(page, "<script>"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	for _, bad := range []string{"<img src=x", "javascript:alert", "Plot <b>", "</pre><script"} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	for _, want := range []string{
		`<h1>Über <em>alles</em></h1>`, `<img src="data:image/png;base64,iVBORw0KGgo=" alt="&lt;Figure&gt;">`, `sandbox="allow-same-origin" srcdoc="`,
		`[1] <span class="c1">rank 1</span> &lt;/pre&gt;`, `<span class="label" title="rank 0">Out[0:7]:</span>`, "✗ error · all ranks · 1.5 s",
		"edited since: this is not the text that ran", "3.2 GB of GPU memory at most", "default-src &#39;none&#39;",
	} {
		if !strings.Contains(page, want) && !strings.Contains(page, strings.ReplaceAll(want, "&#39;", "'")) {
			t.Errorf("%s is not in the page", want)
		}
	}
}

func TestStyled(t *testing.T) {
	for text, want := range map[string]string{
		"a<b":                             "a&lt;b",
		"\x1b[1;31mx\x1b[22my\x1b[0mz":    `<span class="c1 b">x</span><span class="c1">y</span>z`,
		"\x1b[38;5;12mx\x1b[39my":         `<span class="c12">x</span>y`,
		"\x1b[38;2;1;2;3mx\x1b[48;5;1my":  "xy",
		"\x1b]0;title\x07x\x1b[2Jy\x1b[m": "xy",
		"\x1b[38mx":                       "x",
	} {
		if got := string(styled(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
