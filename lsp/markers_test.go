package lsp_test

import (
	"testing"

	"dipls/internal/lsptest"
)

// Comments begin cells as the setting says, also in documents that are open when it changes, and as these are edited.
func TestCellMarkers(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Encodings: []string{"utf-8"}})
	e.Open("a.py", "print a\n# COMMAND ----------\nprint b\n# %%\nprint c\n")
	count := func() int {
		t.Helper()
		var answer struct{ Cells []struct{ Number int } }
		must(t, e.Call("dip/cells", inDocument(e, "a.py"), &answer))
		return len(answer.Cells)
	}
	if n := count(); n != 2 {
		t.Errorf("%d cells", n)
	}
	e.Settings(lsptest.Object{"cellMarkers": []string{"# COMMAND ----------"}})
	for count() != 3 { // until the client has been asked for its settings
	}
	e.SetText("a.py", "# COMMAND ----------\n"+e.Text("a.py"))
	if n := count(); n != 3 {
		t.Errorf("%d cells", n)
	}
	e.Replace("a.py", "print b\n", "# COMMAND ----------\nprint b\n")
	if n := count(); n != 4 {
		t.Errorf("%d cells", n)
	}
	var pieces struct{ Cells []struct{ Header string } }
	text := "1\n# COMMAND ----------\n2\n"
	for _, params := range []lsptest.Object{{"text": text}, {"text": text, "uri": e.URI("b.py")}} {
		if must(t, e.Call("dip/split", params, &pieces)); len(pieces.Cells) != 2 || pieces.Cells[1].Header != "# COMMAND ----------\n" {
			t.Errorf("%v: %+v", params, pieces)
		}
	}
	var reply struct{ Cells int }
	if e.Command("dip.runCode", lsptest.Object{"code": "print a\n# COMMAND ----------\nprint b\n"}, &reply); reply.Cells != 2 {
		t.Errorf("%d cells run", reply.Cells)
	}
}
