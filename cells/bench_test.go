package cells

import (
	"fmt"
	"strings"
	"testing"
)

// bigFile has 10,000 cells of 12 lines.
func bigFile() string {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "# %%%% Step %d target=\"ranks:0-3\" see=\"all\"\n", i)
		b.WriteString(`def step(model, batch, *, scale=1.0):
    """Run one step.

    # %% not a marker
    """
    loss = model(batch["x"], batch["y"]) * scale
    loss.backward()
    print(f"loss {loss.item():.4f} of {len(batch['x'])} samples")
    return loss

# %dipush step
`)
	}
	return b.String()
}

func BenchmarkParse(b *testing.B) {
	text := bigFile()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		Parse(text)
	}
}

// BenchmarkEdit changes one line in the middle of 10,000 cells and 120,000 lines.
func BenchmarkEdit(b *testing.B) {
	text := bigFile()
	at := strings.Index(text[len(text)/2:], "backward") + len(text)/2
	for name, insert := range map[string]string{
		"letter":     "x",
		"bracket":    "(",
		"new cell":   "\n# %%\n",
		"open quote": `"""`,
	} {
		b.Run(name, func(b *testing.B) {
			f := Parse(text)
			b.ReportAllocs()
			for b.Loop() {
				f.Edit(at, at, insert)
			}
		})
	}
}

func BenchmarkProblems(b *testing.B) {
	f := Parse(bigFile() + "%%dip\nx = (")
	for b.Loop() {
		f.Problems()
	}
}

func BenchmarkPosition(b *testing.B) {
	f := Parse(bigFile())
	for b.Loop() {
		f.Offset(f.Position(f.Size()/3, UTF16), UTF16)
	}
}
