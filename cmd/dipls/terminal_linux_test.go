package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dipls/dipexec/event"
	"dipls/session"
)

// openPair is a terminal of so many columns, and the end of whoever sits at it.
func openPair(t *testing.T, columns uint16) (end, other *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal to be had: ", err)
	}
	t.Cleanup(func() { other.Close() })
	if err := unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	end, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	if err := unix.IoctlSetWinsize(int(end.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return end, other
}

// openTerminal is a terminal of so many columns; shown returns what was written to it, up to a text that ends it.
func openTerminal(t *testing.T, columns uint16) (end *os.File, shown func(until string) string) {
	t.Helper()
	end, other := openPair(t, columns)
	return end, func(until string) string {
		var text string
		for piece := make([]byte, 64<<10); !strings.HasSuffix(text, until); {
			n, err := other.Read(piece)
			if err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text+string(piece[:n]), "\r\n", "\n")
		}
		return text
	}
}

// A finding is broken between words, and its lines are aligned; colours are for terminals only.
func TestTerminalHangFitsItsWidth(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	for _, columns := range []uint16{200, 60, 40, 5} {
		end, read := openTerminal(t, columns)
		term := newTerminal(end, newScreen(end), false, false)
		term.wayOut = "Ctrl-C frees them and ends the run · SIGUSR1 prints stacks"
		term.take([]event.Event{stuck(1, event.LevelWarning, waitText)})
		term.flush()
		text := read("stacks\n")
		for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if width := len([]rune(line)); width > max(int(columns)-1, minWrap) || i > 0 && !strings.HasPrefix(line, hangIndent) {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
		if got := strings.Join(strings.Fields(text), " "); got != "hang? "+waitText+" "+term.wayOut {
			t.Errorf("%d columns: lost or broke words:\n%s", columns, text)
		}
	}
}

// Who attaches is told in whole words how things stand.
func TestGreetingFitsItsWidth(t *testing.T) {
	about := session.About{Name: "proj", Dir: "/data/Étude à deux/projet", Ranks: 2, Devices: []string{"cpu", "cpu"}}
	const want = "attached to proj · /data/Étude à deux/projet · 2 ranks on cpu nothing runs · Ctrl-\\ leaves, and the session goes on"
	for _, columns := range []uint16{200, 60, 40} {
		end, read := openTerminal(t, columns)
		(&visitor{errOut: newScreen(end)}).greet(about)
		text := read("goes on\n")
		for _, line := range strings.Split(text, "\n") {
			if len([]rune(line)) >= int(columns) {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
		if got := strings.Join(strings.Fields(text), " "); got != want {
			t.Errorf("%d columns: lost or broke words:\n%s", columns, text)
		}
	}
}

// What a start waits for is shown in full, if the status line has no room for it: it may be a command to copy.
func TestLongWaitIsShownInFull(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	t.Setenv("TERM", "xterm")
	const text = "2 hosts to join: on each run DIPLS_STARTUP=/home/ada/p/start-2022805749 dipls join --env"
	end, read := openTerminal(t, 60)
	term := newTerminal(end, newScreen(end), false, false)
	for range 2 {
		term.take([]event.Event{&event.PoolState{State: "starting", Text: "short"}})
		term.take([]event.Event{&event.PoolState{State: "starting", Text: text}})
	}
	term.say("end")
	term.flush()
	shown := strings.Join(strings.Fields(read("end\n")), " ")
	if shown != text+" "+text+" end" {
		t.Errorf("shown: %q", shown)
	}
}
