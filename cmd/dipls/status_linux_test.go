package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	"dipls/cells"
	"dipls/session"
)

// lastPicture is the last complete picture of a view that is drawn over itself.
func lastPicture(text string) []string {
	pictures := strings.Split(text, ansi.CursorHomePosition)
	for i := len(pictures) - 1; i > 0; i-- {
		if picture, _, whole := strings.Cut(pictures[i], ansi.EraseScreenBelow); whole {
			return strings.Split(ansi.Strip(picture), "\n")
		}
	}
	return nil
}

// The view of a session fits its terminal, also when that becomes smaller, and gives it back as it was, whether the user leaves or the session ends.
func TestWatchFitsItsTerminal(t *testing.T) {
	p := newPlace(t)
	a := p.attach(time.Hour)
	p.run(a, cells.Remote, "x = 1")
	watch := func() (end, other *os.File, cmd *exec.Cmd, shown func(done func(text string) bool) string) {
		end, other = openPair(t, 100)
		cmd = exec.Command("dipls", "status", "--watch")
		cmd.Env = append(os.Environ(), "TERM=xterm")
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.dir, end, end, end
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		text := ""
		return end, other, cmd, func(done func(string) bool) string {
			for piece := make([]byte, 64<<10); !done(text); {
				n, err := other.Read(piece)
				if err != nil {
					t.Fatalf("%v after %q", err, text)
				}
				text = strings.ReplaceAll(text+string(piece[:n]), "\r\n", "\n")
			}
			return text
		}
	}
	has := func(part string, width int) func(string) bool {
		return func(text string) bool {
			lines := lastPicture(text)
			for _, line := range lines {
				if ansi.StringWidth(line) > width {
					return false // drawn before it became smaller
				}
			}
			return strings.Contains(strings.Join(lines, "\n"), part)
		}
	}
	given := ansi.ShowCursor + ansi.ResetModeAltScreenSaveCursor
	before := func(end *os.File) unix.Termios {
		state, err := unix.IoctlGetTermios(int(end.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *state
	}

	end, other, cmd, shown := watch()
	cooked := before(end)
	text := shown(has("RANK", 100))
	if !strings.Contains(text, ansi.SetModeAltScreenSaveCursor) {
		t.Errorf("it has no screen of its own: %q", text)
	}
	if strings.Contains(text, "no ranks") { // before the session has answered
		t.Errorf("it shows what it does not know: %q", text)
	}
	picture := strings.Join(lastPicture(text), "\n")
	for _, part := range []string{"2 ranks on cpu", "\n0     ready", "\n1     ready", "q leaves"} {
		if !strings.Contains(picture, part) {
			t.Errorf("no %q in\n%s", part, picture)
		}
	}
	if err := unix.IoctlSetWinsize(int(end.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 8, Col: 30}); err != nil {
		t.Fatal(err)
	}
	text = shown(has("RANK", 30))
	if lines := lastPicture(text); len(lines) > 8 || !strings.HasPrefix(lines[len(lines)-1], "q leaves") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if _, err := other.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	shown(func(text string) bool { return strings.HasSuffix(text, given) })
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if after := before(end); after != cooked {
		t.Errorf("the terminal was %+v and is %+v", cooked, after)
	}

	end, _, cmd, shown = watch()
	cooked = before(end)
	shown(has("RANK", 100))
	if err := p.Stop(t.Context(), session.Listed{About: a.About}, "test"); err != nil {
		t.Fatal(err)
	}
	text = shown(func(text string) bool { return strings.HasSuffix(text, "\n") && strings.Contains(text, given) })
	if !strings.Contains(text, "dipls: the session has ended") && !strings.Contains(text, "was stopped") {
		t.Errorf("it does not say why: %q", text)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
	if after := before(end); after != cooked {
		t.Errorf("the terminal was %+v and is %+v", cooked, after)
	}
}
