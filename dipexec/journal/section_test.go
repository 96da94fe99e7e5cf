package journal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// A run can be read while sections of its journal are removed.
func TestJournalLimitWhileItIsRead(t *testing.T) {
	j := open(t, Options{})
	rj, err := j.Begin(Record{Run: "r1", Started: time.Now()}, 64<<10, Hooks{Failed: func(err error) { t.Error(err) }, Full: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	f := rj.Output(ranklist.Rank(0))
	write := func(from, to int) {
		for i := from; i < to; i++ {
			f.Print(event.StreamNames[i%2], fmt.Appendf(nil, "line %d\n", i))
		}
	}
	write(0, 3000)
	r, err := Read(rj.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	last, gaps, written := -1, 0, 3000
	for i := 0; ; i++ {
		ev, _, err := r.Next()
		if err != nil {
			break
		}
		switch ev := ev.(type) {
		case *event.Stream:
			for line := range strings.Lines(ev.Text) {
				var n int
				if _, err := fmt.Sscanf(line, "line %d\n", &n); err != nil {
					continue // cut by the end of what was written when it was read
				}
				if n <= last {
					t.Fatalf("line %d comes after line %d", n, last)
				}
				last = n
			}
		case *event.Log:
			gaps++
		}
		if i%500 == 499 && written < 20_000 {
			write(written, written+3000)
			written += 3000
		}
	}
	if gaps == 0 || last < 3000 {
		t.Errorf("read up to line %d of %d, with %d gaps", last, written, gaps)
	}
	f.Close()
	rj.release()
}

func TestParseJournalLimit(t *testing.T) {
	for s, want := range map[string]int64{
		"2GiB": 2 << 30, "2G": 2 << 30, "2 gib": 2 << 30, "500MB": 500e6, "1.5GB": 15e8, "16MiB": 16 << 20, "20000000": 2e7, "20000000B": 2e7,
		"32768k": 32 << 20, "1TiB": 1 << 40, "0": -1, "0MB": -1,
	} {
		if got, err := ParseLimit(s); got != want || err != nil {
			t.Errorf("%q is %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "much", "-1", "2X", "1MB", "1", "99999999TB", "1e3GB", "1 0GB"} {
		if got, err := ParseLimit(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}
