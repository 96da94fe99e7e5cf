package lsp_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
	"dipls/ranks/fakerank"
)

// relating has the capabilities of an editor that shows related information of diagnostics, and can refresh lenses.
var relating = lsptest.Object{
	"workspace": lsptest.Object{"codeLens": lsptest.Object{"refreshSupport": true}, "workspaceEdit": lsptest.Object{"documentChanges": true}},
	"textDocument": lsptest.Object{
		"publishDiagnostics": lsptest.Object{"relatedInformation": true},
		"codeAction":         lsptest.Object{"codeActionLiteralSupport": lsptest.Object{"codeActionKind": lsptest.Object{"valueSet": []string{"quickfix"}}}},
	},
}

// waitingCell waits at a gate on every rank, which stands for ranks that wait for one another. Its lines have an end of their own each.
const waitingCell = "# %% Above\nlet x 1\n" +
	"# %% Train target=\"remote\"\n# to column 15.\nprint begun. To column 26.\n# this goes on up to column 33...\n    gate end-of-cell\n"

// hangTest is an editor in which a cell runs on three ranks; tests make up hangs of them.
type hangTest struct {
	*lsptest.Editor
	t       *testing.T
	machine *fakerank.Host
	runs    string // id of the run
}

func newHangTest(t *testing.T, o lsptest.Options) *hangTest {
	t.Helper()
	if o.Settings == nil {
		o.Settings = lsptest.Object{}
	}
	for key, value := range map[string]any{"ranks": 3, "app": "none", "diagnostics.output": "off", "hang.after": 0, "codeLens": []string{"runLocal"}} {
		if _, set := o.Settings[key]; !set {
			o.Settings[key] = value
		}
	}
	h := &hangTest{t: t}
	h.Editor, h.machine = startFaked(t, o)
	h.Open("a.py", waitingCell)
	h.begin("a.py", 2)
	return h
}

// begin runs a cell and waits until all ranks wait in it.
func (h *hangTest) begin(name string, cell int) {
	h.t.Helper()
	h.runs = h.Run("dip.runCell", lsptest.Object{"uri": h.URI(name), "cell": cell})
	await(h.t, "the ranks", func() bool {
		var reply struct{ Stacks []processStack }
		err := h.TryCommand("dip.stack", nil, &reply) // there may be none yet
		wait := 0
		for _, s := range reply.Stacks {
			if s.Rank >= 0 && strings.Contains(s.Text, "end-of-") {
				wait++
			}
		}
		return err == nil && wait == 3
	})
}

// at is a place in an event.
func (h *hangTest) at(name string, line int, why string, ranks ...int) lsptest.Object {
	p := lsptest.Object{"ranks": ranks, "why": why}
	if name != "" {
		p["path"], p["line"] = filepath.Join(h.Folder, name), line
	}
	if name == "a.py" {
		p["run"] = h.runs
	}
	return p
}

// tell publishes that ranks wait; more takes the place of what there is.
func (h *hangTest) tell(number int, waiting, missing []lsptest.Object, more lsptest.Object) {
	h.t.Helper()
	event := lsptest.Object{
		"event": "hang", "run": h.runs, "hang": number, "variant": "elsewhere", "level": "warning", "operation": "all_reduce", "text": "a sentence",
		"waiting": waiting, "missing": missing,
	}
	for key, value := range more {
		event[key] = value
	}
	must(h.t, h.Call("test/publish", lsptest.Object{"event": event}, nil))
}

// relatedTo returns the related information of the only diagnostic of a document, as it was published last.
func (h *hangTest) relatedTo(name string) (related []string) {
	h.t.Helper()
	for _, m := range slices.Backward(h.Messages(lsptest.Method("textDocument/publishDiagnostics"), lsptest.Has("uri", h.URI(name)))) {
		list, _ := m.Get("diagnostics.0.relatedInformation").([]any)
		for _, r := range list {
			related = append(related, fmt.Sprintf("%s:%v %v", filepath.Base(fmt.Sprint(lsptest.Dig(r, "location.uri"))),
				lsptest.Dig(r, "location.range.start.line"), lsptest.Dig(r, "message")))
		}
		break
	}
	return related
}

// Who waits is told where they wait, and where those are that they wait for, in open documents and in files of the workspace; it moves with the text and
// goes with the hang.
func TestHangDiagnostics(t *testing.T) {
	h := newHangTest(t, lsptest.Options{Init: events, Capabilities: relating})
	must(t, os.MkdirAll(filepath.Join(h.Folder, "ä dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(h.Folder, "ä dir", "data.py"), []byte("def load():\n    return 1\n"), 0o644))
	const data = "ä dir/data.py"
	waiting := []lsptest.Object{h.at("a.py", 7, "in all_reduce", 0, 2)}

	h.tell(1, waiting, []lsptest.Object{h.at(data, 2, "in next(loader)", 1)}, nil)
	const wait = "ranks 0,2 wait here in all_reduce for rank 1\na sentence"
	const here = "rank 1 is here, in next(loader): ranks 0,2 wait for it in all_reduce\na sentence"
	awaitDiagnostics(t, h.Editor, "a.py", "6:4-6:20 warning hang "+wait)
	awaitDiagnostics(t, h.Editor, data, "1:0-2:0 warning hang "+here)
	if got := h.relatedTo("a.py"); !slices.Equal(got, []string{"data.py:1 rank 1 is here, in next(loader)"}) {
		t.Error(got)
	}
	if got := h.relatedTo(data); !slices.Equal(got, []string{"a.py:6 ranks 0,2 wait here in all_reduce"}) {
		t.Error(got)
	}

	// The text moves, and so does what refers to it in another file.
	h.Edit("a.py", lsptest.Edit{Text: "\n\n"})
	awaitDiagnostics(t, h.Editor, "a.py", "8:4-8:20 warning hang "+wait)
	h.Until("the moved reference", func([]lsptest.Message) bool {
		return slices.Equal(h.relatedTo(data), []string{"a.py:8 ranks 0,2 wait here in all_reduce"})
	})
	// The other file is opened, edited and closed.
	h.Open(data, "def load():\n    return 1\n")
	awaitDiagnostics(t, h.Editor, data, "1:4-1:12 warning hang "+here)
	h.Replace(data, "def load", "def loads")
	awaitDiagnostics(t, h.Editor, data) // nothing is said of a text that is not what runs
	h.Replace(data, "def loads", "def load")
	awaitDiagnostics(t, h.Editor, data, "1:4-1:12 warning hang "+here)
	h.Close(data)
	awaitDiagnostics(t, h.Editor, data, "1:0-2:0 warning hang "+here)

	// It is known better: the missing rank has finished the cell, which is no place, and it is no alarm.
	h.tell(1, waiting, []lsptest.Object{h.at("", 0, "has finished this cell", 1)}, lsptest.Object{"level": "info"})
	awaitDiagnostics(t, h.Editor, "a.py", "8:4-8:20 information hang "+wait)
	awaitDiagnostics(t, h.Editor, data)
	// Several at several places, and nobody is missing.
	h.tell(1, []lsptest.Object{h.at("a.py", 7, "in all_reduce", 0)},
		[]lsptest.Object{h.at("a.py", 5, "has raised ValueError", 1), h.at("a.py", 6, "in send", 2)}, nil)
	h.tell(2, []lsptest.Object{h.at("a.py", 4, "in barrier", 0, 1, 2)}, nil, lsptest.Object{"operation": "barrier"})
	awaitDiagnostics(t, h.Editor, "a.py",
		"8:4-8:20 warning hang rank 0 waits here in all_reduce for ranks 1-2\na sentence",
		"6:0-6:26 warning hang rank 1 has raised ValueError: rank 0 waits for it in all_reduce\na sentence",
		"7:0-7:33 warning hang rank 2 is here, in send: rank 0 waits for it in all_reduce\na sentence",
		"5:0-5:15 warning hang ranks 0-2 wait here in barrier\na sentence")
	h.tell(1, []lsptest.Object{h.at("a.py", 7, "in all_reduce", 0)},
		[]lsptest.Object{h.at("a.py", 5, "was stopped by SIGSTOP", 1, 2), h.at("a.py", 7, "with [7]", 3)}, nil)
	h.tell(2, nil, nil, lsptest.Object{"gone": true})
	awaitDiagnostics(t, h.Editor, "a.py",
		"8:4-8:20 warning hang rank 0 waits here in all_reduce for ranks 1-3\na sentence",
		"6:0-6:26 warning hang ranks 1-2 were stopped by SIGSTOP: rank 0 waits for them in all_reduce\na sentence",
		"8:4-8:20 warning hang rank 3 is here, with [7]: rank 0 waits for it in all_reduce\na sentence")
	h.tell(1, []lsptest.Object{h.at("a.py", 9, "in a lock", 0, 1)}, nil, lsptest.Object{"variant": "outside", "level": "info", "operation": ""})
	awaitDiagnostics(t, h.Editor, "a.py", "8:4-8:20 information hang ranks 0-1 wait here in a lock\na sentence")
	h.tell(1, nil, nil, lsptest.Object{"gone": true})
	awaitDiagnostics(t, h.Editor, "a.py")

	// It ends with the run at the latest, whatever comes after that.
	h.tell(3, waiting, nil, nil)
	awaitDiagnostics(t, h.Editor, "a.py", "8:4-8:20 warning hang ranks 0,2 wait here in all_reduce\na sentence")
	h.machine.Open("end-of-cell")
	finished(h.Editor, h.runs, "ok")
	h.tell(3, waiting, nil, nil)
	awaitDiagnostics(t, h.Editor, "a.py")
	if lenses := titles(lensesOf(t, h.Editor, "a.py"), 4); strings.Contains(lenses, "Free") {
		t.Error(lenses)
	}
}

// While ranks wait, lenses and code actions free them and show where they are; clients hear of it by the event, and dip.status tells it.
func TestHangLenses(t *testing.T) {
	h := newHangTest(t, lsptest.Options{Init: events, Capabilities: relating})
	awaitLenses(t, h.Editor, 2, `Locally \| … 0/3 done \| Interrupt`)
	h.tell(1, []lsptest.Object{h.at("a.py", 7, "in all_reduce", 0, 2)}, []lsptest.Object{h.at("", 0, "has finished this cell", 1)}, nil)
	h.Await("the event", lsptest.Method("dip/event"), lsptest.Has("event", "hang"), lsptest.Has("run", h.runs), lsptest.Has("waiting.0.why", "in all_reduce"))
	awaitDiagnostics(t, h.Editor, "a.py", "6:4-6:20 warning hang ranks 0,2 wait here in all_reduce for rank 1\na sentence")
	lenses := awaitLenses(t, h.Editor, 2, `Locally \| … ranks 0,2 wait for rank 1 \| Interrupt \| Free ranks \| Show stacks`)
	place := lsptest.Range{Start: lsptest.Position{Line: 6, Character: 5}, End: lsptest.Position{Line: 6, Character: 5}}
	if got := titlesOf(actions(t, h.Editor, "a.py", place, only("quickfix"))); !slices.Equal(got, []string{"Free ranks", "Show stacks"}) {
		t.Errorf("%q", got)
	}
	if got := titlesOf(actions(t, h.Editor, "a.py", lsptest.Range{}, only("dip.interrupt"))); slices.Contains(got, "Free ranks") {
		t.Errorf("another cell offers %q", got)
	}
	var status struct {
		Workspaces []struct {
			Runs []struct{ Hang string }
		}
	}
	h.Command("dip.status", nil, &status)
	if runs := status.Workspaces[0].Runs; len(runs) != 1 || runs[0].Hang != "a sentence" {
		t.Errorf("%+v", runs)
	}

	var shown struct {
		Path  string
		Shown bool
	}
	click(t, h.Editor, titled(t, lenses, "Show stacks"), &shown)
	text, err := os.ReadFile(shown.Path)
	if err != nil || !shown.Shown || !strings.HasPrefix(string(text), "a sentence\n\n") || !strings.Contains(string(text), "ranks 0-2\n") {
		t.Errorf("%+v %v %q", shown, err, text)
	}
	if info, err := os.Stat(shown.Path); err != nil || info.Mode().Perm() != fs.FileMode(0o400) {
		t.Error(info.Mode(), err)
	}
	h.Command("dip.showStacks", nil, &shown) // once more, in the same place
	if again, err := os.ReadFile(shown.Path); err != nil || !strings.HasPrefix(string(again), "a sentence\n\n") {
		t.Error(err, string(again))
	}

	var freed struct{ Freed bool }
	click(t, h.Editor, titled(t, lenses, "Free ranks"), &freed)
	if !freed.Freed {
		t.Errorf("%+v", freed)
	}
	finished(h.Editor, h.runs, "interrupted")
	awaitLenses(t, h.Editor, 2, `Locally \| ✗ interrupted .*`)
	if err := h.TryCommand("dip.free", lsptest.Object{"run": "ffff-9"}, nil); err == nil || !strings.Contains(err.Error(), "there is no run ffff-9") {
		t.Error(err)
	}
	h.Command("dip.free", nil, &freed)
	if freed.Freed {
		t.Errorf("%+v", freed)
	}
}

// A client that knows nothing but LSP gets a line in its output window and one message for each alarm, none for what is only slow.
func TestHangWithoutEvents(t *testing.T) {
	h := newHangTest(t, lsptest.Options{})
	waiting := []lsptest.Object{h.at("a.py", 7, "in all_reduce", 0, 2)}
	h.tell(1, waiting, nil, lsptest.Object{"level": "info", "text": "rank 1 is still in save()"})
	h.tell(2, waiting, nil, lsptest.Object{"text": "ranks 0,2 wait for rank 1" + strings.Repeat(" and so on", 1000)})
	h.tell(2, waiting, nil, lsptest.Object{"text": "ranks 0,2 wait for rank 1, which has moved"})
	h.Await("a line", lsptest.Method("window/logMessage"), lsptest.Contains("message", "which has moved"))
	h.Await("a line", lsptest.Method("window/logMessage"), lsptest.Contains("message", "still in save()"))
	shown := h.Messages(lsptest.Method("window/showMessage"), lsptest.Has("type", 2))
	if len(shown) != 1 || !strings.Contains(fmt.Sprint(shown[0].Get("message")), "ranks 0,2 wait for rank 1") || len(fmt.Sprint(shown[0].Get("message"))) > 3<<10 {
		t.Errorf("%d messages: %.300v", len(shown), shown)
	}
	h.machine.Open("end-of-cell")
}

// With the setting for that, the user is asked what to do about ranks that wait, once for each alarm.
func TestHangIsAskedAbout(t *testing.T) {
	answers := lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any { return lsptest.Object{"title": "Free ranks"} }}
	h := newHangTest(t, lsptest.Options{Settings: lsptest.Object{"failures": "ask"}, Answers: answers})
	h.tell(1, []lsptest.Object{h.at("a.py", 7, "in all_reduce", 0, 2)}, nil, nil)
	asked := h.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", "a sentence"))
	if first, second := asked.Get("actions.0.title"), asked.Get("actions.1.title"); first != "Free ranks" || second != "Show stacks" {
		t.Error(first, second)
	}
	await(t, "the end", func() bool { return statusOf(t, h.Editor, nil).State == "ready" })
}

// stubborn is a cell whose ranks do not heed an interrupt until a gate is open.
const stubborn = "# %% target=\"remote\"\nhold end-of-stubborn\n"

// The third time that somebody asks for the end of a run whose ranks do not come back, there is a question, and what it says is done.
func TestThirdInterruptAsks(t *testing.T) {
	for answer, pool := range map[string]string{"End pool": "stopped", "Keep waiting": "busy"} {
		t.Run(answer, func(t *testing.T) {
			answers := lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any { return lsptest.Object{"title": answer} }}
			h := newHangTest(t, lsptest.Options{Init: events, Answers: answers})
			h.Open("b.py", stubborn)
			h.interruptThrice()
			asked := h.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", "End the pool? Variables on the ranks are lost"))
			if first, second := asked.Get("actions.0.title"), asked.Get("actions.1.title"); first != "End pool" || second != "Keep waiting" {
				t.Error(first, second)
			}
			if answer == "End pool" {
				h.Await("the end of the pool", lsptest.Has("event", "pool_state"), lsptest.Has("state", pool))
				h.Await("the end of the run", lsptest.Has("event", "run_finished"), lsptest.Has("run", h.runs))
				return
			}
			if state := statusOf(t, h.Editor, nil).State; state != pool && state != "interrupting" {
				t.Error(state)
			}
			h.machine.Open("end-of-stubborn")
			h.Await("the end of the run", lsptest.Has("event", "run_finished"), lsptest.Has("run", h.runs))
		})
	}
}

// A client that cannot ask says which command ends the pool.
func TestThirdInterruptIsTold(t *testing.T) {
	answers := lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any { return &lsptest.Error{Code: -32601, Message: "no such method"} }}
	h := newHangTest(t, lsptest.Options{Init: events, Answers: answers})
	h.Open("b.py", stubborn)
	h.interruptThrice()
	h.Await("the message", lsptest.Method("window/showMessage"), lsptest.Has("type", 2), lsptest.Contains("message", "dip.killPool ends the pool"))
	h.machine.Open("end-of-stubborn")
	h.Await("the end of the run", lsptest.Has("event", "run_finished"), lsptest.Has("run", h.runs))
}

// An interrupt of all runs also interrupts a run that a cell has started and waits for.
func TestInterruptOfAllIsOne(t *testing.T) {
	h := newHangTest(t, lsptest.Options{Init: events})
	h.machine.Open("end-of-cell")
	finished(h.Editor, h.runs, "ok")
	h.Open("b.py", "# %% target=\"local\"\n"+`ask {"id":1,"command":"run","ranks":"all","see":"all","wait":true,"code":"print here\nhold end-of-stubborn"}`+"\n")
	h.begin("b.py", 1)
	nested := h.Await("the ranks' output", lsptest.Has("event", "stream"), lsptest.Contains("text", "here")).Get("run")
	var reply struct{ Interrupted int }
	h.Command("dip.interrupt", nil, &reply)
	if reply.Interrupted != 2 {
		t.Errorf("%+v", reply)
	}
	h.Await("the interrupt", lsptest.Has("run", nested), lsptest.Has("state", "interrupting"), lsptest.Has("rank", 0))
	h.machine.Open("end-of-stubborn")
	h.Await("the end of the run", lsptest.Has("event", "run_finished"), lsptest.Has("run", h.runs))
	if n := len(h.Messages(lsptest.Has("run", nested), lsptest.Has("state", "interrupting"), lsptest.Has("rank", 0))); n != 1 {
		t.Errorf("rank 0 was interrupted %d times", n)
	}
}

// interruptThrice lets the first cell end, and asks three times for the end of one that does not heed it.
func (h *hangTest) interruptThrice() {
	h.t.Helper()
	h.machine.Open("end-of-cell")
	finished(h.Editor, h.runs, "ok")
	h.begin("b.py", 1)
	for rank := range 3 { // so that the server knows of it
		h.Await("a rank", lsptest.Has("event", "rank_state"), lsptest.Has("run", h.runs), lsptest.Has("rank", rank), lsptest.Has("state", "busy"))
	}
	for range 3 {
		var reply struct{ Interrupted int }
		h.Command("dip.interrupt", lsptest.Object{"run": h.runs}, &reply)
		if reply.Interrupted != 1 {
			h.t.Errorf("%+v", reply)
		}
	}
}

// Ranks that wait in a collective for one that is elsewhere are told of at the lines where they all are; freed, they have their variables, and their
// next collective counts all of them.
func TestHangIsFreed(t *testing.T) {
	needPython(t)
	if testing.Short() {
		t.Skip("-short")
	}
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events, Capabilities: relating, Settings: lsptest.Object{
		"ranks": 3, "app": "torch", "diagnostics.output": "off", "hang.after": 1, "codeLens": []string{"runLocal"},
	}})
	e.Open("a.py", unindent(`
		# %% Before target="remote"
		import time, torch, torch.distributed as dist
		kept = dist.get_rank() + 40
		# %% Train target="remote"
		if dist.get_rank() == 1:
		    while True: time.sleep(0.1)
		dist.all_reduce(torch.ones(4))
		# %% After target="remote" see="all"
		total = torch.ones(1)
		dist.all_reduce(total)
		print(f"sum {int(total)} kept {kept}")
	`))
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	e.Edit("a.py", lsptest.Edit{Text: "\n"})
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2})
	for _, want := range []string{
		`^7:0-7:30 \w+ hang ranks 0,2 wait here in all_reduce for rank 1\n`,
		`^6:4-6:31 \w+ hang rank 1 is here, in .*: ranks 0,2 wait for it in all_reduce\n`,
	} {
		e.Until(want, func(all []lsptest.Message) bool {
			return slices.ContainsFunc(published(e, all, "a.py"), regexp.MustCompile(want).MatchString)
		})
	}
	told := e.Await("the event", lsptest.Has("event", "hang"), lsptest.Has("run", run))
	if told.Get("operation") != "all_reduce" || fmt.Sprint(told.Get("waiting.0.line")) != "8" || fmt.Sprint(told.Get("missing.0.ranks")) != "[1]" {
		t.Errorf("%v", told)
	}
	var freed struct{ Freed bool }
	e.Command("dip.free", lsptest.Object{"run": run}, &freed)
	if !freed.Freed {
		t.Error("nothing was freed")
	}
	finished(e, run, "interrupted")
	e.Until("nothing to be said of ranks that wait", func(all []lsptest.Message) bool {
		return !slices.ContainsFunc(published(e, all, "a.py"), func(d string) bool { return strings.Contains(d, " hang ") })
	})

	run = e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 3})
	finished(e, run, "ok")
	for rank := range 3 {
		e.Await("the sum", lsptest.Has("run", run), lsptest.Has("rank", rank), lsptest.Contains("text", fmt.Sprintf("sum 3 kept %d", rank+40)))
	}
}
