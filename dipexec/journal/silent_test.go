package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// silentIn are the silent runs in a directory.
func silentIn(t *testing.T, dir string) (runs string) {
	t.Helper()
	if err := readSilent(dir, func(r Record) { runs += r.Run + " " }); err != nil {
		t.Fatal(err)
	}
	return runs
}

// Silent runs go when they are too old, also those in a file in use.
func TestSilentRunsAge(t *testing.T) {
	s := open(t, Options{MaxAge: 24 * time.Hour})
	now := time.Now()
	for i, age := range []time.Duration{72, 30, 23, 0} {
		if err := appendSilent(s.dir, []Record{{Run: fmt.Sprint(i), Finished: now.Add(-age * time.Hour)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.removeSilent(now)
	if runs := silentIn(t, s.dir); runs != "2 3 " {
		t.Errorf("%q are left", runs)
	}
	s.removeSilent(now.Add(25 * time.Hour))
	if left, _ := filepath.Glob(filepath.Join(s.dir, "silent*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// Who waits for the lock while another one puts the file aside adds to the new file, and does not put that aside as well.
func TestSilentFileIsRenamed(t *testing.T) {
	s := open(t, Options{})
	long := strings.Repeat("x", maxSilent)
	if err := appendSilent(s.dir, []Record{{Run: "first"}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, silentName)
	var waiting sync.WaitGroup
	defer waiting.Wait() // once f is closed
	f, err := lockSilent(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	waiting.Go(func() {
		if err := appendSilent(s.dir, []Record{{Run: "waited"}}); err != nil {
			t.Error(err)
		}
	})
	for locks := ""; strings.Count(locks, "->") == 0; { // until it waits
		text, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Skip(err)
		}
		info, _ := f.Stat()
		inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, inode) {
				locks += line
			}
		}
	}
	if _, err := f.WriteString(`{"run":"second","code":"` + long + `"}` + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, filepath.Join(s.dir, olderSilent)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"run":"third"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Close()
	waiting.Wait()
	if runs := silentIn(t, s.dir); runs != "first second third waited " {
		t.Errorf("%q", runs)
	}
}
