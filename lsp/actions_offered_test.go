package lsp_test

import (
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// A client without lenses finds all that it needs among the code actions when its user asks, where that makes sense: pool, autodip, variables, output.
func TestOfferedActions(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: quietly})
	e.Open("a.py", "# %%\nlet here 1\nlet here.size 3\nresult 3\n# %%dip\nlet far 1\n# %%\n# %dipush here\n")
	kinds := []string{"dip.output", "dip.variables", "dip.pool"}
	offered := func(line, character int) []action {
		t.Helper()
		place := lsptest.Position{Line: line, Character: character}
		return actions(t, e, "a.py", lsptest.Range{Start: place, End: place}, only(kinds...))
	}
	expect := func(line, character int, want string) {
		t.Helper()
		if got := strings.Join(titlesOf(offered(line, character)), "; "); got != want {
			t.Errorf("at %d:%d: %s\nwant %s", line, character, got, want)
		}
	}
	do := func(line, character int, title string) string {
		t.Helper()
		list := offered(line, character)
		i := slices.IndexFunc(list, func(a action) bool { return a.Title == title })
		if i < 0 {
			t.Fatalf("no %q among %q", title, titlesOf(list))
		}
		return perform(t, e, "a.py", list[i]).Run
	}

	expect(2, 5, "Start the ranks; Turn autodip on")
	runCell(e, 1, "ok")
	expect(2, 5, "Show the cell's output; Start the ranks; Turn autodip on; Forget how the cells have run") // no rank to push to
	finished(e, do(2, 5, "Start the ranks"), "ok")
	const rest = "; End the ranks; Free cached GPU memory; Turn autodip on; Forget how the cells have run"
	expect(2, 5, "Push 'here' to all ranks; Show the cell's output"+rest)
	expect(2, 10, "Show the cell's output"+rest) // size is an attribute
	expect(7, 10, "End the ranks; Free cached GPU memory; Turn autodip on; Forget how the cells have run")
	finished(e, do(2, 5, "Push 'here' to all ranks"), "ok")
	runCell(e, 2, "ok")
	expect(2, 5, "Push 'here' to all ranks; Pull 'here' from rank 0; Show the cell's output"+rest)
	finished(e, do(5, 5, "Pull 'far' from rank 0"), "ok")
	expect(5, 5, "Push 'far' to all ranks; Pull 'far' from rank 0; Show the cell's output"+rest)

	do(0, 0, "Turn autodip on")
	do(0, 0, "Turn autodip off")
	do(0, 0, "Show the cell's output")
	e.Await("the output", lsptest.Method("window/showDocument"))
	do(0, 0, "Forget how the cells have run")
	do(0, 0, "End the ranks")
	expect(2, 5, "Start the ranks; Turn autodip on")

	e.Mark()
	list := actions(t, e, "a.py", lsptest.Range{}, only("dip.run"))
	if last := list[len(list)-1]; last.Title != "Run all cells" {
		t.Fatalf("%q", titlesOf(list))
	} else {
		perform(t, e, "a.py", last)
	}
	e.Await("the first cell", lsptest.Has("event", "run_finished"), lsptest.Has("cell", 1), lsptest.Has("status", "ok"))
}
