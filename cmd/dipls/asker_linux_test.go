package main

import (
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/session"
)

// Somebody at a terminal answers what code asks: for all ranks, for each, with a password, with the end of what is typed, and not at all. Nothing that is
// typed for a password is shown, output comes above the line that is typed, and the terminal is as before in the end.
func TestAsker(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	t.Setenv("TERM", "xterm")
	end, person := openPair(t, 80)
	before := termiosOf(t, end)
	machine := fakerank.NewHost(fakerank.Config{})
	s := sessiontest.New(t, machine, t.TempDir())
	errOut := newScreen(end)
	front := &front{name: "test", session: s, out: end, errOut: errOut, asker: newAsker(s, end, errOut)}
	if front.asker == nil {
		t.Fatal("nobody can type")
	}
	if _, err := front.watch(t.Context(), front.name, func(event.Event) {}, event.KindQuestion); err != nil {
		t.Fatal(err)
	}
	view, err := s.Subscribe(t.Context(), session.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	viewed := make(chan error, 1)
	go func() { viewed <- front.view(view) }()

	var shown string
	await := func(text string) string {
		t.Helper()
		for piece := make([]byte, 64<<10); !strings.Contains(shown, text); {
			n, err := person.Read(piece)
			if err != nil {
				t.Fatalf("%q: %v, after %q", text, err, shown)
			}
			shown += string(piece[:n])
		}
		earlier, rest, _ := strings.Cut(shown, text)
		shown = rest
		return earlier
	}
	press := func(keys string) {
		t.Helper()
		if _, err := person.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	run := func(where cells.Where, commands string) string {
		t.Helper()
		by := session.Caller{Settings: session.Settings{
			Python: sessiontest.Interpreter(t), Trust: session.TrustYes, Pool: session.Choice{Ranks: 2},
		}}
		cell := session.Cell{Code: commands, Line: 1, See: ranklist.All, Target: cells.Target{Where: where}}
		runs, err := s.Start(t.Context(), by, session.Sequence{Cells: []session.Cell{cell}})
		if err != nil {
			t.Fatal(err)
		}
		return runs[0]
	}

	run(cells.Remote, "input rate: ")
	await("Tab asks for an answer for each")
	await("ranks 0-1 ask: rate: ")
	press("3e-4\r")
	await("[0-1] 3e-4")
	await("✓")

	run(cells.Remote, "input rate: ")
	await("ranks 0-1 ask: rate: ")
	press("\t")
	await("rank 0 asks: rate: ")
	press("one\r")
	await("rank 1 asks: rate: ")
	press("two\r")
	await("[1] two")
	await("✓")

	run(cells.Remote, "on 0 gate noise\non 0 print noise\non 1 input go on? ")
	await("rank 1 asks: go on? ")
	press("ye")
	await("ye")
	machine.Open("noise")
	await("[0] noise")
	await("rank 1 asks: go on? ye")
	press("s\r")
	await("[1] yes")
	await("✓")

	run(cells.Local, "getpass key: ")
	await("key: ")
	if err := unix.IoctlSetTermios(int(end.Fd()), setTermios, &before); err != nil { // as a shell does after Ctrl-Z
		t.Fatal(err)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for termiosOf(t, end).Lflag&unix.ECHO != 0 && t.Context().Err() == nil {
		runtime.Gosched()
	}
	press("s3cret\r")
	if typed := await("s3cret"); strings.Contains(typed, "s3") { // which the cell prints
		t.Errorf("shown: %q", typed)
	}
	await("✓")

	run(cells.Local, "input more? ")
	await("more? ")
	press("\x04")
	await("EOFError")
	await("✗")

	asked := run(cells.Local, "input name: ")
	await("name: ")
	press("half a na")
	await("half a na")
	if _, err := s.Cancel(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	await("interrupted after")

	run(cells.Local, "input last: ")
	await("last: ")
	front.asker.close()
	if after := termiosOf(t, end); !reflect.DeepEqual(after, before) {
		t.Errorf("the terminal is %+v, was %+v", after, before)
	}
	front.unwatch()
	view.Close()
	if err := <-viewed; err != nil {
		t.Error(err)
	}
}

func termiosOf(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(terminal.Fd()), getTermios)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}
