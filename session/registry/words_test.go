package registry

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/session"
)

// kill makes a claim look as its process's end leaves it.
func kill(c *Claim) {
	c.listener.Close()
	c.lock.Close()
}

// What can be known of a session that was killed is told once, at the next start in its folder, and nothing of it is left.
func TestLastWordsOfTheKilled(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*record)
		want   string
	}{
		{"killed", func(r *record) { r.Memory = kills{All: math.MaxInt32} }, "its process was killed"},
		{"restarted", func(r *record) { r.Boot = "another" }, "the machine was restarted"},
		{"out of memory", func(r *record) { r.Memory.All-- },
			"its process was killed, perhaps since memory had run out (for that the kernel has killed 1 process on this machine meanwhile)"},
		{"its group out of memory", func(r *record) {
			group := filepath.Join(filepath.Dir(r.Log), "memory.events")
			_ = os.WriteFile(group, []byte("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), 0o600)
			r.Memory = kills{Group: group}
		}, "its process was killed, since memory had run out (for that the kernel has killed 2 processes of its control group)"},
		{"crashed", func(r *record) {
			_ = os.WriteFile(r.Log, []byte("2026 INFO session begins\npanic: oh\n\ngoroutine 1\n"), 0o600)
		}, "its process crashed; the log says where"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			c, err := Open(Options{}).Claim(t.Context(), dir, "train")
			if err != nil {
				t.Fatal(err)
			}
			if told := tellEnded(dir); told != nil {
				t.Fatalf("while it lives: %+v", told)
			}
			test.change(c.record)
			c.record.save()
			kill(c)
			if listed, err := Open(Options{}).List(t.Context()); err != nil || len(listed) != 0 {
				t.Errorf("listed: %+v, %v", listed, err)
			}
			if _, err := os.Lstat(c.path); err == nil {
				t.Error("its directory is left")
			}
			told := tellEnded(dir)
			if told == nil || told.Why != test.want || told.Name != "train" || told.Dir != dir || told.Log != c.Log() || time.Since(told.At) > time.Minute {
				t.Errorf("told %+v, want %q", told, test.want)
			}
			if again := tellEnded(dir); again != nil {
				t.Errorf("told again: %+v", again)
			}
			if other := tellEnded("/elsewhere"); other != nil {
				t.Errorf("in another folder: %+v", other)
			}
		})
	}
}

// A restart of the machine empties the runtime directory, and the record tells all the same.
func TestLastWordsWithoutADirectory(t *testing.T) {
	dir := home(t)
	c, err := Open(Options{}).Claim(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	kill(c)
	os.RemoveAll(os.Getenv("XDG_RUNTIME_DIR"))
	os.Mkdir(os.Getenv("XDG_RUNTIME_DIR"), 0o700)
	if told := tellEnded(dir); told == nil || !strings.HasPrefix(told.Why, "its process was killed") {
		t.Errorf("told %+v", told)
	}
}

// Only the last logs and records stay, and those of living sessions.
func TestRecordsAreBounded(t *testing.T) {
	dir := home(t)
	living := claim(t, dir, "living")
	for range maxRecords + 5 {
		c, err := Open(Options{}).Claim(t.Context(), dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.Log(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.End("it was idle", ""); err != nil {
			t.Fatal(err)
		}
	}
	if told := tellEnded(dir); told == nil || told.Why != "it was idle" {
		t.Errorf("told %+v", told)
	}
	kept := func(pattern string) int {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(living.Log()), pattern))
		return len(files)
	}
	if records, logs := kept("*.json"), kept("*.log"); records != maxRecords+1 || logs != maxRecords {
		t.Errorf("%d records and %d logs", records, logs)
	}
}

// Nobody is told of a session that they have ended themselves, by whatever program.
func TestLastWordsOfTheStopped(t *testing.T) {
	dir := home(t)
	for by, want := range map[string]string{"VS Code": "", "": "it was idle for 4 h"} {
		c, err := Open(Options{}).Claim(t.Context(), dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.End("it was idle for 4 h", by); err != nil {
			t.Fatal(err)
		}
		got := ""
		if told := tellEnded(dir); told != nil {
			got = told.Why
		}
		if got != want {
			t.Errorf("ended by %q: told %q, want %q", by, got, want)
		}
	}
}

// What others have planted, or could change, is not used, and the reason is told.
func TestPlanted(t *testing.T) {
	const other = 54321
	root := os.Geteuid() == 0
	socketOf := func(c *Claim) string { return filepath.Join(c.path, socketName) }
	for _, test := range []struct {
		name  string
		plant func(*Claim) error // nil: only root can
		want  string
	}{
		{"a socket of another user", func(c *Claim) error { return os.Chown(socketOf(c), other, other) }, "api belongs to uid 54321, not to uid "},
		{"a socket for all", func(c *Claim) error { return os.Chmod(socketOf(c), 0o666) }, "api is open to others (mode 0666)"},
		{"a link to a socket", func(c *Claim) error {
			if err := os.Rename(socketOf(c), socketOf(c)+"2"); err != nil {
				return err
			}
			return os.Symlink(socketOf(c)+"2", socketOf(c))
		}, "api is not a socket (L"},
		{"a file", func(c *Claim) error {
			_ = os.Remove(socketOf(c))
			return os.WriteFile(socketOf(c), nil, 0o600)
		}, "api is not a socket (-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Contains(test.name, "another user") && !root {
				t.Skip("only root can")
			}
			dir := home(t)
			c := claim(t, dir, "train")
			if err := test.plant(c); err != nil {
				t.Fatal(err)
			}
			r := Open(Options{})
			for _, start := range []bool{false, true} {
				_, err := r.Attach(t.Context(), session.AttachRequest{Dir: dir, Name: "train", Start: start})
				if err == nil || !strings.Contains(err.Error(), "is not to be trusted") || !strings.Contains(err.Error(), test.want) {
					t.Errorf("attach: %v, want %q", err, test.want)
				}
			}
			listed, err := r.List(t.Context())
			if err != nil || len(listed) != 1 || !strings.Contains(listed[0].Problem, test.want) {
				t.Errorf("list: %+v, %v", listed, err)
			}
			if err := r.Stop(t.Context(), listed[0], "dipls stop"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// A whole directory that is not the user's counts as none; the reason is told to who would make one.
func TestPlantedDirectories(t *testing.T) {
	for name, test := range map[string]struct {
		plant func(place string) error
		want  string
	}{
		"open":   {func(place string) error { return os.Chmod(place, 0o777) }, "sessions is open to others (mode 0777)"},
		"a link": {func(place string) error { return replaceByLink(place) }, "sessions is not a directory (L"},
		"another user's": {func(place string) error {
			if os.Geteuid() != 0 {
				return os.ErrPermission
			}
			return os.Chown(place, 54321, 54321)
		}, "sessions belongs to uid 54321, not to uid "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			place := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "dipls", "sessions")
			if err := os.MkdirAll(place, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := test.plant(place); err != nil {
				t.Skip(err)
			}
			r := Open(Options{})
			if _, err := r.Claim(t.Context(), dir, ""); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("claim: %v, want %q", err, test.want)
			}
			if _, err := r.Attach(t.Context(), session.AttachRequest{Dir: dir}); code(err) != session.CodeNoSession {
				t.Errorf("attach: %v", err)
			}
		})
	}
}

func replaceByLink(path string) error {
	if err := os.Rename(path, path+"2"); err != nil {
		return err
	}
	return os.Symlink(path+"2", path)
}
