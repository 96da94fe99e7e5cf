package lsp_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/internal/lsptest"
	"dipls/lsp"
)

// shown runs dip.showOutput and returns the text of the file that the editor is asked to show.
func shown(t *testing.T, e *lsptest.Editor, args lsptest.Object) string {
	t.Helper()
	e.Mark()
	var reply struct {
		Path  string
		Shown bool
	}
	e.Command("dip.showOutput", args, &reply)
	m := e.Await("the file", lsptest.Method("window/showDocument"))
	u, err := url.Parse(m.Get("uri").(string))
	if err != nil || u.Path != reply.Path || !reply.Shown {
		t.Errorf("%v, but %+v", m, reply)
	}
	data, err := os.ReadFile(u.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What a run has printed can be read as text, also while it goes on, and later from another session.
func TestShowOutput(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", unindent(`
		# %%dip --quiet
		import os, sys
		rank = int(os.environ["RANK"])
		print("\x1b[31mhällo\x1b[0m")
		print("rank", rank)
		sys.stderr.write("\r 50%\r100%\n")
		foobar
		# %%
		import time
		print("going on, without a line's ", end="end", flush=True)
		while True: time.sleep(0.05)
		# %%
		x = 1
	`))
	cell := func(i int) string { return e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": i}) }
	run := cell(1)
	finished(e, run, "error")
	all := shown(t, e, lsptest.Object{"run": run})
	for _, want := range []string{"[0-1] hällo\n", "[0] rank 0\n", "[1] rank 1\n", "[0-1] 100%\n", "[0-1] NameError: name 'foobar' is not defined\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("there is no %q in\n%s", want, all)
		}
	}
	if strings.ContainsAny(all, "\x1b\r") || strings.Contains(all, "] 50%") {
		t.Errorf("%q", all)
	}
	var past struct {
		Runs []struct {
			Run, Title, Status, Code string
			Peak                     *int `json:"peak_memory"`
		}
	}
	e.Command("dip.runs", lsptest.Object{"path": filepath.Base("a.py"), "status": []string{"error"}, "limit": 1}, &past)
	if len(past.Runs) != 1 || past.Runs[0].Run != run || past.Runs[0].Code != "" || past.Runs[0].Peak != nil {
		t.Errorf("dip.runs: %+v", past)
	}
	var recalled struct {
		Run    struct{ Code string }
		Events []struct{ Event, Began string }
		More   bool
		Gone   string
	}
	e.Command("dip.recall", lsptest.Object{"run": run}, &recalled)
	if first, last := recalled.Events[0], recalled.Events[len(recalled.Events)-1]; first.Event != "run_started" || first.Began == "" ||
		last.Event != "run_finished" || recalled.More || recalled.Gone != "" || !strings.Contains(recalled.Run.Code, "foobar") {
		t.Errorf("dip.recall: %+v", recalled)
	}
	var exported struct{ Path string }
	page := filepath.Join(t.TempDir(), "ü 1.html")
	e.Command("dip.export", lsptest.Object{"uri": e.URI("a.py"), "format": "html", "path": page}, &exported)
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "[0-1] hällo") && !strings.Contains(string(html), ">hällo</span>") {
		t.Errorf("%v\n%s", err, html)
	}
	err := e.TryCommand("dip.export", lsptest.Object{"uri": e.URI("a.py"), "format": "html", "path": page}, nil)
	if err == nil || !strings.Contains(err.Error(), "is there already: give force") {
		t.Error(err)
	}
	one := shown(t, e, lsptest.Object{"run": run, "rank": 1})
	if !strings.HasPrefix(one, "hällo\nrank 1\n100%\n") || !strings.HasSuffix(one, "NameError: name 'foobar' is not defined\n") {
		t.Errorf("%q", one)
	}

	going := cell(2)
	e.Await("output", lsptest.Has("run", going), lsptest.Contains("text", "end"))
	waits := cell(3)
	if got := shown(t, e, lsptest.Object{"run": going}); got != "going on, without a line's end\n" {
		t.Errorf("%q", got)
	}
	for args, want := range map[*lsptest.Object]string{
		{"run": waits}:            "has not begun",
		{"run": "abcdef-9"}:       "there is no run abcdef-9",
		{"run": "*"}:              "there is no run *",
		{}:                        "which run?",
		{"run": run, "rank": "x"}: "rank: want integer",
		{"run": run, "rank": -1}:  "there is no rank -1",
		{"run": run, "rank": 2}:   "rank 2 has no part in the run",
	} {
		if err := e.TryCommand("dip.showOutput", *args, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", *args, err, want)
		}
	}
	e.Command("dip.interrupt", nil, nil)
	finished(e, going, "interrupted")
	silent := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 3})
	finished(e, silent, "ok")
	if err := e.TryCommand("dip.showOutput", lsptest.Object{"run": silent}, nil); err == nil || !strings.Contains(err.Error(), "has put out nothing") {
		t.Errorf("of a run that printed nothing: %v", err)
	}

	later := lsptest.Start(t, lsptest.Options{Server: server})
	if got := shown(t, later, lsptest.Object{"run": run}); got != all {
		t.Errorf("%q, want %q", got, all)
	}
	if later.Command("dip.recall", lsptest.Object{"run": run}, &recalled); recalled.Gone != "what it has left may be gone" {
		t.Errorf("dip.recall in another session: gone %q", recalled.Gone)
	}
	files, _ := filepath.Glob(os.Getenv("XDG_STATE_HOME") + "/dipls/runs/*-" + run + "/*.new")
	if len(files) > 0 {
		t.Errorf("left: %v", files)
	}
}

// When an event client asks about an event that it was sent, the server knows of it, however slowly events are entered.
func TestEventsAreKnown(t *testing.T) {
	lsp.SlowEvents.Store(int64(20 * time.Millisecond))
	t.Cleanup(func() { lsp.SlowEvents.Store(0) })
	e, _ := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint hello\n")
	for range 3 {
		e.Mark()
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
		e.Await("the beginning", lsptest.Has("event", "run_started"), lsptest.Has("run", run))
		if err := e.TryCommand("dip.showOutput", lsptest.Object{"run": run}, nil); err != nil && !strings.Contains(err.Error(), "so far") {
			t.Errorf("at the beginning: %v", err)
		}
		finished(e, run, "ok")
		e.Command("dip.showOutput", lsptest.Object{"run": run}, nil)
		if got := titles(lensesOf(t, e, "a.py"), 0); !strings.Contains(got, "✓") {
			t.Errorf("lenses after the end: %s", got)
		}
	}
}

// A client that cannot open a file, or does not, says where it is.
func TestShowOutputElsewhere(t *testing.T) {
	for _, test := range []struct {
		name    string
		options lsptest.Options
		err     string
	}{
		{"cannot", lsptest.Options{Capabilities: lsptest.Object{"window": lsptest.Object{"showDocument": nil}}}, ""},
		{"does not", lsptest.Options{Answers: lsptest.Answers{"window/showDocument": func(lsptest.Message) any { return lsptest.Object{"success": false} }}},
			"the editor did not open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.options.Init = events
			e, _ := startFaked(t, test.options)
			e.Open("a.py", "# %%\nprint 1\n")
			run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
			finished(e, run, "ok")
			var reply struct{ Path string }
			err := e.TryCommand("dip.showOutput", lsptest.Object{"run": run}, &reply)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Error(err)
				}
				return
			}
			data, _ := os.ReadFile(reply.Path)
			if err != nil || string(data) != "1\n" {
				t.Errorf("%q, %v", data, err)
			}
			e.Await("where it is", lsptest.Method("window/showMessage"), lsptest.Has("message", "the output is in "+reply.Path))
		})
	}
}
