package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"dipls/session"
)

// twoSessions are one that trains, and one that cannot be talked to.
func twoSessions(now time.Time) []session.Listed {
	began := now.Add(-725 * time.Second)
	return []session.Listed{
		{About: session.About{
			Name: "train", Dir: "/data/proj/日本", State: "busy", Ranks: 4, Devices: []string{"cuda:0", "cuda:1", "cuda:2", "cuda:3"}, Memory: 88e9, Keep: 4 * time.Hour,
			Clients: []session.Client{{Program: "VS Code"}, {Program: "Neovim"}, {Program: "VS Code"}},
			Runs:    []session.AboutRun{{ID: "a-1", Title: "Train\x1b[2J", Path: "/data/proj/train.py", Line: 41, Since: &began}, {ID: "a-2"}},
		}},
		{About: session.About{Name: "old", Dir: "/data/old"}, Problem: `it runs dipls 0.9, which this dipls cannot talk to; "dipls stop old" ends it`},
	}
}

func TestSessionsTable(t *testing.T) {
	now := time.Now()
	got := strings.Join(sessionLines(twoSessions(now), 0, now), "\n")
	want := `NAME   FOLDER           RANKS  DEVICES   GPU MEMORY  STATE      RUNS                                          ATTACHED             ENDS
train  /data/proj/日本      4  cuda:0-3     88.0 GB  busy       Train (train.py:41) for 12 min 05 s, 1 waits  VS Code (2), Neovim  4h after its last use
old    /data/old            -  -                  -  not known  -                                             -                    -
old: it runs dipls 0.9, which this dipls cannot talk to; "dipls stop old" ends it`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// On a narrow terminal sessions stand below each other, and no line is broken by the terminal.
func TestSessionsFitNarrowTerminals(t *testing.T) {
	now := time.Now()
	for _, width := range []int{40, 80, 120} {
		lines := sessionLines(twoSessions(now), width, now)
		for _, line := range lines {
			if ansi.StringWidth(line) > width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		text := strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
		for _, part := range []string{
			"4 ranks on cuda:0-3", "88.0 GB of GPU memory", "Train (train.py:41) for 12 min 05 s", `"dipls stop old" ends it`, "VS Code (2), Neovim",
		} {
			if !strings.Contains(text, part) {
				t.Errorf("%d columns: no %q in\n%s", width, part, strings.Join(lines, "\n"))
			}
		}
	}
}

func TestSessionsInWords(t *testing.T) {
	now := time.Now()
	if got := strings.Join(sessionLines(nil, 40, now), " "); !strings.Contains(got, "No session lives.") {
		t.Error(got)
	}
	soon := now.Add(90 * time.Minute)
	for want, a := range map[string]session.About{
		"in 1 h 30 min": {Ends: &soon, Keep: time.Hour}, "never": {Keep: session.KeepForever}, "4h after its last use": {Keep: session.KeepDefault},
	} {
		if got := endInWords(a, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, a := range map[string]session.About{
		"no ranks": {State: "none"}, "ready": {State: "ready"}, "busy": {State: "none", Runs: []session.AboutRun{{}}},
		"dead": {State: "dead", Runs: []session.AboutRun{{}}},
	} {
		if got := stateInWords(a); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, devices := range map[string][]string{"": nil, "cpu": {"cpu", "cpu"}, "cuda:0,2-3": {"cuda:0", "cuda:2", "cuda:3"}} {
		if got := devicesInWords(devices); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Columns are left out in their order where there is no room, and empty ones always.
func TestTableFits(t *testing.T) {
	make := func() *table {
		return &table{
			columns: []column{{title: "RANK"}, {title: "CELL", leave: 2}, {title: "GPU", leave: 3}, {title: "TIME", right: true, leave: 1}},
			rows:    [][]string{{"0", "3 Train", "", "1.2 s"}, {"1", "", "", "12 min 05 s"}},
		}
	}
	for width, want := range map[int]string{
		0:  "RANK  CELL            TIME\n0     3 Train        1.2 s\n1     -        12 min 05 s",
		20: "RANK         TIME\n0           1.2 s\n1     12 min 05 s",
		10: "RANK\n0\n1",
		2:  "RANK\n0\n1",
	} {
		table := make()
		table.fit(width)
		if got := strings.Join(table.lines(), "\n"); got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, got, want)
		}
	}
}

// A session that is named by its folder is that one and no other: "dipls stop FOLDER/NAME" must not end a namesake elsewhere.
func TestSessionFlag(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(top, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(top)
	sub := filepath.Join(top, "sub")
	for text, want := range map[string]session.AttachRequest{
		"":         {Dir: top},
		"tr ain":   {Dir: top, Name: "tr ain"},
		".":        {Dir: top, Only: true},
		"./sub":    {Dir: sub, Only: true},
		"sub/x":    {Dir: sub + "/", Name: "x", Only: true},
		sub + "/x": {Dir: sub + "/", Name: "x", Only: true},
	} {
		flag := sessionFlag{text}
		if got, err := flag.request(session.AttachRequest{}); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	flag := sessionFlag{"nothing/x"}
	_, err = flag.request(session.AttachRequest{})
	if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitUsage || !strings.Contains(e.Error(), "there is no folder "+filepath.Join(top, "nothing")) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
