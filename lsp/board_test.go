package lsp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/session"
)

const boardURI = uri.URI("file:///a.py")

// boardFixture is a board with one document. Tests enter runs on it as if an executor had reported them.
type boardFixture struct {
	*board
	t    *testing.T
	docs *docs.Store
	w    *workspace
	told change
}

func newBoardFixture(t *testing.T, text string) *boardFixture {
	f := &boardFixture{t: t, w: &workspace{}}
	tell := func(c change) { f.told.add(c) }
	f.docs = docs.New(zap.NewNop(), func(c docs.Change) { tell(textChange(c)) }, func(g docs.Gone) { f.forgetCells(g) })
	f.board = newBoard(f.docs, tell)
	f.must(f.docs.DidOpen(t.Context(), &protocol.DidOpenTextDocumentParams{
		TextDocument: protocol.TextDocumentItem{URI: boardURI, Version: 1, Text: text},
	}))
	return f
}

func (f *boardFixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *boardFixture) doc() *docs.Snapshot { return f.docs.View()[boardURI] }

// place finds where a line of the code of run of, which a frame of r's traceback names, is now, 1-based. ok is false if that code had no such
// line, or if its cell's code has been edited since, or is gone.
func (f *boardFixture) place(d *docs.Snapshot, r Run, of string, line int) (now int, cell cells.Cell, ok bool) {
	a, ok := f.anchor(d.URI, r, event.Frame{Line: line, Run: of})
	if !ok {
		return 0, cells.Cell{}, false
	}
	c, ok := d.Find(a.cell)
	if !ok {
		return 0, cells.Cell{}, false
	}
	now, ok = a.in(c)
	return now, c, ok
}

// edit replaces lines, counted from 0.
func (f *boardFixture) edit(from, to uint32, text string) {
	f.t.Helper()
	f.must(f.docs.DidChange(f.t.Context(), &protocol.DidChangeTextDocumentParams{
		TextDocument: protocol.VersionedTextDocumentIdentifier{
			TextDocumentIdentifier: protocol.TextDocumentIdentifier{URI: boardURI}, Version: f.doc().Version + 1,
		},
		ContentChanges: []protocol.TextDocumentContentChangeEvent{&protocol.TextDocumentContentChangePartial{
			Range: protocol.Range{Start: protocol.Position{Line: from}, End: protocol.Position{Line: to}}, Text: text,
		}},
	}))
}

// ran enters a run of a cell, as the start of one does.
func (f *boardFixture) ran(id string, index int) {
	f.t.Helper()
	d := f.doc()
	c, ok := d.File.Cell(index)
	req, code := session.CellOf(d.Path, c)
	if !ok || !code {
		f.t.Fatalf("there is no cell %d to run", index)
	}
	r := &Run{Run: view.Run{ID: id}, Doc: d.URI, Cell: d.ID(c), text: docs.TextOf(c), cellLine: c.Line(), line: req.Line, end: c.EndLine(), workspace: f.w}
	f.mu.Lock()
	f.enter(r)
	f.mu.Unlock()
}

func (f *boardFixture) events(events ...event.Event) {
	for _, ev := range events {
		f.event(f.w, ev)
	}
}

func head(k event.Kind, run string, rank int) event.Header {
	return event.Header{Kind: k, Run: run, Rank: &rank}
}

// The connection to a session breaks, and the session lives: what the board took for dead goes on when the folder is attached to it again.
func TestBoardAfterLoss(t *testing.T) {
	f := newBoardFixture(t, "x\n# %%\ny\n")
	f.ran("r", 2)
	cell := f.doc().IDs()[1]
	two := 2
	h := func(k event.Kind) event.Header { return event.Header{Kind: k, Run: "r", Cell: &two} }
	queued := &event.RunQueued{Header: h(event.KindRunQueued), Path: "/a.py", Line: 3, Source: "# %%\ny\n"}
	started := &event.RunStarted{Header: h(event.KindRunStarted), Path: "/a.py", Line: 3}
	failed := &event.Failure{Header: head(event.KindError, "r", 0), EName: "NameError"}
	f.told = change{}
	f.events(queued)
	if r, _ := f.run("r"); !f.told.empty() || r.number != 1 {
		t.Errorf("it is entered twice: %+v", r)
	}
	f.events(started, failed)
	f.events(f.lost(f.w, "gone")...)
	if r, _ := f.lastRun(boardURI, cell); r.State != view.Ended || r.Status != event.StatusDied {
		t.Errorf("%+v", r)
	}
	before := f.w
	f.w = &workspace{}
	f.events(queued, started, failed)
	r, ok := f.lastRun(boardURI, cell)
	if !ok || r.State != view.Running || r.Status != "" || len(r.Failures) != 1 || r.workspace != f.w || len(f.active(f.w)) != 1 || len(f.active(before)) != 0 {
		t.Errorf("%+v", r)
	}
	for i := range keptRuns + 1 {
		id := fmt.Sprint(i)
		f.ran(id, 1)
		f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: id}, Status: event.StatusOK})
	}
	if _, ok := f.run("r"); !ok {
		t.Error("a run that goes on is forgotten")
	}
}

// A run goes through its states, with its parts.
func TestBoardRun(t *testing.T) {
	f := newBoardFixture(t, "x\n# %%\ny\n")
	f.ran("r", 2)
	cell := f.doc().IDs()[1]
	if r, ok := f.lastRun(boardURI, cell); !ok || r.State != view.Queued {
		t.Errorf("%+v", r)
	}
	f.told = change{}
	f.events(
		&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r"}, Target: "remote", See: "0"},
		&event.RankState{Header: head(event.KindRankState, "r", 1), State: "busy"},
		&event.RankState{Header: head(event.KindRankState, "r", 0), State: "busy"},
		&event.RankState{Header: head(event.KindRankState, "r", 1), State: "ready", Status: event.StatusOK, Seconds: 1},
	)
	r, _ := f.lastRun(boardURI, cell)
	if r.State != view.Running || len(r.Parts) != 2 || r.Parts[0].Who != ranklist.Rank(0) || view.Done(r.Parts) != 1 {
		t.Errorf("%+v", r)
	}
	if d := f.told.docs[boardURI]; d == nil || !d.cells[cell] || len(d.cells) != 1 || d.text {
		t.Errorf("told %+v", f.told)
	}
	if all := f.states(boardURI); len(all) != 1 || all[cell] != (runOfCell{state: view.Running}) || r.ID != "r" {
		t.Errorf("%+v", all)
	}
	if active := f.active(f.w); len(active) != 1 || active[0].ID != "r" {
		t.Errorf("%+v", active)
	}
	f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "r"}, Status: event.StatusError, Seconds: 2})
	if r, _ := f.lastRun(boardURI, cell); r.State != view.Ended || r.Status != event.StatusError || r.Seconds != 2 {
		t.Errorf("%+v", r)
	}
	f.clear(boardURI)
	if _, ok := f.lastRun(boardURI, cell); ok {
		t.Error("it is still there")
	}
}

// Lines of tracebacks are found where they are now, in the run's cell or in one that had run before.
func TestBoardPlace(t *testing.T) {
	f := newBoardFixture(t, "# %%\ndef f():\n    1/0\n# %%\nf()\n")
	f.ran("define", 1)
	f.edit(3, 3, "# %% between\n0\n")
	f.ran("call", 3) // its line is 7, and what it calls is on line 3
	f.edit(0, 0, "# %% above\n0\n")
	call, _ := f.run("call")
	want := func(of string, line, now int) {
		t.Helper()
		got, _, ok := f.place(f.doc(), call, of, line)
		if ok != (now > 0) || got != now {
			t.Errorf("line %d of %s is now %d (%v), want %d", line, of, got, ok, now)
		}
	}
	want("call", 7, 9)
	want("define", 3, 5)
	want("define", 7, 0) // it had no such line
	want("call", 100, 0)
	want("another", 3, 0)
	f.edit(0, 2, "# %% above\n0\n1\n2\n3\n") // grows over the lines on which f was defined
	f.ran("above", 1)
	want("define", 3, 8)
	f.edit(0, 5, "# %% above\n0\n")
	f.edit(8, 9, "f( )\n")
	want("call", 7, 0) // edited
	want("define", 3, 5)
	f.edit(2, 3, "# %% a title\n")
	want("define", 3, 5) // a title is no code
	f.edit(2, 5, "")
	want("define", 3, 0) // gone
}

// Whether a cell is stale depends on its code and target, not on its place.
func TestBoardStale(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n")
	f.ran("r", 1)
	stale := func() bool {
		r, _ := f.run("r")
		c, ok := f.doc().Find(r.Cell)
		if !ok {
			t.Fatal("the cell is gone")
		}
		return r.Stale(c)
	}
	for _, step := range []struct {
		from, to uint32
		text     string
		want     bool
	}{
		{0, 0, "# %%\n0\n", false},
		{3, 4, "y\n", true},
		{3, 4, "x\n", false},
		{2, 3, "# %% target=\"remote\"\n", true},
		{2, 3, "# %% A title\n", false},
		{4, 4, "\n \n# %% another\n", false},
		{3, 3, "\n", true},
	} {
		f.edit(step.from, step.to, step.text)
		if got := stale(); got != step.want {
			t.Errorf("after %+v: stale is %v", step, got)
		}
	}
}

// A run that a cell has started belongs to that cell, but is not its last run. The cell of a run of another client is found by its place.
func TestBoardAdopts(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n# %%\ny\n")
	f.ran("r", 1)
	two := 2
	f.events(
		&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "nested"}, Parent: "r", Target: "remote"},
		&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "theirs", Cell: &two}, Path: "/a.py", Line: 4, Target: "local"},
	)
	ids := f.doc().IDs()
	if r, _ := f.run("nested"); r.Cell != ids[0] || r.Parent != "r" {
		t.Errorf("%+v", r)
	}
	if r, _ := f.lastRun(boardURI, ids[0]); r.ID != "r" {
		t.Errorf("%+v", r)
	}
	if r, _ := f.lastRun(boardURI, ids[1]); r.ID != "theirs" {
		t.Errorf("%+v", r)
	}
}

// Ended runs are forgotten, except the last one of each cell.
func TestBoardForgets(t *testing.T) {
	f := newBoardFixture(t, "x\n# %%\ny\n")
	finish := func(id string) {
		f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: id}, Status: event.StatusOK})
	}
	f.ran("first", 1)
	finish("first")
	for i := range 3 * keptRuns {
		id := string(rune('a'+i%26)) + string(rune('A'+i/26))
		f.ran(id, 2)
		finish(id)
	}
	if len(f.runs) > keptRuns || len(f.ended) > keptRuns {
		t.Errorf("%d runs", len(f.runs))
	}
	if r, ok := f.lastRun(boardURI, f.doc().IDs()[0]); !ok || r.ID != "first" {
		t.Errorf("%+v", r)
	}
}

// What will never be back is forgotten: documents that were closed long ago, and cells of an open one that were deleted long ago.
func TestBoardForgetsCells(t *testing.T) {
	f := newBoardFixture(t, "x\n# %%\ny\n")
	f.ran("kept", 1)
	const maxLost, maxClosed = 256, 64 // how many cells and documents are remembered
	for i := range 2 * maxLost {
		f.edit(2, 3, fmt.Sprintf("%d\n", i))
		f.ran(fmt.Sprint("lost ", i), 2)
		f.edit(1, 3, "")
		f.edit(1, 1, "# %%\ny\n")
	}
	if n := len(f.last); n > maxLost+1 {
		t.Errorf("%d last runs of one document", n)
	}
	if _, ok := f.lastRun(boardURI, f.doc().IDs()[0]); !ok {
		t.Error("what is there is forgotten")
	}
	open := func(u uri.URI) {
		f.must(f.docs.DidOpen(t.Context(), &protocol.DidOpenTextDocumentParams{TextDocument: protocol.TextDocumentItem{URI: u, Version: 1, Text: "x\n"}}))
	}
	shut := func(u uri.URI) {
		f.must(f.docs.DidClose(t.Context(), &protocol.DidCloseTextDocumentParams{TextDocument: protocol.TextDocumentIdentifier{URI: u}}))
	}
	for i := range 2 * maxClosed {
		shut(boardURI)
		open(boardURI) // again and again: not the one that was closed longest ago
		u := uri.URI(fmt.Sprintf("file:///%d.py", i))
		open(u)
		shut(u)
	}
	if _, ok := f.lastRun(boardURI, f.doc().IDs()[0]); !ok {
		t.Error("a document that is open is forgotten")
	}
	shut(boardURI)
	for i := range maxClosed {
		u := uri.URI(fmt.Sprintf("file:///again-%d.py", i))
		open(u)
		shut(u)
	}
	if len(f.last) > 0 {
		t.Errorf("of documents that are forgotten there are %d last runs", len(f.last))
	}
}

// The board has the last state of each pool.
func TestBoardPool(t *testing.T) {
	f := newBoardFixture(t, "")
	if p := f.pool(f.w); p.State != "none" {
		t.Errorf("%+v", p)
	}
	f.events(&event.PoolState{Header: event.Header{Kind: event.KindPoolState}, State: "ready", Size: 3, Hosts: event.HostsOf([]string{"gpu1", "gpu2", "gpu2"})})
	if host := ptr(f.pool(f.w)).HostOf(1); host != "gpu2" {
		t.Errorf("rank 1 is on %q", host)
	}
	if p := f.pool(f.w); p.State != "ready" || p.Size != 3 || !f.told.pools[f.w] {
		t.Errorf("%+v, told %+v", p, f.told)
	}
}

func TestChangesAdd(t *testing.T) {
	var c change
	c.add(change{docs: map[uri.URI]*docChange{boardURI: {opened: true, text: true}}})
	c.add(change{docs: map[uri.URI]*docChange{boardURI: {cells: map[docs.CellID]bool{3: true}}}, settings: true})
	c.add(change{docs: map[uri.URI]*docChange{boardURI: {closed: true}}, pools: map[*workspace]bool{nil: true}})
	d := c.docs[boardURI]
	if d.opened || !d.closed || !d.text || !d.cells[3] || !c.settings || len(c.pools) != 1 || c.empty() {
		t.Errorf("%+v %+v", c, d)
	}
}

// Hangs are known while they last, also at the cell whose code has started the run. They end with the run.
func TestBoardHangs(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n")
	f.ran("r", 1)
	cell := f.doc().IDs()[0]
	hang := func(run string, number int, text string, gone bool) *event.Hang {
		return &event.Hang{Header: event.Header{Kind: event.KindHang, Run: run}, Hang: number, Text: text, Level: event.LevelWarning, Gone: gone}
	}
	told := func() (texts []string) {
		r, _ := f.lastRun(boardURI, cell)
		for _, h := range r.Hangs {
			texts = append(texts, h.Text)
		}
		if hung := f.states(boardURI)[cell].hung; hung != (len(texts) > 0) {
			t.Errorf("hung: %v, with %q", hung, texts)
		}
		return texts
	}
	is := func(want ...string) {
		t.Helper()
		if got := told(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f.events(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r"}})
	f.told = change{}
	f.events(hang("r", 2, "b", false), hang("r", 1, "a", false), hang("r", 2, "c", false), hang("elsewhere", 1, "x", false))
	is("a", "c")
	if d := f.told.docs[boardURI]; d == nil || !d.cells[cell] {
		t.Errorf("told %+v", f.told)
	}
	before, _ := f.lastRun(boardURI, cell)
	f.events(hang("r", 1, "", true), hang("r", 7, "", true))
	is("c")
	if len(before.Hangs) != 2 || before.Hangs[0].Text != "a" {
		t.Error("a copy has changed")
	}
	// A line of the cell has asked for a run on the ranks.
	f.events(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "child"}, Parent: "r"}, hang("child", 1, "d", false))
	is("c", "d")
	f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "r"}}, hang("r", 3, "late", false))
	is("d")
	f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "child"}})
	is()
}

// What a cell has asked for on the ranks is lost with these, also if the run that it has asked for ends only after the pool has.
func TestBoardLosesNested(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n")
	cell := f.doc().IDs()[0]
	f.ran("r", 1)
	state := func(s string) {
		f.events(&event.RankState{Header: head(event.KindRankState, "child", 0), State: s})
	}
	f.events(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r"}},
		&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "child"}, Parent: "r"})
	state(event.StateBusy)
	f.events(&event.PoolState{Header: event.Header{Kind: event.KindPoolState}, State: event.StateStopped})
	state(event.StateStopped)
	f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "child"}, Status: event.StatusInterrupted},
		&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "r"}, Status: event.StatusInterrupted})
	if r, _ := f.lastRun(boardURI, cell); r.Gone() == "" {
		t.Errorf("nothing is lost: %+v", r.Asked)
	}
}

// Requests to end a run are counted; those for an unknown run are not.
func TestBoardInterrupted(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n")
	f.ran("r", 1)
	for want := 1; want <= 3; want++ {
		if n := f.interrupted("r"); n != want {
			t.Errorf("%d, want %d", n, want)
		}
		if n := f.interrupted("x"); n != 1 {
			t.Error(n)
		}
	}
}

// A run that was skipped, or cancelled before its turn, leaves its cell as it was before.
func TestBoardRunsInVain(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n")
	cell := f.doc().IDs()[0]
	is := func(want string) {
		t.Helper()
		if r, _ := f.lastRun(boardURI, cell); r.ID != want {
			t.Errorf("the last run is %q, want %q", r.ID, want)
		}
	}
	start := func(id string) {
		f.events(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: id}})
	}
	finish := func(id string, s event.Status) {
		f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: id}, Status: s})
	}
	f.ran("never", 1)
	finish("never", event.StatusSkipped)
	is("")
	f.ran("begun", 1)
	start("begun")
	f.ran("waits", 1)
	f.ran("waits, too", 1)
	is("waits, too")
	finish("waits", event.StatusSkipped)
	is("waits, too")
	f.told = change{}
	finish("waits, too", event.StatusInterrupted)
	is("begun")
	if d := f.told.docs[boardURI]; d == nil || !d.cells[cell] {
		t.Errorf("told %+v", f.told)
	}
	finish("begun", event.StatusInterrupted)
	is("begun")
	f.ran("could not", 1)
	finish("could not", event.StatusDied)
	is("could not")
	if _, known := f.run("waits"); known || len(f.active(f.w)) > 0 {
		t.Error("what was in vain is still there")
	}
}

// A run is entered before its first event.
func TestBoardBegins(t *testing.T) {
	f := newBoardFixture(t, "# %%\nx\n")
	c, _ := f.doc().File.Cell(1)
	r := &Run{Doc: boardURI, Cell: f.doc().ID(c), workspace: f.w}
	done := make(chan struct{})
	ids, err := f.begin([]*Run{r}, func() ([]string, error) {
		go func() {
			defer close(done)
			f.events(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "r"}, Status: event.StatusOK})
		}()
		return []string{"r"}, nil
	})
	<-done
	if r, _ := f.run("r"); err != nil || ids[0] != "r" || r.Status != event.StatusOK {
		t.Errorf("%v, %v, %+v", ids, err, r)
	}
	if _, err := f.begin([]*Run{{}}, func() ([]string, error) { return nil, errors.New("no") }); err == nil || len(f.active(nil)) > 0 {
		t.Error(err)
	}
}

// What completion offers for ranks follows from the pool, and from its hosts where it is on several.
func TestRankLists(t *testing.T) {
	for want, on := range map[string][]string{
		"all": nil, "all 0": {"gpu1"}, "all 0 1 0-1": {"gpu1", "gpu1"}, "all 0 1 2 0-2 host:gpu1 host:gpu2 each:0": {"gpu1", "gpu2", "gpu2"},
	} {
		pool := event.PoolState{Size: len(on), Hosts: event.HostsOf(on)}
		if got := strings.Join(rankListsOf(pool), " "); got != want {
			t.Errorf("%v: offered are %s, want %s", on, got, want)
		}
	}
}
