package sessiontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
	"dipls/session"
)

// Subject is a session that is to keep the contract.
type Subject struct {
	session.API
	Script Script
	// Python is an interpreter that the session can run. In a folder with one of its own it runs that instead, which [Contract] makes of this one.
	Python string
}

// Contract tests what the comments of [session.API] say. The session that start makes belongs to a folder and keeps a journal. Many tests share
// one, for processes may take long to start.
func Contract(t *testing.T, start func(t testing.TB, dir string) Subject) {
	// Between fresh ones, what the user's shell names must not count as an interpreter.
	shared := contract{Subject: start(t, t.TempDir())}
	for _, test := range []struct {
		name string
		run  func(contract)
	}{
		{"Order", contract.order},
		{"Output", contract.output},
		{"Failure", contract.failure},
		{"FirstInFirstOut", contract.firstInFirstOut},
		{"Sequence", contract.sequence},
		{"NoBlock", contract.noBlock},
		{"Cancel", contract.cancel},
		{"Input", contract.input},
		{"Free", contract.free},
		{"Wait", contract.wait},
		{"Subscribe", contract.subscribe},
		{"Say", contract.say},
		{"Transfer", contract.transfer},
		{"Lookups", contract.lookups},
		{"Stacks", contract.stacks},
		{"Autodip", contract.autodip},
		{"Arguments", contract.arguments},
		{"Invalid", contract.invalid},
		{"Contexts", contract.contexts},
		{"Pool", contract.pool},
		{"Local", contract.local},
		{"Death", contract.death},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := shared
			c.t, c.ctx = t, Context(t)
			test.run(c)
		})
	}
	for _, test := range []struct {
		name string
		run  func(contract)
	}{
		{"Nothing", contract.nothing},
		{"Prepare", contract.prepare},
		{"Close", contract.close},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(contract{Subject: start(t, t.TempDir()), t: t, ctx: Context(t)}) })
	}
	t.Run("Questions", func(t *testing.T) {
		for _, name := range []string{"DIPLS_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"} {
			t.Setenv(name, "")
		}
		dir := t.TempDir()
		c := contract{Subject: start(t, dir), t: t, ctx: Context(t)}
		c.questions(c.own(dir))
	})
}

// contract is one test of a subject. It leaves two ranks and a local namespace that have nothing to do.
type contract struct {
	Subject
	t   *testing.T
	ctx context.Context
}

// by is a caller whose folder is trusted and whose pool has two ranks.
func (c contract) by() session.Caller { return c.wanting(2) }

func (c contract) wanting(ranks int) session.Caller {
	return session.Caller{Settings: session.Settings{Python: c.Python, Trust: session.TrustYes, Pool: session.Choice{Ranks: ranks}}}
}

// cell is a cell that runs on a target, or where autodip says.
func (c contract) cell(where cells.Where, commands string) session.Cell {
	return session.Cell{Code: c.Script.Code(commands), Line: 1, Target: cells.Target{Where: where}}
}

// start starts cells that run one after the other.
func (c contract) start(list ...session.Cell) []string {
	c.t.Helper()
	return c.startAs(session.Sequence{Cells: list})
}

func (c contract) startAs(s session.Sequence) []string {
	c.t.Helper()
	runs, err := c.Start(c.ctx, c.by(), s)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(runs) != len(s.Cells) {
		c.t.Fatalf("%d runs of %d cells", len(runs), len(s.Cells))
	}
	return runs
}

// report waits for the end of a run.
func (c contract) report(run string) event.Report {
	c.t.Helper()
	report, err := c.Wait(c.ctx, run)
	if err != nil {
		c.t.Fatalf("run %s: %v", run, err)
	}
	return report
}

// ends waits for the ends of runs, and compares how they ended: "ok", "skipped: cell 1 failed".
func (c contract) ends(runs []string, want ...string) {
	c.t.Helper()
	var got []string
	for _, run := range runs {
		report := c.report(run)
		text := string(report.Status)
		if report.Reason != "" {
			text += ": " + report.Reason
		}
		got = append(got, text)
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("ended\n\t%q, want\n\t%q", got, want)
	}
}

func (c contract) front(r session.SubscribeRequest) *Front {
	c.t.Helper()
	return Subscribe(c.t, c.API, r)
}

// code compares an error's code.
func (c contract) code(err error, want session.Code) {
	c.t.Helper()
	if e, ok := errors.AsType[*session.Error](err); !ok || e.Code != want {
		c.t.Errorf("error %v, want one of code %q", err, want)
	}
}

// no fails the test if there is an error.
func (c contract) no(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// lines are the lines of a text.
func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// outline is what matters of events: "run 1 starts on local". What a run prints in several pieces is one line.
func outline(events []event.Event, runs []string) (list []string) {
	var text strings.Builder
	for i, ev := range events {
		name := fmt.Sprint("run ", slices.Index(runs, ev.Head().Run)+1)
		switch ev := ev.(type) {
		case *event.RunStarted:
			list = append(list, name+" starts on "+ev.Target)
		case *event.Stream:
			text.WriteString(ev.Text)
			if i+1 < len(events) {
				if next, ok := events[i+1].(*event.Stream); ok && next.Run == ev.Run {
					continue
				}
			}
			list = append(list, fmt.Sprintf("%s prints %q", name, text.String()))
			text.Reset()
		case *event.RunFinished:
			list = append(list, name+" ends: "+string(ev.Status))
		}
	}
	return list
}

func (c contract) same(got, want []string) {
	c.t.Helper()
	if !slices.Equal(got, want) {
		c.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Runs have ids of their own, and all that they do comes in the order in which it happened, to each subscription.
func (c contract) order() {
	one, other := c.front(session.SubscribeRequest{}), c.front(session.SubscribeRequest{})
	runs := c.start(c.cell(cells.Local, "print a"), c.cell(cells.Local, "print b"))
	runs = append(runs, c.start(c.cell(cells.Local, "print c"))...)
	if sorted := slices.Compact(slices.Sorted(slices.Values(runs))); len(sorted) != 3 {
		c.t.Fatalf("ids %q", runs)
	}
	want := []string{
		"run 1 starts on local", `run 1 prints "a\n"`, "run 1 ends: ok", "run 2 starts on local", `run 2 prints "b\n"`, "run 2 ends: ok",
		"run 3 starts on local", `run 3 prints "c\n"`, "run 3 ends: ok",
	}
	c.same(outline(one.Until(runs[2]), runs), want)
	c.same(outline(other.Until(runs[2]), runs), want)
	c.ends(runs, "ok", "ok", "ok")
}

// What code prints, shows and evaluates to comes as events, also after its end.
func (c contract) output() {
	front := c.front(session.SubscribeRequest{})
	run := c.start(c.cell(cells.Local, "stderr careful\ndisplay text/html <b>x</b>\nlater at last\nresult 42"))
	plain := func(data []byte, want string) {
		c.t.Helper()
		var got string
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			c.t.Errorf("got %s, want %q", data, want)
		}
	}
	var found []event.Kind
	careful := "" // it may come in pieces
	late := false
	for _, ev := range front.Until(run[0]) {
		switch ev := ev.(type) {
		case *event.Stream:
			if late = late || strings.HasPrefix(ev.Text, "a"); late {
				continue
			}
			if careful == "" {
				found = append(found, ev.Kind)
			}
			careful += ev.Text
			if ev.Name != event.Stderr || !ev.Local {
				c.t.Errorf("%+v", ev)
			}
		case *event.Display:
			found = append(found, ev.Kind)
			plain(ev.Data["text/html"], "<b>x</b>")
		case *event.Result:
			found = append(found, ev.Kind)
			plain(ev.Data["text/plain"], "42")
		}
	}
	if want := []event.Kind{event.KindStream, event.KindDisplay, event.KindResult}; !slices.Equal(found, want) || careful != "careful\n" {
		c.t.Errorf("got %q, want %q; printed %q", found, want, careful)
	}
	if !late {
		front.Printed(run[0], "at last")
	}
}

// A failure names its line of the file, on each rank that fails.
func (c contract) failure() {
	path := filepath.Join(c.t.TempDir(), "train.py")
	c.no(os.WriteFile(path, nil, 0o600))
	cell := c.cell(cells.Remote, "print on\nerror ValueError no")
	cell.Path, cell.Line, cell.Cell, cell.Title = path, 10, 3, "step"
	front := c.front(session.SubscribeRequest{Kinds: []event.Kind{event.KindError, event.KindRunFinished, event.KindRunStarted}})
	run := c.start(cell)
	events := front.Until(run[0])
	begun, ok := events[0].(*event.RunStarted)
	if !ok || begun.Path != wire.Path(path) || begun.Title != "step" || *begun.Cell != 3 || begun.Line != 10 || begun.Target != "remote" {
		c.t.Errorf("%+v", events[0])
	}
	var ranks []int
	for _, ev := range events {
		if failure, ok := ev.(*event.Failure); ok {
			ranks = append(ranks, *failure.Rank)
			if failure.EName != "ValueError" || failure.EValue != "no" || failure.Line != 11 {
				c.t.Errorf("%+v", failure)
			}
		}
	}
	if slices.Sort(ranks); !slices.Equal(ranks, []int{0, 1}) {
		c.t.Errorf("failures of %d", ranks)
	}
	report := c.report(run[0])
	if report.Status != event.StatusError || len(report.Parts) != 2 || report.Parts[1].Failure == nil || report.Parts[1].Failure.Line != 11 {
		c.t.Errorf("%+v", report)
	}
}

// What was started first runs first, on each namespace.
func (c contract) firstInFirstOut() {
	front := c.front(session.SubscribeRequest{})
	held := c.start(c.cell(cells.Local, "gate first in\nprint one"), c.cell(cells.Remote, ""), c.cell(cells.Local, "print two"))
	later := c.start(c.cell(cells.Local, "print three"))
	c.Script.Open(c.t, "first in")
	runs := append(held, later...)
	var printed []string
	for _, line := range outline(front.Until(later[0]), runs) {
		if strings.Contains(line, "prints") {
			printed = append(printed, line)
		}
	}
	c.same(printed, []string{`run 1 prints "one\n"`, `run 3 prints "two\n"`, `run 4 prints "three\n"`})
	c.ends(runs, "ok", "ok", "ok", "ok")
}

// After the first failure of a sequence the others are skipped, or go on if that is wanted. None runs if one does not compile.
func (c contract) sequence() {
	front := c.front(session.SubscribeRequest{})
	failing := c.cell(cells.Remote, "error ValueError no")
	failing.Cell = 7
	list := []session.Cell{c.cell(cells.Local, ""), failing, c.cell(cells.Local, ""), c.cell(cells.Remote, "")}
	runs := c.start(list...)
	c.ends(runs, "ok", "error", "skipped: cell 7 failed", "skipped: cell 7 failed")
	c.same(outline(front.Until(runs[3]), runs), []string{
		"run 1 starts on local", "run 1 ends: ok", "run 2 starts on remote", "run 2 ends: error", "run 3 ends: skipped", "run 4 ends: skipped",
	})
	c.ends(c.startAs(session.Sequence{Cells: list, GoOn: true}), "ok", "error", "ok", "ok")
	wrong := c.cell(cells.Remote, "\nwrong")
	wrong.Cell, wrong.Path = 9, "/a.py"
	runs = c.start(list[0], wrong)
	const why = "nothing was run: all cells are compiled before the first one begins"
	c.ends(runs, "skipped: cell 9 does not compile", "error: "+why)
	if f := c.report(runs[1]).Parts[0].Failure; f == nil || f.EName != "SyntaxError" || f.Path != "/a.py" || f.Line != 2 {
		c.t.Errorf("%+v", f)
	}
	c.ends(c.start(session.CellOfTransfer(session.Transfer{Names: []string{"missing"}}), c.cell(cells.Local, "")), "error", "skipped: %dipush missing failed")
	if runs := c.startAs(session.Sequence{}); len(runs) > 0 {
		c.t.Errorf("runs of nothing: %q", runs)
	}
}

// What code asks for comes as one question of all ranks that ask it, goes to those that it is answered for, and is withdrawn with the run. A password is
// told nobody. Where nobody can type, code hears so at once.
func (c contract) input() {
	ask := c.cell(cells.Remote, "input name: ")
	c.failsWith(c.start(ask)[0], "NoKeyboardError")

	front := c.front(session.SubscribeRequest{Front: "typist", Types: true})
	awaited := func(run string, s event.InputState, ranks ...int) *event.Input {
		c.t.Helper()
		return front.Await("a question that is "+string(s), func(ev event.Event) bool {
			q, ok := ev.(*event.Input)
			return ok && q.Run == run && q.State == s && slices.Equal(q.Ranks, ranks)
		}).(*event.Input)
	}
	output := c.front(session.SubscribeRequest{Kinds: []event.Kind{event.KindStream, event.KindRunFinished}})
	run := c.start(ask)[0]
	q := awaited(run, event.InputAsked, 0, 1)
	if q.Prompt != "name: " || q.Password || q.Local || !q.Open() {
		c.t.Errorf("%+v", q)
	}
	c.no(c.AnswerInput(c.ctx, session.InputAnswer{Run: run, Input: q.Input, Ranks: ranklist.Of(1), Text: "Eva"}))
	if q := awaited(run, event.InputAnswered, 1); q.Text != "Eva" || !slices.Equal(q.Waiting, []int{0}) || !slices.Equal(q.Asking(), []int{0}) {
		c.t.Errorf("%+v", q)
	}
	c.code(c.AnswerInput(c.ctx, session.InputAnswer{Run: run, Input: q.Input, Ranks: ranklist.Of(1), Text: "again"}), session.CodeInvalid)
	c.no(c.AnswerInput(c.ctx, session.InputAnswer{Run: run, Input: q.Input, Text: "Ada"}))
	if q := awaited(run, event.InputAnswered, 0); q.Open() {
		c.t.Errorf("%+v", q)
	}
	printed := map[int]string{}
	for _, ev := range output.Until(run) {
		if out, ok := ev.(*event.Stream); ok {
			printed[*out.Rank] += out.Text
		}
	}
	if printed[0] != "Ada\n" || printed[1] != "Eva\n" {
		c.t.Errorf("printed %v", printed)
	}
	c.ends([]string{run}, "ok")
	c.code(c.AnswerInput(c.ctx, session.InputAnswer{Run: run, Input: q.Input, Text: "late"}), session.CodeNoRun)

	run = c.start(c.cell(cells.Local, "getpass key: "))[0]
	q = awaited(run, event.InputAsked)
	if !q.Password || !q.Local {
		c.t.Errorf("%+v", q)
	}
	c.no(c.AnswerInput(c.ctx, session.InputAnswer{Run: run, Input: q.Input, Text: "secret"}))
	if q := awaited(run, event.InputAnswered); q.Text != "" || q.Open() {
		c.t.Errorf("%+v", q)
	}
	front.Printed(run, "secret") // the cell does that
	c.ends([]string{run}, "ok")

	run = c.start(c.cell(cells.Local, "input more? "))[0]
	q = awaited(run, event.InputAsked)
	c.no(c.AnswerInput(c.ctx, session.InputAnswer{Run: run, Input: q.Input, EOF: true}))
	c.failsWith(run, "EOFError")

	run = c.start(ask)[0]
	awaited(run, event.InputAsked, 0, 1)
	_, err := c.Cancel(c.ctx, run)
	c.no(err)
	c.ends([]string{run}, "interrupted")
	withdrawn := 0
	for _, ev := range front.Until(run) {
		if q, ok := ev.(*event.Input); ok && q.State == event.InputWithdrawn {
			withdrawn++
		}
	}
	if withdrawn != 1 {
		c.t.Errorf("the question was withdrawn %d times", withdrawn)
	}
	front.Close()
	c.failsWith(c.start(ask)[0], "NoKeyboardError")
}

// failsWith waits for the end of a run, and looks at the class of what it has raised.
func (c contract) failsWith(run, ename string) {
	c.t.Helper()
	report := c.report(run)
	for _, part := range report.Parts {
		if part.Failure == nil || part.Failure.EName != ename {
			c.t.Errorf("run %s has ended as %s by %+v, want %s", run, report.Status, part.Failure, ename)
		}
	}
}

// Nothing waits for the end of a %%px --noblock.
func (c contract) noBlock() {
	free := c.cell(cells.None, "gate no block")
	free.Directive, _ = cells.ParseDirective("remote")
	free.Directive.Px, free.Directive.NoBlock = true, cells.Yes
	runs := c.start(free, c.cell(cells.Local, ""))
	c.ends(runs[1:], "ok")
	c.Script.Open(c.t, "no block")
	c.ends(runs[:1], "ok")
}

// A run is cancelled in the queue or on its processes; those behind it in its sequence do not run.
func (c contract) cancel() {
	front := c.front(session.SubscribeRequest{})
	running := c.start(c.cell(cells.Remote, "print on\nwait"))
	front.Printed(running[0], "on")
	waiting := c.start(c.cell(cells.Remote, ""), c.cell(cells.Remote, ""))
	n, err := c.Cancel(c.ctx, waiting[0])
	if c.no(err); n != 1 {
		c.t.Errorf("cancelled %d", n)
	}
	c.ends(waiting, "interrupted", "skipped: the run before was interrupted")
	n, err = c.Cancel(c.ctx, "")
	if c.no(err); n != 1 {
		c.t.Errorf("cancelled %d", n)
	}
	c.ends(running, "interrupted")
	if n, err = c.Cancel(c.ctx, ""); n != 0 || err != nil {
		c.t.Errorf("cancelled %d, %v", n, err)
	}
	_, err = c.Cancel(c.ctx, "none")
	c.code(err, session.CodeNoRun)
}

// What is on the ranks can be freed by its id, without one, or with all else.
func (c contract) free() {
	c.code(c.Free(c.ctx, "none"), session.CodeNoRun)
	front := c.front(session.SubscribeRequest{})
	for name, free := range map[string]func(run string) error{
		"by its id":      func(run string) error { return c.Free(c.ctx, run) },
		"whatever it is": func(string) error { return c.Free(c.ctx, "") },
		"with all":       func(string) error { return c.FreeAll(c.ctx) },
	} {
		run := c.start(c.cell(cells.Remote, "print on\nwait"))
		front.Printed(run[0], "on")
		if err := free(run[0]); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
		c.ends(run, "interrupted")
	}
}

func (c contract) wait() {
	_, err := c.Wait(c.ctx, "none")
	c.code(err, session.CodeNoRun)
	run := c.start(c.cell(cells.Local, "gate wait"))
	ended, end := context.WithCancel(c.ctx)
	end()
	if _, err := c.Wait(ended, run[0]); !errors.Is(err, context.Canceled) {
		c.t.Error(err)
	}
	c.Script.Open(c.t, "wait")
	c.ends(run, "ok")
	c.ends(run, "ok") // also later
}

// A subscription tells of the kinds that it names, from now on or from a run on.
func (c contract) subscribe() {
	first := c.start(c.cell(cells.Local, "print one"), c.cell(cells.Remote, "print both"), c.cell(cells.Local, "print two"))
	c.ends(first, "ok", "ok", "ok")
	from := c.front(session.SubscribeRequest{From: first[2]})
	ends := c.front(session.SubscribeRequest{From: first[0], Kinds: []event.Kind{event.KindRunFinished}})
	now := c.front(session.SubscribeRequest{Kinds: []event.Kind{event.KindStream, event.KindRunFinished}})
	second := c.start(c.cell(cells.Local, "print three"))
	runs := append(first, second...)
	last := second[0]
	c.same(outline(from.Until(last), runs), []string{
		"run 3 starts on local", `run 3 prints "two\n"`, "run 3 ends: ok", "run 4 starts on local", `run 4 prints "three\n"`, "run 4 ends: ok",
	})
	c.same(outline(ends.Until(last), runs), []string{"run 1 ends: ok", "run 2 ends: ok", "run 3 ends: ok", "run 4 ends: ok"})
	c.same(outline(now.Until(last), runs), []string{`run 4 prints "three\n"`, "run 4 ends: ok"})
	_, err := c.Subscribe(c.ctx, session.SubscribeRequest{From: "none"})
	c.code(err, session.CodeNoRun)
	one := c.front(session.SubscribeRequest{Front: "one"})
	_, err = c.Subscribe(c.ctx, session.SubscribeRequest{Front: "one"})
	c.code(err, session.CodeInvalid)
	one.Close()
	again := c.front(session.SubscribeRequest{Front: "one"}) // the name is free
	again.Close()
}

// What a front says has its place among the events, and comes again with the run that it is about.
func (c contract) say() {
	front := c.front(session.SubscribeRequest{Kinds: []event.Kind{event.KindLog, event.KindRunFinished}})
	run := c.start(c.cell(cells.Local, "print x\ngate say"))
	told := func(ev event.Event) bool { l, ok := ev.(*event.Log); return ok && l.Text == "look here" }
	c.no(c.Say(c.ctx, session.Note{Run: run[0], Level: event.LevelWarning, Text: "look here"}))
	if ev := front.Await("the note", told).(*event.Log); ev.Run != run[0] || ev.Level != event.LevelWarning {
		c.t.Errorf("%+v", ev)
	}
	c.Script.Open(c.t, "say")
	c.ends(run, "ok")
	c.front(session.SubscribeRequest{From: run[0]}).Await("the note once more", told)
	c.no(c.Say(c.ctx, session.Note{Level: event.LevelInfo, Text: "look here", Path: "/x"}))
	if ev := front.Await("the other note", told).(*event.Log); ev.Run != "" || ev.Path != "/x" {
		c.t.Errorf("%+v", ev)
	}
}

// bound are the processes on which a name is defined.
func (c contract) bound(name string) string {
	c.t.Helper()
	found, err := c.Bound(c.ctx, []string{name, "missing"})
	c.no(err)
	var on []string
	for _, b := range found {
		if slices.Equal(b.Names, []string{name}) {
			on = append(on, b.Who.String())
		}
	}
	return strings.Join(on, ", ")
}

// Variables go to ranks and come from them, in turn with cells.
func (c contract) transfer() {
	c.ends(c.start(c.cell(cells.Local, "let here 1"), c.cell(cells.Remote, "let there 2")), "ok", "ok")
	pushed, err := c.Transfer(c.ctx, c.by(), session.Transfer{Names: []string{"here"}, Ranks: ranklist.Of(1)})
	c.no(err)
	c.ends([]string{pushed}, "ok")
	c.ends(c.start(c.cell(cells.Remote, "")), "ok") // by then the ranks have bound it
	if got, want := c.bound("here"), "local, rank 1"; got != want {
		c.t.Errorf("here is on %s, want %s", got, want)
	}
	pulled, err := c.Transfer(c.ctx, c.by(), session.Transfer{Pull: true, Names: []string{"there"}, Ranks: ranklist.Of(0)})
	c.no(err)
	lacking, err := c.Transfer(c.ctx, c.by(), session.Transfer{Pull: true, Names: []string{"missing"}})
	c.no(err)
	if report := c.report(pulled); report.Status != event.StatusOK {
		c.t.Errorf("%+v", report)
	}
	if report := c.report(lacking); report.Status != event.StatusError {
		c.t.Errorf("%+v", report)
	}
	if got, want := c.bound("there"), "local, rank 0, rank 1"; got != want {
		c.t.Errorf("there is on %s, want %s", got, want)
	}
	_, err = c.Transfer(c.ctx, c.by(), session.Transfer{})
	c.code(err, session.CodeInvalid)
}

// Lookups tell of the variables that are there; one that needs an idle process says when there is none.
func (c contract) lookups() {
	c.ends(c.start(c.cell(cells.Local, "let alpha 1\nlet alphabet 2"), c.cell(cells.Remote, "let alpha 3")), "ok", "ok")
	local := cells.Target{Where: cells.Local}
	complete := session.Lookup{Target: local, Code: "x = alph", Cursor: 8}
	found, err := c.Complete(c.ctx, complete)
	c.no(err)
	var names []string
	for _, m := range found.Matches {
		names = append(names, m.Text)
	}
	if !slices.Equal(names, []string{"alpha", "alphabet"}) || found.Start != 4 || found.End != 8 || found.Matches[0].Kind != "instance" {
		c.t.Errorf("%+v", found)
	}
	everywhere := cells.Target{Where: cells.Everywhere}
	about, err := c.Inspect(c.ctx, session.Lookup{Target: everywhere, Code: "x = alphabet", Cursor: 6})
	c.no(err)
	if len(about) != 3 || !about[0].Who.IsLocal() || !about[0].Found || about[0].Object.Type != "str" || about[1].Found || about[1].Silent {
		c.t.Errorf("%+v", about)
	}
	known, err := c.Variables(c.ctx, cells.Target{Where: cells.Remote})
	c.no(err)
	if len(known) != 2 || !slices.ContainsFunc(known[1].Variables, func(o session.Object) bool { return o.Name == "alpha" && strings.Contains(o.Text, "3") }) {
		c.t.Errorf("%+v", known)
	}
	members, err := c.Members(c.ctx, session.Members{Target: everywhere, Of: "alpha"})
	c.no(err)
	if len(members) != 3 || slices.ContainsFunc(members, func(v session.Variables) bool { return v.Busy || len(v.Variables) > 0 }) {
		c.t.Errorf("a text consists of %+v", members)
	}
	if members, err = c.Members(c.ctx, session.Members{Target: everywhere, Of: "alphabet", Digest: true}); err != nil ||
		len(members) != 3 || members[0].Variables[0].Name != "alphabet" || len(members[1].Variables) != 0 {
		c.t.Errorf("%+v, %v", members, err)
	}
	table := session.TableQuery{Target: everywhere, TablePart: session.TablePart{Name: "alpha", Rows: 10}}
	tables, err := c.Table(c.ctx, table)
	c.no(err)
	if len(tables) != 3 || tables[0].Page == nil || tables[1].Page == nil || tables[1].Page.Found == (tables[1].Page.Reason != "") {
		c.t.Errorf("%+v", tables)
	}

	front := c.front(session.SubscribeRequest{})
	run := c.start(c.cell(cells.Local, "print on\ngate lookups"))
	front.Printed(run[0], "on")
	_, err = c.Complete(c.ctx, complete)
	c.code(err, session.CodeBusy)
	if known, err = c.Variables(c.ctx, local); err != nil || len(known) != 1 || !known[0].Busy {
		c.t.Errorf("%+v, %v", known, err)
	}
	table.Target = local
	if tables, err = c.Table(c.ctx, table); err != nil || len(tables) != 1 || !tables[0].Busy {
		c.t.Errorf("%+v, %v", tables, err)
	}
	if about, err = c.Inspect(c.ctx, complete); err != nil || len(about) != 1 || !about[0].Silent {
		c.t.Errorf("%+v, %v", about, err)
	}
	if got, want := c.bound("alpha"), "local, rank 0, rank 1"; got != want {
		c.t.Errorf("alpha is on %s, want %s", got, want)
	}
	c.Script.Open(c.t, "lookups")
	c.ends(run, "ok")
}

// Stacks say where processes are, also while they are busy.
func (c contract) stacks() {
	path := filepath.Join(c.t.TempDir(), "train.py")
	cell := c.cell(cells.Remote, "print on\ngate stacks")
	cell.Path, cell.Line = path, 20
	front := c.front(session.SubscribeRequest{})
	c.ends(c.start(c.cell(cells.Local, "")), "ok")
	run := c.start(cell)
	front.Printed(run[0], "on") // on one rank
	front.Printed(run[0], "on") // on the other
	found, err := c.Stacks(c.ctx, session.StacksRequest{})
	c.no(err)
	if len(found.Of) != 3 || !found.Of[0].Who.IsLocal() || found.Of[2].Who != ranklist.Rank(1) {
		c.t.Fatalf("%+v", found)
	}
	main := func(s session.Stack) session.Thread {
		i := slices.IndexFunc(s.Threads, func(t session.Thread) bool { return t.Main })
		return s.Threads[max(i, 0)]
	}
	if frames := main(found.Of[0]).Frames; len(frames) > 0 {
		c.t.Errorf("the local namespace is at %+v", frames)
	}
	if frames := main(found.Of[2]).Frames; len(frames) == 0 || frames[0].File != wire.Path(path) || frames[0].Line < 20 || frames[0].Line > 21 {
		c.t.Errorf("rank 1 is at %+v", frames)
	}
	one, err := c.Stacks(c.ctx, session.StacksRequest{Of: []ranklist.Who{ranklist.Rank(1)}})
	if c.no(err); len(one.Of) != 1 || one.Of[0].Who != ranklist.Rank(1) {
		c.t.Errorf("%+v", one)
	}
	_, err = c.Stacks(c.ctx, session.StacksRequest{Of: []ranklist.Who{ranklist.Rank(5)}})
	if c.code(err, session.CodeInvalid); err.(*session.Error).Rank == nil || *err.(*session.Error).Rank != ranklist.Rank(5) {
		c.t.Errorf("%+v", err)
	}
	c.Script.Open(c.t, "stacks")
	c.ends(run, "ok")
}

// Autodip applies to runs whose turn comes after it was set, and to no cell that says where it runs.
func (c contract) autodip() {
	front := c.front(session.SubscribeRequest{Kinds: []event.Kind{event.KindRunStarted, event.KindPoolState, event.KindRunFinished}})
	runs := c.start(c.cell(cells.Local, "gate autodip"), c.cell(cells.None, ""), c.cell(cells.Local, ""))
	c.no(c.SetAutodip(c.ctx, true, "--see all"))
	c.Script.Open(c.t, "autodip")
	c.same(outline(front.Until(runs[2]), runs), []string{
		"run 1 starts on local", "run 1 ends: ok", "run 2 starts on remote", "run 2 ends: ok", "run 3 starts on local", "run 3 ends: ok",
	})
	directive, err := c.Autodip(c.ctx)
	c.no(err)
	info, err := c.Info(c.ctx, false)
	if c.no(err); directive != "%%dip --see all" || info.Autodip != directive {
		c.t.Errorf("%q, %q", directive, info.Autodip)
	}
	file := c.cell(cells.None, "") // its file says where
	file.Otherwise = cells.Target{Where: cells.Everywhere}
	runs = c.start(file)
	c.same(outline(front.Until(runs[0]), runs), []string{"run 1 starts on remote", "run 1 ends: ok"})
	c.no(c.SetAutodip(c.ctx, false, ""))
	front.Await("the end of autodip", func(ev event.Event) bool { p, ok := ev.(*event.PoolState); return ok && p.Autodip == "" })
	file.Otherwise = cells.Target{Where: cells.Remote}
	own := file
	own.Directive.Target = cells.Target{Where: cells.Everywhere}
	runs = c.start(c.cell(cells.None, ""), file, own)
	c.same(outline(front.Until(runs[2]), runs), []string{
		"run 1 starts on local", "run 1 ends: ok", "run 2 starts on remote", "run 2 ends: ok", "run 3 starts on everywhere", "run 3 ends: ok",
	})
	c.code(c.SetAutodip(c.ctx, true, "--moon"), session.CodeInvalid)
}

// A cell finds its caller's arguments, and how wide its caller's screen is, also when that changes. Calls that do not say so change neither.
func (c contract) arguments() {
	by := c.by()
	by.Front, by.Args, by.Columns = "arguments", []string{"--lr", "3e-4"}, 100
	questions := c.front(session.SubscribeRequest{Front: by.Front, Kinds: []event.Kind{event.KindQuestion}})
	front := c.front(session.SubscribeRequest{Kinds: []event.Kind{event.KindStream, event.KindRunFinished}})
	printed := func(by session.Caller, list ...session.Cell) string {
		c.t.Helper()
		runs, err := c.Start(c.ctx, by, session.Sequence{Cells: list})
		c.no(err)
		var text strings.Builder
		for _, run := range runs {
			for _, ev := range front.Until(run) {
				if s, ok := ev.(*event.Stream); ok {
					text.WriteString(s.Text)
				}
			}
			by.Columns = 60
			c.no(c.Heed(c.ctx, by)) // the next one is running, or waits
		}
		return text.String()
	}
	want := strings.Repeat("--lr 3e-4 100\n", 3) + "--lr 3e-4 60\n"
	if got := printed(by, c.cell(cells.Everywhere, "argv"), c.cell(cells.Local, "argv 60")); got != want {
		c.t.Errorf("%q, want %q", got, want)
	}
	if got := printed(c.by(), c.cell(cells.Local, "argv")); got != "--lr 3e-4 60\n" {
		c.t.Errorf("another caller's cell: %q", got)
	}
	by.Args, by.Columns = []string{}, 60
	if got := printed(by, c.cell(cells.Local, "argv 60")); got != " 60\n" && got != "60\n" {
		c.t.Errorf("without arguments: %q", got)
	}
	questions.Close()
}

// What cannot be is refused before anything is started.
func (c contract) invalid() {
	no := c.by()
	no.Settings.Trust = session.TrustNo
	_, err := c.Start(c.ctx, no, session.Sequence{Cells: []session.Cell{c.cell(cells.Local, "")}})
	c.code(err, session.CodeConsent)
	_, err = c.Transfer(c.ctx, no, session.Transfer{Names: []string{"x"}})
	c.code(err, session.CodeConsent)
	_, err = c.MakePool(c.ctx, no, session.PoolRequest{})
	c.code(err, session.CodeConsent)
	_, err = c.RestartPool(c.ctx, no)
	c.code(err, session.CodeConsent)
	c.code(c.RestartLocal(c.ctx, no), session.CodeConsent)
	c.code(c.Prepare(c.ctx, no, session.Preparation{}), session.CodeConsent)
	_, err = c.PoolSize(c.ctx, c.wanting(-1))
	c.code(err, session.CodeInvalid)
	if n, err := c.PoolSize(c.ctx, c.wanting(3)); n != 3 || err != nil {
		c.t.Errorf("%d ranks, %v", n, err)
	}
	if gpus, err := c.GPUs(c.ctx); len(gpus) > 0 || err != nil {
		c.t.Errorf("GPUs %v, %v", gpus, err)
	}
	c.code(c.Answer(c.ctx, "none", ""), session.CodeInvalid)
}

// A call that waits ends with its context; one that starts something does not look at it.
func (c contract) contexts() {
	ended, end := context.WithCancel(c.ctx)
	end()
	runs, err := c.Start(ended, c.by(), session.Sequence{Cells: []session.Cell{c.cell(cells.Local, ""), c.cell(cells.Remote, "")}})
	c.no(err)
	c.ends(runs, "ok", "ok")
	local := session.Lookup{Target: cells.Target{Where: cells.Local}, Code: "x"}
	for what, call := range map[string]func() error{
		"Complete":  func() error { _, err := c.Complete(ended, local); return err },
		"Inspect":   func() error { _, err := c.Inspect(ended, local); return err },
		"Variables": func() error { _, err := c.Variables(ended, local.Target); return err },
		"Members":   func() error { _, err := c.Members(ended, session.Members{Target: local.Target, Of: "x"}); return err },
		"Table":     func() error { _, err := c.Table(ended, session.TableQuery{Target: local.Target}); return err },
		"Stacks":    func() error { _, err := c.Stacks(ended, session.StacksRequest{}); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			c.t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Info(ended, true); err != nil {
		c.t.Errorf("Info: %v", err)
	}
}

// size compares how many ranks there are.
func (c contract) size(want int) {
	c.t.Helper()
	info, err := c.Info(c.ctx, true)
	c.no(err)
	if info.Size != want || len(info.Ranks) != want {
		c.t.Errorf("there are %d ranks, want %d: %+v", info.Size, want, info)
	}
}

// A pool is made in turn, replaced at once, and ended; it is as the settings of the call say.
func (c contract) pool() {
	c.ends(c.start(c.cell(cells.Remote, "let x 1")), "ok")
	c.size(2)
	refused, err := c.MakePool(c.ctx, c.by(), session.PoolRequest{Ranks: 1})
	c.no(err)
	if report := c.report(refused); report.Status != event.StatusError { // x would be lost
		c.t.Errorf("%+v", report)
	}
	made, err := c.MakePool(c.ctx, c.by(), session.PoolRequest{Ranks: 1, Restart: true})
	c.no(err)
	c.ends([]string{made}, "ok")
	c.size(1)

	front := c.front(session.SubscribeRequest{})
	run := c.start(c.cell(cells.Remote, "print on\nwait"))
	front.Printed(run[0], "on")
	text, err := c.RestartPool(c.ctx, c.by()) // as it was, since the settings are
	if c.no(err); !strings.Contains(text, "pool of 1 rank ") {
		c.t.Error(text)
	}
	if report := c.report(run[0]); report.Status == event.StatusOK {
		c.t.Errorf("%+v", report)
	}
	_, err = c.RestartPool(c.ctx, c.wanting(3))
	c.no(err)
	c.size(3)
	used, err := c.Used(c.ctx)
	if c.no(err); used.Python == nil || used.Python.Pool.Ranks != 2 || used.Pool == nil || used.Pool.Ranks != 3 || !used.FreshPool {
		c.t.Errorf("%+v", used)
	}
	c.ends(c.start(c.cell(cells.Remote, "")), "ok")
	if used, err = c.Used(c.ctx); err != nil || used.FreshPool {
		c.t.Errorf("%+v, %v", used, err)
	}
	if on := c.bound("x"); on != "" {
		c.t.Errorf("x is on %s", on)
	}

	c.no(c.CancelStart(c.ctx)) // of nothing
	text, err = c.KillPool(c.ctx)
	if c.no(err); text != "the pool of 3 ranks has ended" {
		c.t.Error(text)
	}
	c.size(0)
	if report := c.report(c.start(c.cell(cells.Remote, ""))[0]); report.Status != event.StatusDied || !strings.Contains(report.Reason, "%makedip") {
		c.t.Errorf("%+v", report)
	}
	c.ends(c.start(c.cell(cells.Local, "")), "ok")
	_, err = c.RestartPool(c.ctx, c.by())
	c.no(err)
	c.size(2)
}

// The local namespace is replaced at once, whatever it does. What ends with Python is started anew when it is needed.
func (c contract) local() {
	front := c.front(session.SubscribeRequest{})
	run := c.start(c.cell(cells.Local, "let y 1\nprint on\nwait"))
	front.Printed(run[0], "on")
	c.no(c.RestartLocal(c.ctx, c.by()))
	if report := c.report(run[0]); report.Status == event.StatusOK {
		c.t.Errorf("%+v", report)
	}
	c.ends(c.start(c.cell(cells.Local, "")), "ok")
	if on := c.bound("y"); on != "" {
		c.t.Errorf("y is on %s", on)
	}
	used, err := c.Used(c.ctx)
	if c.no(err); used.FreshLocal {
		c.t.Errorf("%+v", used)
	}
	c.no(c.RestartLocal(c.ctx, c.by()))
	if used, err = c.Used(c.ctx); err != nil || !used.FreshLocal {
		c.t.Errorf("%+v, %v", used, err)
	}
	c.no(c.EndPython(c.ctx))
	used, err = c.Used(c.ctx)
	if c.no(err); used.Python != nil || used.Pool != nil {
		c.t.Errorf("%+v", used)
	}
	c.size(0)
	c.ends(c.start(c.cell(cells.Local, ""), c.cell(cells.Remote, "")), "ok", "ok")
	c.size(2)
}

// A rank that dies ends its run and, for cells, its pool, until somebody restarts that. What it has printed is not lost.
func (c contract) death() {
	front := c.front(session.SubscribeRequest{})
	cell := c.cell(cells.Remote, "print last words\nexit 3")
	cell.Target.Ranks = ranklist.Of(1)
	run := c.start(cell)
	front.Printed(run[0], "last words")
	dead := front.Await("the death", func(ev event.Event) bool { s, ok := ev.(*event.RankState); return ok && s.State == event.StateDead })
	if h := dead.Head(); h.Rank == nil || *h.Rank != 1 || !strings.Contains(dead.(*event.RankState).Reason, "code 3") {
		c.t.Errorf("%+v", dead)
	}
	if report := c.report(run[0]); report.Status != event.StatusDied {
		c.t.Errorf("%+v", report)
	}
	if report := c.report(c.start(c.cell(cells.Remote, ""))[0]); report.Status != event.StatusDied || !strings.Contains(report.Reason, "the pool is dead") {
		c.t.Errorf("%+v", report)
	}
	c.ends(c.start(c.cell(cells.Local, "")), "ok")
	_, err := c.RestartPool(c.ctx, c.by())
	c.no(err)
	c.ends(c.start(c.cell(cells.Remote, "")), "ok")
}

// Before anything was started there is nothing, and what only looks starts nothing.
func (c contract) nothing() {
	info, err := c.Info(c.ctx, true)
	c.no(err)
	if info.Size != 0 || info.State != event.StateNone || info.Local != nil || info.Ranks == nil {
		c.t.Errorf("%+v", info)
	}
	if used, err := c.Used(c.ctx); used != (session.Used{}) || err != nil {
		c.t.Errorf("%+v, %v", used, err)
	}
	if found, err := c.Bound(c.ctx, []string{"x"}); len(found) > 0 || err != nil {
		c.t.Errorf("%+v, %v", found, err)
	}
	if found, err := c.Stacks(c.ctx, session.StacksRequest{}); len(found.Of) > 0 || err != nil {
		c.t.Errorf("%+v, %v", found, err)
	}
	_, err = c.Complete(c.ctx, session.Lookup{Target: cells.Target{Where: cells.Local}, Code: "x"})
	c.code(err, session.CodeBusy)
	text, err := c.KillPool(c.ctx)
	if c.no(err); text != "there is no pool to end" {
		c.t.Error(text)
	}
	c.no(c.CancelStart(c.ctx))
	c.code(c.Free(c.ctx, ""), session.CodeNoRun)
	c.no(c.Last(c.ctx))
	c.no(c.Finish(c.ctx, "press Ctrl-C"))
	if used, err := c.Used(c.ctx); used != (session.Used{}) || err != nil {
		c.t.Errorf("%+v, %v", used, err)
	}
}

// What is prepared has the settings of that call.
func (c contract) prepare() {
	c.no(c.Prepare(c.ctx, c.by(), session.Preparation{Pool: true, Local: true}))
	c.ends(c.start(c.cell(cells.Everywhere, "")), "ok")
	c.size(2)
}

// The end of a session ends its runs, its subscriptions and what is called later.
func (c contract) close() {
	all := c.front(session.SubscribeRequest{})
	c.ends(c.start(c.cell(cells.Local, "print x")), "ok") // its journal is there
	front := c.front(session.SubscribeRequest{})
	run := c.start(c.cell(cells.Local, "print on\nwait"), c.cell(cells.Local, ""))
	front.Printed(run[0], "on")
	c.no(c.Close(c.ctx, session.CloseRequest{TellJournal: true}))
	events := all.All()
	var ended []string
	for _, line := range outline(events, run) {
		if strings.Contains(line, "ends") {
			ended = append(ended, line)
		}
	}
	if len(ended) != 3 || slices.Contains(ended, "run 1 ends: ok") {
		c.t.Errorf("ended %q", ended)
	}
	if !slices.ContainsFunc(events, func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && strings.HasPrefix(l.Text, "everything that was printed is kept in ") && l.Path != ""
	}) {
		c.t.Error("nobody is told of the journal")
	}
	_, err := c.Start(c.ctx, c.by(), session.Sequence{Cells: []session.Cell{c.cell(cells.Local, "")}})
	c.code(err, session.CodeClosed)
	c.code(c.Prepare(c.ctx, c.by(), session.Preparation{}), session.CodeClosed)
	c.no(c.Close(c.ctx, session.CloseRequest{}))
}

// own makes an interpreter that belongs to a folder.
func (c contract) own(dir string) (python string) {
	python = filepath.Join(dir, ".venv", "bin", "python")
	c.no(os.MkdirAll(filepath.Dir(python), 0o755))
	c.no(os.WriteFile(python, fmt.Appendf(nil, "#!/bin/sh\nexec '%s' \"$@\"\n", c.Python), 0o755))
	return python
}

// A question comes to the front whose call caused it, once, and is answered by the user, by another call's settings, by its default, or by nobody.
func (c contract) questions(python string) {
	one, other := c.front(session.SubscribeRequest{Front: "one"}), c.front(session.SubscribeRequest{Front: "other"})
	asking := func(front string) session.Caller {
		return session.Caller{Front: front, Settings: session.Settings{Pool: session.Choice{Ranks: 2}}}
	}
	start := func(front string) []string {
		c.t.Helper()
		runs, err := c.Start(c.ctx, asking(front), session.Sequence{Cells: []session.Cell{c.cell(cells.Local, "")}})
		c.no(err)
		return runs
	}
	c.code(c.Prepare(c.ctx, asking("one"), session.Preparation{}), session.CodeConsent) // which asks nothing

	runs := append(start("one"), start("other")...)
	asked := one.Question(event.QuestionAsked)
	if !strings.Contains(asked.Text, python) || asked.Default == "" || !slices.Contains(asked.Choices, asked.Default) || asked.Unasked == "" {
		c.t.Errorf("%+v", asked)
	}
	c.code(c.Answer(c.ctx, asked.ID, "perhaps"), session.CodeInvalid)
	c.no(c.Answer(c.ctx, asked.ID, "")) // the second run asks its own front
	if report := c.report(runs[0]); report.Status != event.StatusDied || !strings.Contains(report.Reason, "you have not let it run") {
		c.t.Errorf("%+v", report)
	}
	if over := one.Question(event.QuestionOver); over.ID != asked.ID || over.Answer != "" {
		c.t.Errorf("%+v", over)
	}
	c.code(c.Answer(c.ctx, asked.ID, ""), session.CodeInvalid)
	asked = other.Question(event.QuestionAsked)
	other.Close()
	if report := c.report(runs[1]); report.Status != event.StatusDied || !strings.Contains(report.Reason, "nobody has answered") {
		c.t.Errorf("%+v", report)
	}
	c.code(c.Answer(c.ctx, asked.ID, asked.Default), session.CodeInvalid)

	run := start("one")
	one.Question(event.QuestionAsked)
	elsewhere := asking("")
	elsewhere.Settings.Python = c.Python
	second, err := c.Start(c.ctx, elsewhere, session.Sequence{Cells: []session.Cell{c.cell(cells.Remote, "")}})
	c.no(err)
	if over := one.Question(event.QuestionOver); over.Note == "" || over.Answer != "" {
		c.t.Errorf("%+v", over)
	}
	if report := c.report(run[0]); report.Status != event.StatusDied || !strings.Contains(report.Reason, "has changed") {
		c.t.Errorf("%+v", report)
	}
	c.ends(second, "ok")
	c.no(c.EndPython(c.ctx))

	run = start("one")
	asked = one.Question(event.QuestionAsked)
	untrusted := asking("")
	untrusted.Settings.Trust = session.TrustNo // which says nothing about other fronts' users
	_, err = c.Start(c.ctx, untrusted, session.Sequence{Cells: []session.Cell{c.cell(cells.Local, "")}})
	c.code(err, session.CodeConsent)
	c.no(c.Answer(c.ctx, asked.ID, asked.Default))
	c.ends(run, "ok")
	if over := one.Question(event.QuestionOver); over.Answer != asked.Default {
		c.t.Errorf("%+v", over)
	}
	c.no(c.EndPython(c.ctx))
	c.ends(start("one"), "ok") // it was remembered
}
