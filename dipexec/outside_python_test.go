package dipexec

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/testpython"
	"dipls/ranks"
)

var forSeconds = regexp.MustCompile(`for \d+ s`)

// Ranks that wait for something else than a collective are shown with their lines, and nobody is named for it; it is over when they go on. One that
// sleeps, or that waits for a thread which computes, is not told of.
func TestPythonWaitsOutsideOfCollectives(t *testing.T) {
	python := testpython.Need(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "helpers.py"), []byte(helpers), 0o666); err != nil {
		t.Fatal(err)
	}
	e, rec := startNodeOf(t, ranks.PoolSpec{Ranks: 3, App: "none"}, Options{}, ranks.Options{Python: python, Dir: t.TempDir()})
	prints(t, e, "remote", fmt.Sprintf(`
import multiprocessing, os, socket, sys, threading, time
sys.path.insert(0, %q)
from helpers import later
rank = int(os.environ["RANK"])
lock, (here, there), batches = threading.Lock(), socket.socketpair(), multiprocessing.get_context("fork").Queue()
taken = lock.acquire()
def compute():
    until = time.monotonic() + 2
    while time.monotonic() < until: pass`, dir), "")
	run := func(code string) string {
		return mustStart(t, e, Request{Path: "/home/u/train.py", Line: 1, Code: code, Target: target(t, "remote"), HangAfter: 300 * time.Millisecond})
	}
	told := func(id string) (found []*event.Hang) {
		for _, ev := range rec.all() {
			if ev, is := ev.(*event.Hang); is && ev.Run == id {
				found = append(found, ev)
			}
		}
		return found
	}
	for i, c := range []struct{ text, code string }{
		{"ranks 0-2 have waited for N s: ranks 0-1 in a lock at train.py:4, rank 2 reading a socket at train.py:6",
			"later(\"0\", lambda: (lock.release(), there.send(b'x')))\nprint('x', end='')\nif rank < 2:\n    lock.acquire()\nelse:\n    here.recv(1)"},
		{"ranks 0,2 have waited in a queue at train.py:3 for N s",
			"if rank != 1:\n    later(\"1\", lambda: batches.put(1))\n    batches.get()"},
	} {
		id := run(c.code)
		rec.await(t, c.text, func(ev event.Event) bool {
			h, is := ev.(*event.Hang)
			return is && h.Run == id && !h.Gone && h.Level == event.LevelInfo && h.Variant == "outside" && len(h.Missing) == 0 &&
				forSeconds.ReplaceAllString(h.Text, "for N s") == c.text
		})
		if e.hangs() {
			t.Error("it counts as a hang")
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if r := mustWait(t, e, id); r.Status != event.StatusOK {
			t.Errorf("ended %s %s", r.Status, r.Reason)
		}
		rec.await(t, "end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == id })
		all := told(id)
		if last := all[len(all)-1]; !last.Gone || last.Variant != "outside" || last.Level != event.LevelInfo {
			t.Errorf("at the end there is %+v", last)
		}
	}
	for _, code := range []string{
		"time.sleep(2)",
		"thread = threading.Thread(target=compute); thread.start(); thread.join()",
	} {
		id := run(code)
		mustWait(t, e, id)
		rec.await(t, "end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == id })
		if found := told(id); len(found) > 0 {
			t.Errorf("%s: told is %s", code, strings.Join(slices.Collect(func(yield func(string) bool) {
				for _, h := range found {
					if !yield(h.Text) {
						return
					}
				}
			}), "\n"))
		}
	}
}
