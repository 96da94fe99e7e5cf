package fleet

import (
	"testing"

	"dipls/ranks/fleet/project"
)

// What was brought is said in one sentence, and long lists are cut.
func TestSyncWords(t *testing.T) {
	u := &update{project: &project.Project{Root: "/home/me/p"}, brought: []string{"gpu2", "gpu1"}, sent: 213, bytes: 2_140_000}
	if got, want := u.String(), "brought 213 Python files (2.1 MB) of /home/me/p to gpu1, gpu2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	u.sent, u.bytes, u.removed = 1, 0, 4
	if got, want := u.String(), "brought 1 Python file (0.0 MB) of /home/me/p to gpu1, gpu2, and removed 4"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, c := range [][]string{{"a.py", "a.py"}, {"a, b, c", "a", "b", "c"}, {"a, b, c and 2 more", "a", "b", "c", "d", "e"}} {
		if got := some(c[1:]); got != c[0] {
			t.Errorf("%q, want %q", got, c[0])
		}
	}
}
