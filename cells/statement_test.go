package cells

import "testing"

func TestEndsStatement(t *testing.T) {
	for _, test := range []struct {
		text string
		want bool
	}{
		{"", true},
		{"x = 1", true},
		{"x = 1; y = 2", true},
		{"f(", false},
		{"f(\n1,", false},
		{"f(\n1)", true},
		{"s = '''a", false},
		{"s = '''a\nb'''", true},
		{"s = 'a", true}, // Python says what is wrong
		{"x = \\", false},
		{"x = \\\n1", true},
		{"for i in x:", false},
		{"for i in x:\n    f(i)", false},
		{"for i in x:\n    f(i)\n", true},
		{"for i in x:\n    f(i)\n    ", true},
		{"for i in x: f(i)", false},
		{"for i in x: f(i)\n", true},
		{"match x:", false},
		{"match x:\n  case 1:\n    f()\n", true},
		{"format(x)", true},
		{"@decorated", false},
		{"@decorated\ndef f():\n    return (\n\n", false},
		{"if x:\n    f()\ny = 1", true},
		{"d[1:", false},
		{"d = {1:\n2}", true},
		{"# a comment", true},
		{"x  # a comment:", true},
		{"%%dip everywhere", false},
		{"%%dip everywhere\nx = 1", false},
		{"%%dip everywhere\nx = 1\n", true},
		{"# %%dip everywhere\nx = (1,\n", false},
		{"# %%dip\nx = (1,\n\n2)\n", true},
		{"%makedip -n 2", true},
		{"%pip install 'a", true},
		{"!echo (", true},
		{"x = 'Zürich'", true},
		{")", true},
	} {
		if got := EndsStatement(test.text); got != test.want {
			t.Errorf("%q: %v, want %v", test.text, got, test.want)
		}
	}
}
