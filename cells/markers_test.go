package cells

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func markers(t testing.TB, list ...string) *Markers {
	t.Helper()
	m, err := NewMarkers(list)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Comments that a user has chosen begin cells, outside of strings and blocks, besides the usual ones.
func TestMarkers(t *testing.T) {
	m := markers(t, "# COMMAND ----------", "# +", "# -")
	const text = "# Databricks notebook source\nx = '''\n# COMMAND ----------\n'''\n# COMMAND ----------\r\ny\r\n# +\nz\n# + [markdown] Text\n# words\n# -\n" +
		"# +1 is no marker\n#+ neither\nfor a in b:\n    # +\n    c\n# + A title target=\"remote\"\nd\n# %% usual\ne\n"
	var got strings.Builder
	for c := range m.Parse(text).Cells() {
		fmt.Fprintf(&got, "%d %v %q %v\n", c.Line(), c.Type(), c.Title(), c.Directive().Target)
	}
	const want = "1 code \"\" none\n5 code \"\" none\n7 code \"\" none\n" +
		"9 markdown \"Text\" none\n11 code \"\" none\n17 code \"A title\" remote\n19 code \"usual\" none\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	for _, wrong := range []string{"", "#", "# ", "x", "+", "# a\n", "# %%dip", "#!x", " # +"} {
		if _, err := NewMarkers([]string{wrong}); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	if none := markers(t); none != nil || !none.Equal(nil) || none.Equal(m) || !m.Equal(markers(t, m.list...)) {
		t.Error("markers differ")
	}
}

// Edits of a file with such markers equal a parse.
func TestEditsWithMarkers(t *testing.T) {
	m := markers(t, "# COMMAND ----------", "# +", "# -")
	random := rand.New(rand.NewPCG(1, 2))
	piece := func(n int) string {
		text := randomText(random, n)
		for range random.IntN(4) {
			at := random.IntN(len(text) + 1)
			text = text[:at] + []string{"# +\n", "# -\n", "# COMMAND ----------\n", "\n# + x\n"}[random.IntN(4)] + text[at:]
		}
		return text
	}
	for range 300 {
		text := piece(60)
		f := m.Parse(text)
		for range 5 {
			start := random.IntN(len(text) + 1)
			end := start + random.IntN(min(20, len(text)-start)+1)
			insert := piece(3)
			f, text = f.Edit(start, end, insert), text[:start]+insert+text[end:]
			checkFile(t, f, text)
			if want, got := snap(m.Parse(text)), snap(f); !reflect.DeepEqual(want, got) {
				t.Fatalf("edit [%d,%d) %q: parse is -, edit is +\n%s", start, end, insert, cmp.Diff(want, got))
			}
		}
	}
}
