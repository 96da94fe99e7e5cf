package lsptest

import (
	"reflect"
	"testing"
)

func TestMarks(t *testing.T) {
	m, err := parseMarked("dir/a case.txtar", []byte(`What it is for: this.
settings: {"ranks": 3}
-- a.py --
# %% Title
x = "🚀" + y  #@ hover:y int "a; b" ; lens
z
-- @golden --
text
`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Documents["a.py"], "# %% Title\nx = \"🚀\" + y\nz\n"; got != want || len(m.Documents) != 1 {
		t.Errorf("%q, want %q", got, want)
	}
	at := func(start, end int) Range { return Range{Position{1, start}, Position{1, end}} }
	want := []Mark{
		{"a.py", at(11, 12), "hover", []string{"int", "a; b"}},
		{"a.py", at(0, 12), "lens", nil},
	}
	if !reflect.DeepEqual(m.Marks, want) {
		t.Errorf("%+v, want %+v", m.Marks, want)
	}
	if m.Value("settings") != `{"ranks": 3}` || m.Value("what") != "" || m.Name != "a case" {
		t.Errorf("%+v", m)
	}
	m.Golden(t, "golden", "text")
}

func TestWrongMarks(t *testing.T) {
	for _, line := range []string{"x  #@ hover:y", "x  #@ ;", `x  #@ hover:x "\q"`} {
		if _, _, err := takeMarks("a.py", line+"\n"); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}
