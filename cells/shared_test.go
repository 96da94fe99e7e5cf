package cells

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// What Shared counts is the same in both files, and no more than the cells around the edit are left.
func TestShared(t *testing.T) {
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, "# %%%% cell %d\nx = %d\n", i, i)
	}
	random := rand.New(rand.NewPCG(1, 2))
	f := Parse(b.String())
	for range 300 {
		start := random.IntN(f.Size() + 1)
		end := min(start+random.IntN(30), f.Size())
		g := f.Edit(start, end, []string{"", "y\n", "\n# %%\n", "# %% a\n# %% b\n"}[random.IntN(4)])
		first, last := g.Shared(f)
		if first+last > min(f.Len(), g.Len()) {
			t.Fatalf("%d and %d cells of %d and %d", first, last, f.Len(), g.Len())
		}
		if g.Len()-first-last > 8 {
			t.Fatalf("%d cells are not shared", g.Len()-first-last)
		}
		for i := 1; i <= first; i++ {
			wantSame(t, f, i, g, i)
		}
		for i := range last {
			wantSame(t, f, f.Len()-i, g, g.Len()-i)
		}
		f = g
	}
}

func wantSame(t *testing.T, f *File, i int, g *File, j int) {
	t.Helper()
	a, _ := f.Cell(i)
	b, _ := g.Cell(j)
	if a.n != b.n {
		t.Fatalf("cell %d was %q, cell %d is %q", i, a.n.text, j, b.n.text)
	}
}

func TestSharedAtTheEdges(t *testing.T) {
	for _, test := range []struct {
		name        string
		old, new    *File
		first, last int
	}{
		{"the same", Parse("a\n# %%\nb\n"), nil, 2, 0},
		{"not related", Parse("a\n# %%\nb\n"), Parse("a\n# %%\nb\n"), 0, 0},
		{"empty", Parse(""), Parse(""), 0, 0},
		{"emptied", Parse("a\n"), Parse("a\n").Edit(0, 2, ""), 0, 0},
	} {
		if test.new == nil {
			test.new = test.old
		}
		if first, last := test.new.Shared(test.old); first != test.first || last != test.last {
			t.Errorf("%s: %d and %d, want %d and %d", test.name, first, last, test.first, test.last)
		}
	}
	old := Parse("\n# %%\na\n# %%\nb\n")
	if first, last := old.Edit(0, 0, "\n").Shared(old); first != 0 || last != 2 {
		t.Errorf("behind an edited gap: %d and %d", first, last)
	}
	if first, last := old.Edit(0, 0, "x").Shared(old); first != 0 || last != 2 {
		t.Errorf("where the gap became a cell: %d and %d", first, last)
	}
}
