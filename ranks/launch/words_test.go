package launch

import (
	"os/exec"
	"strings"
	"testing"
)

// What is quoted is the same words in each shell that a user may have on a host.
func TestQuoteForShell(t *testing.T) {
	words := []string{
		"printf", "<%s>", "", "plain/-_.", "two words", "it's", `a\b`, `\`, `\'`, `a!b`, "!!", "$HOME `id` $(id)", "*?[a]{b}~", "ü;&|<>#\"", firstStage,
	}
	want := "<" + strings.Join(words[2:], "><") + ">"
	line := quoteForShell(words)
	tried := 0
	for _, shell := range []string{"sh", "bash", "zsh", "csh", "tcsh", "fish"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		tried++
		if got, err := exec.Command(shell, "-c", line).CombinedOutput(); err != nil || string(got) != want {
			t.Errorf("%s: %s; want %s (%v)", shell, got, want, err)
		}
	}
	if tried == 0 {
		t.Skip("there is no shell")
	}
}
