package cells

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dipls/internal/stress"
)

// Edits of random files made of what matters to the parser equal a parse of the text so far.
func TestStressEdits(t *testing.T) {
	r := stress.Rand(t)
	for range stress.Rounds(40, 20_000) {
		text := randomText(r, 60)
		f := Parse(text)
		for range 20 {
			start := r.IntN(len(text) + 1)
			end := min(len(text), start+max(0, r.IntN(40)-25))
			insert := randomText(r, 2)
			f, text = f.Edit(start, end, insert), text[:start]+insert+text[end:]
			checkFile(t, f, text)
			if want, got := snap(Parse(text)), snap(f); !reflect.DeepEqual(want, got) {
				t.Fatalf("edit [%d,%d) %q gives %q: parse is -, edit is +\n%s", start, end, insert, text, cmp.Diff(want, got))
			}
			if strings.Count(text, "\n") > 200 {
				break
			}
		}
	}
}
