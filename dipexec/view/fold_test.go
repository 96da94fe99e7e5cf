package view

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
)

// folding feeds a Folder with one run's events.
type folding struct {
	f     *Folder
	now   time.Time
	items []Item
}

// of is a process of a folding.
var of = ranklist.Rank

// newFolding begins a run on ranks 0 to size-1; size 0 is the local namespace.
func newFolding(size int, see string) *folding {
	f := &folding{f: NewFolder(FoldOptions{}), now: time.Unix(0, 0)}
	f.add(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r1", Cell: new(1)}, Target: "remote", See: see})
	if size == 0 {
		f.state(ranklist.Local, event.StateBusy, "")
	}
	for rank := range size {
		f.state(of(rank), event.StateBusy, "")
	}
	return f
}

func (f *folding) add(e event.Event) { f.items = append(f.items, f.f.Add(e, f.now)...) }

func (f *folding) state(who ranklist.Who, state, reason string) {
	f.add(&event.RankState{Header: event.HeaderOf(event.KindRankState, "r1", new(1), who), State: state, Reason: reason})
}

func (f *folding) print(who ranklist.Who, s string) { f.add(text(who, s)) }

func (f *folding) stderr(who ranklist.Who, s string) {
	e := text(who, s)
	e.Name = "stderr"
	f.add(e)
}

func (f *folding) fail(who ranklist.Who, evalue string) {
	f.add(&event.Failure{
		Header: event.HeaderOf(event.KindError, "r1", new(1), who),
		EName:  "ValueError", EValue: evalue, Traceback: []string{"Traceback", "ValueError: " + evalue},
	})
}

func (f *folding) result(who ranklist.Who, s string) {
	f.add(&event.Result{Header: event.HeaderOf(event.KindResult, "r1", new(1), who), ExecutionCount: 10, Data: eventtest.Plain(s)})
}

// sleep lets time pass, with a Flush at every deadline.
func (f *folding) sleep(d time.Duration) {
	end := f.now.Add(d)
	for {
		t, ok := f.f.Deadline()
		if !ok || t.After(end) {
			f.now = end
			return
		}
		f.now = t
		f.items = append(f.items, f.f.Flush(f.now)...)
	}
}

func (f *folding) finish(status event.Status, reason string) {
	f.add(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "r1", Cell: new(1)}, Status: status, Reason: reason})
}

// shown returns what was shown since the last call.
func (f *folding) shown() []string {
	var lines []string
	for _, it := range f.items {
		lines = append(lines, it.String())
	}
	f.items = nil
	return lines
}

func (f *folding) live() []string {
	var lines []string
	for _, l := range f.f.Live() {
		lines = append(lines, l.Prefix+l.Text)
	}
	return lines
}

func TestFoldSameLines(t *testing.T) {
	f := newFolding(4, "all")
	for rank := range 4 {
		f.print(of(rank), "epoch 1\n")
		if rank < 3 {
			eventtest.SameLines(t, f.shown())
		}
	}
	eventtest.SameLines(t, f.shown(), "[0-3] epoch 1")

	f.print(of(0), "epoch 2\n")
	f.print(of(1), "epoch 2\nwarning\nepoch 3\n")
	f.print(of(3), "epoch 2\nepoch 3\n")
	f.sleep(99 * time.Millisecond)
	eventtest.SameLines(t, f.shown())
	f.sleep(time.Millisecond)
	eventtest.SameLines(t, f.shown(), "[0-1,3] epoch 2", "[1] warning", "[1,3] epoch 3")
	f.print(of(2), "epoch 2\nepoch 3\n")
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "[2] epoch 2", "[2] epoch 3")
}

func TestFoldShowsRanksInOrder(t *testing.T) {
	f := newFolding(3, "all")
	for _, rank := range []int{2, 0, 1} { // a few milliseconds apart, as ranks are
		f.print(of(rank), fmt.Sprintf("pid %d\nlr %d\n", 100+rank, rank))
		f.sleep(10 * time.Millisecond)
	}
	f.sleep(100 * time.Millisecond)
	eventtest.SameLines(t, f.shown(), "[0] pid 100", "[0] lr 0", "[1] pid 101", "[1] lr 1", "[2] pid 102", "[2] lr 2")

	for _, rank := range []int{1, 2, 0} {
		f.print(of(rank), fmt.Sprintf("end %d\n", rank))
	}
	f.finish(event.StatusOK, "")
	eventtest.SameLines(t, f.shown(), "[0] end 0", "[1] end 1", "[2] end 2")
}

func TestFoldDoesNotWaitForRanksThatAreDone(t *testing.T) {
	f := newFolding(3, "all")
	f.state(of(2), event.StateReady, "")
	f.print(of(0), "a\n")
	f.print(of(1), "a\n")
	eventtest.SameLines(t, f.shown(), "[0-1] a")
	f.print(of(0), "b\n")
	f.state(of(1), event.StateReady, "")
	eventtest.SameLines(t, f.shown(), "[0] b")
}

func TestFoldKeepsTheOrderOfARank(t *testing.T) {
	f := newFolding(2, "all")
	f.print(of(0), "x\ny\n")
	f.print(of(1), "y\nx\n")
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "[0] x", "[0-1] y", "[1] x")

	f.print(of(0), "a\n")
	f.stderr(of(0), "b\n")
	f.stderr(of(1), "a\n")
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "[0] a", "[0] b", "[1] a")
}

func TestFoldOneRankSeen(t *testing.T) {
	f := newFolding(4, "2")
	for rank := range 4 {
		f.print(of(rank), fmt.Sprintf("I am %d\n", rank))
		f.result(of(rank), "x")
		f.fail(of(rank), "abcd"[rank/2:rank/2+1])
	}
	f.finish(event.StatusError, "")
	eventtest.SameLines(t, f.shown(), "I am 2", "Out[2:10]: x",
		"[0-1] Traceback\n[0-1] ValueError: a",
		"[2-3] Traceback\n[2-3] ValueError: b")
}

func TestFoldLocal(t *testing.T) {
	f := newFolding(0, "0")
	f.print(ranklist.Local, "first\nsecond, not ")
	eventtest.SameLines(t, f.shown(), "first")
	eventtest.SameLines(t, f.live(), "second, not ")
	f.print(ranklist.Local, "yet\n")
	f.result(ranklist.Local, "42")
	f.fail(ranklist.Local, "local")
	eventtest.SameLines(t, f.shown(), "second, not yet", "Out[10]: 42", "Traceback\nValueError: local")
}

// A value of several lines begins on a line of its own, so that its rows line up. transcript.test.ts has the same text.
func TestFoldResultOfSeveralLines(t *testing.T) {
	const array = "array([[0, 1],\n       [2, 3]])"
	f := newFolding(0, "0")
	f.result(ranklist.Local, array)
	eventtest.SameLines(t, f.shown(), "Out[10]:\narray([[0, 1],\n       [2, 3]])")
	f = newFolding(2, "all")
	f.result(of(0), array)
	f.result(of(1), array)
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "Out[0:10]:\narray([[0, 1],\n       [2, 3]])", "Out[1:10]:\narray([[0, 1],\n       [2, 3]])")
}

func TestFoldResults(t *testing.T) {
	f := newFolding(3, "all")
	for _, rank := range []int{2, 0, 1} {
		f.print(of(rank), fmt.Sprintf("pid %d\n", 100+rank))
		f.result(of(rank), fmt.Sprintf("value %d", rank))
	}
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "[0] pid 100", "[1] pid 101", "[2] pid 102",
		"Out[0:10]: value 0", "Out[1:10]: value 1", "Out[2:10]: value 2")
}

func TestFoldFailures(t *testing.T) {
	f := newFolding(4, "0")
	f.fail(of(1), "bad")
	f.fail(of(3), "bad")
	f.fail(of(0), "worse")
	f.sleep(100 * time.Millisecond) // rank 2 is still at it
	eventtest.SameLines(t, f.shown(), "[0] Traceback\n[0] ValueError: worse", "[1,3] Traceback\n[1,3] ValueError: bad")
	f.fail(of(2), "bad")
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "[2] ValueError: bad (as on rank 1)")
}

// Failures that differ by numbers and addresses are one, with what differs.
func TestFoldFailuresApart(t *testing.T) {
	f := newFolding(4, "0")
	f.fail(of(0), "sizes differ:\nloss -1.5e-07 of <Net at 0x7f00aa> on cuda:0")
	f.fail(of(1), "sizes differ:\nloss nan of <Net at 0x7f00bb> on cuda:1")
	f.fail(of(3), "sizes differ:\nloss nan of <Net at 0x7f00bb> on cuda:1")
	f.sleep(time.Second) // rank 2 is still at it
	eventtest.SameLines(t, f.shown(), "[0-1,3] Traceback\n[0-1,3] ValueError: sizes differ:\n[0-1,3] loss -1.5e-07 of <Net at 0x7f00aa> on cuda:0\n"+
		"[0-1,3] rank 0: loss -1.5e-07 of <Net at 0x7f00aa> on cuda:0\n[0-1,3] ranks 1,3: loss nan of <Net at 0x7f00bb> on cuda:1")
	f.fail(of(2), "sizes differ:\nloss 7 of <Net at 0x7f00cc> on cuda:2")
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "[2] ValueError: sizes differ: (as on rank 0)\n[2] rank 2: loss 7 of <Net at 0x7f00cc> on cuda:2")
	f = newFolding(64, "0")
	for rank := range 64 {
		f.fail(of(rank), fmt.Sprintf("loss %d", rank))
	}
	if got := strings.Count(strings.Join(f.shown(), "\n"), "\n"); got != 1+maxApart+1 {
		t.Errorf("%d lines", got+1)
	}
}

// A quiet run shows a failure at once and everything else at its end, bounded.
func TestFoldQuiet(t *testing.T) {
	f := &folding{f: NewFolder(FoldOptions{}), now: time.Unix(0, 0)}
	f.add(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r1"}, See: "all", Quiet: true})
	f.state(of(0), event.StateBusy, "")
	f.print(of(0), "epoch 1\nbar 50%")
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown())
	if live := f.f.Live(); len(live) > 0 {
		t.Errorf("live: %+v", live)
	}
	f.result(of(0), "noise")
	f.fail(of(0), "heard")
	eventtest.SameLines(t, f.shown(), "Traceback\nValueError: heard")
	f.finish(event.StatusError, "")
	eventtest.SameLines(t, f.shown(), "epoch 1", "bar 50%", "Out[0:10]: noise")
	f.print(of(0), "late\n")
	eventtest.SameLines(t, f.shown(), "late")

	f = &folding{f: NewFolder(FoldOptions{}), now: time.Unix(0, 0)}
	f.add(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r1"}, See: "all", Quiet: true})
	f.state(of(0), event.StateBusy, "")
	const kept = heldBytes / maxLine
	line := strings.Repeat("x", maxLine-entryBytes)
	f.print(of(0), "first\n"+strings.Repeat(line+"\n", kept)+"last\n")
	f.finish(event.StatusOK, "")
	shown := f.shown()
	eventtest.SameLines(t, shown[:1], "the first 2 lines of this quiet cell are left out here; its journal has them")
	if len(shown) != 1+kept || shown[1] != line || shown[kept] != "last" {
		t.Errorf("%d items are shown, the last one is %.10s", len(shown), shown[len(shown)-1])
	}

	// The data of rich output is not held: a text of a few bytes may come with megabytes.
	f = &folding{f: NewFolder(FoldOptions{}), now: time.Unix(0, 0)}
	f.add(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r1"}, See: "all", Quiet: true})
	f.state(of(0), event.StateBusy, "")
	picture := &event.Display{
		Header: event.HeaderOf(event.KindDisplay, "r1", new(1), of(0)),
		Data:   map[string]json.RawMessage{"image/png": json.RawMessage(`"iVBO"`)}, Files: map[string]string{"image/png": "rank-0-1.png"},
	}
	f.add(picture)
	f.state(of(0), event.StateReady, "")
	held := f.f.runs[0].held
	if len(held) != 1 || len(held[0].Event.(*event.Display).Data) > 0 || held[0].Event.(*event.Display).Files["image/png"] == "" || len(picture.Data) != 1 {
		t.Errorf("held is %+v of %+v", held, picture)
	}
	f.finish(event.StatusOK, "")
	eventtest.SameLines(t, f.shown(), "<image/png> [rank-0-1.png]")
}

func TestFoldDeath(t *testing.T) {
	f := newFolding(3, "all")
	f.print(of(1), "last words\nwithout end")
	f.state(of(1), event.StateDead, "rank 1 was killed by SIGKILL")
	f.add(&event.PoolState{State: event.StateDead, Reason: "rank 1 was killed by SIGKILL"})
	f.finish(event.StatusDied, "rank 1 was killed by SIGKILL")
	f.add(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "r2"}, Target: "local", See: "0"})
	f.add(&event.PoolState{State: event.StateDead, Reason: "rank 1 was killed by SIGKILL", Autodip: "%%dip"}) // the same pool's
	f.add(&event.PoolState{State: event.StateStopped})
	eventtest.SameLines(t, f.shown(), "[1] last words", "[1] without end", "rank 1 was killed by SIGKILL")
	f.add(&event.PoolState{State: event.StateStarting})
	f.add(&event.PoolState{State: event.StateDead, Reason: "rank 1 was killed by SIGKILL"}) // the next pool's
	f.add(event.NewLog(event.LevelError, "rank 1 was killed by SIGKILL"))                   // as of a session that is gone
	eventtest.SameLines(t, f.shown(), "rank 1 was killed by SIGKILL")
}

// A host that is lost takes its ranks along: that is one sentence, and not one for each of them.
func TestFoldDeathsOfAHost(t *testing.T) {
	f := newFolding(0, "all")
	for rank := range 6 {
		f.add(&event.RankState{Header: event.HeaderOf(event.KindRankState, "r1", new(1), of(rank)), State: event.StateBusy, Host: []string{"h1", "h2"}[rank/2%2]})
	}
	lost := func(rank int) string { return fmt.Sprintf("rank %d (h2) died: host h2 lost", rank) }
	f.state(of(3), event.StateDead, lost(3))
	f.add(&event.PoolState{State: event.StateDead, Reason: lost(3)})
	f.state(of(2), event.StateDead, lost(2))
	eventtest.SameLines(t, f.shown())
	f.sleep(time.Second)
	eventtest.SameLines(t, f.shown(), "ranks 2-3 (h2) died: host h2 lost")
	f.state(of(0), event.StateDead, "rank 0 (h1) died: host h1 lost")
	f.finish(event.StatusDied, lost(3))
	eventtest.SameLines(t, f.shown(), "rank 0 (h1) died: host h1 lost")
}

func TestFoldReasonAndLateOutput(t *testing.T) {
	f := newFolding(2, "0")
	f.print(of(0), "on time\n")
	f.finish(event.StatusInterrupted, "timed out after 30s")
	f.print(of(0), "late\n")
	f.print(of(1), "late but unseen\n")
	f.add(event.NewLog(event.LevelInfo, "a sentence"))
	eventtest.SameLines(t, f.shown(), "on time", "timed out after 30s", "late", "a sentence")
	for i := range 2 * keptRuns { // memory is bounded
		h := event.Header{Run: fmt.Sprint(i)}
		f.add(&event.RunStarted{Header: h, See: "0"})
		f.add(&event.RunFinished{Header: h, Status: event.StatusOK})
	}
	if n := len(f.f.runs); n > keptRuns+1 {
		t.Errorf("%d runs are kept", n)
	}
}

// tqdm 4's own bytes.
const (
	tqdmBar   = "\r  0%|    | 0/3 [00:00<?, ?it/s]\r 33%|3| 1/3 [00:00<00:00]\r 67%|#3| 2/3 [00:00<00:00]\r100%|##| 3/3 [00:00<00:00]\n"
	tqdmInner = "\n\ri:   0%| | 0/2\x1b[A\n\ri:  50%|5| 1/2\x1b[A\n\ri: 100%|#| 2/2\x1b[A\n\r              \x1b[A"
)

func TestFoldProgressBars(t *testing.T) {
	f := newFolding(2, "all")
	for i := range len(tqdmBar) - 1 {
		f.stderr(of(0), tqdmBar[i:i+1])
		f.sleep(time.Second)
	}
	f.stderr(of(1), "\r 33%|3| 1/3 [00:00<00:00]")
	eventtest.SameLines(t, f.shown())
	eventtest.SameLines(t, f.live(), "[0] 100%|##| 3/3 [00:00<00:00]", "[1]  33%|3| 1/3 [00:00<00:00]")
	f.stderr(of(1), "\r100%|##| 3/3 [00:00<00:00]")
	eventtest.SameLines(t, f.live(), "[0-1] 100%|##| 3/3 [00:00<00:00]")
	f.stderr(of(0), "\n")
	f.stderr(of(1), "\n")
	f.sleep(100 * time.Millisecond)
	eventtest.SameLines(t, f.shown(), "[0-1] 100%|##| 3/3 [00:00<00:00]")
	eventtest.SameLines(t, f.live())
}

// A finished bar on one stream comes before what was printed on the other after it.
func TestFoldKeepsBarsInTheirPlace(t *testing.T) {
	f := newFolding(0, "0")
	f.print(ranklist.Local, "before\n")
	f.stderr(ranklist.Local, tqdmBar)
	f.print(ranklist.Local, "after\nno end")
	f.result(ranklist.Local, "42")
	eventtest.SameLines(t, f.shown(), "before", "100%|##| 3/3 [00:00<00:00]", "after", "no end", "Out[10]: 42")
}

func TestFoldNestedProgressBars(t *testing.T) {
	f := newFolding(1, "0")
	f.stderr(of(0), "\ro:   0%| | 0/2"+tqdmInner+"\ro:  50%|5| 1/2")
	f.sleep(time.Second)
	f.stderr(of(0), "\n\ri:   0%| | 0/2")
	eventtest.SameLines(t, f.live(), "o:  50%|5| 1/2", "i:   0%| | 0/2")
	f.stderr(of(0), "\x1b[A")
	f.sleep(time.Second)
	f.stderr(of(0), tqdmInner)
	eventtest.SameLines(t, f.shown())
	f.stderr(of(0), "\ro: 100%|#| 2/2\nafter\n")
	f.finish(event.StatusOK, "")
	eventtest.SameLines(t, f.shown(), "o: 100%|#| 2/2", "after")
}

func TestScreen(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a\nb\n", "a|b"},
		{"a\r\nb\r\n", "a|b"},
		{"\n\nx", "||x"},
		{"abc\rx\n", "x"},
		{"abc\r\x1b[Kx\n", "x"},
		{"abc\x1b[2K\rx\n", "x"},
		{"abc\x1b[1Gx\n", "x"},
		{"bar\r    \r\n", ""},
		{"\x1b[31mred\nstill\x1b[0m not\n", "\x1b[31mred\x1b[0m|\x1b[31mstill\x1b[0m not"},
		{"\x1b[1mbold\n\x1b[0m", "\x1b[1mbold\x1b[0m"},
		{"\x1b[31m\x1b[0mplain\n", "plain"},
		{"\x1b]0;title\atext\x1b[?25l\n", "text"},
		{"\x1b[2J\x1b[Hclear\n", "clear"},
		{"nul\x00 esc\x1bc del\x7f \u0085\n", "nul␀ esc del␡ �"},
		{"back\b\b\b\b\rforth\n", "forth"},
		{"1\n\r2\x1b[A\r1b\n\n", "1|1b|2"}, // what was printed plainly is final
	} {
		var got []string
		var s screen
		emit := func(line string) { got = append(got, line) }
		s.write(c.in, emit)
		s.finish(emit)
		if j := strings.Join(got, "|"); j != c.want {
			t.Errorf("%q: got %q, want %q", c.in, j, c.want)
		}
	}
}

// Where the text is cut must not matter, what is held must be bounded, and plain text must come out as it is.
func FuzzScreen(f *testing.F) {
	for _, s := range []string{tqdmBar, tqdmInner, "a\nb\x1b[31mc\n", "\x1b]0;x\a\x1b[3A\r\x1b[2K", strings.Repeat("\r\n\x1b[A", 50)} {
		f.Add(s, uint64(0x5555))
	}
	f.Fuzz(func(t *testing.T, in string, cuts uint64) {
		in = strings.ToValidUTF8(in, "?")
		var whole, pieces []string
		var s1, s2 screen
		emit := func(line string) { whole = append(whole, line) }
		s1.write(in, emit)
		s1.finish(emit)
		emit = func(line string) { pieces = append(pieces, line) }
		begin := 0
		for i := range in { // at characters only
			if cuts>>(i%64)&1 == 1 {
				s2.write(in[begin:i], emit)
				begin = i
			}
			if len(s2.rows) > maxRows+1 || len(s2.colours) > maxColour {
				t.Fatalf("%d rows, %d bytes of colours", len(s2.rows), len(s2.colours))
			}
		}
		s2.write(in[begin:], emit)
		s2.finish(emit)
		if !slices.Equal(whole, pieces) {
			t.Errorf("whole %q, in pieces %q", whole, pieces)
		}
		steers := func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }
		if visible(in) == strings.ReplaceAll(visible(in), "\u2400", "") && !strings.ContainsFunc(in, steers) && in != "" && len(in) < maxLine {
			if len(whole) != 1 || whole[0] != in {
				t.Errorf("plain %q came out as %q", in, whole)
			}
		}
	})
}

// Whatever the streams and their timing are, a rank's lines come out in its order, none is lost, and none comes twice.
func TestFoldLosesNothing(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		size := 2 + rng.IntN(6)
		f := newFolding(size, "all")
		said := make([][]string, size)
		left := make([]string, size) // what a rank has yet to print
		words := 1 + rng.IntN(30)
		for rank := range size {
			for range rng.IntN(60) {
				line := fmt.Sprintf("line %d", rng.IntN(words))
				if rng.IntN(8) == 0 {
					line = ""
				}
				said[rank] = append(said[rank], line)
				left[rank] += line + "\n"
			}
		}
		for slices.ContainsFunc(left, func(s string) bool { return s != "" }) {
			rank := rng.IntN(size)
			n := min(len(left[rank]), rng.IntN(40))
			f.print(of(rank), left[rank][:n])
			left[rank] = left[rank][n:]
			if rng.IntN(4) == 0 {
				f.sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
			}
			if left[rank] == "" && rng.IntN(2) == 0 {
				f.state(of(rank), event.StateReady, "")
			}
		}
		f.finish(event.StatusOK, "")
		got := make([][]string, size)
		for _, it := range f.items {
			for _, rank := range it.Ranks {
				got[rank] = append(got[rank], it.Text)
			}
		}
		for rank := range size {
			if !slices.Equal(got[rank], said[rank]) {
				t.Fatalf("seed %d, rank %d: got %q, want %q", seed, rank, got[rank], said[rank])
			}
		}
		if _, ok := f.f.Deadline(); ok || len(f.f.Live()) > 0 {
			t.Fatalf("seed %d: something is left", seed)
		}
	}
}

// Identical streams, however they are cut and delayed within the window, fold to one.
func TestFoldIdenticalStreams(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		size := 2 + rng.IntN(6)
		f := newFolding(size, "all")
		var want []string
		stream := ""
		for range 200 {
			line := fmt.Sprintf("line %d", rng.IntN(20))
			want = append(want, fmt.Sprintf("[0-%d] %s", size-1, line))
			stream += line + "\n"
		}
		at := make([]int, size)
		for begin := 0; begin < len(stream); begin += 100 { // every rank prints the next 100 bytes within the window
			end := min(begin+100, len(stream))
			for _, rank := range rng.Perm(size) {
				f.print(of(rank), stream[at[rank]:end])
				at[rank] = end
				f.now = f.now.Add(time.Millisecond)
			}
		}
		f.finish(event.StatusOK, "")
		if got := f.shown(); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s", seed, strings.Join(got, "\n"))
		}
	}
}

func TestFoldMemoryIsBounded(t *testing.T) {
	f := newFolding(2, "all")
	line := strings.Repeat("x", 1000) + "\n"
	for range 5000 { // rank 1 says nothing, and no time passes
		f.print(of(0), line)
	}
	p := f.f.runs[0].procs[of(0)]
	if p.bytes > maxWaiting || len(f.items) < 3000 {
		t.Errorf("%d bytes wait, %d lines were shown", p.bytes, len(f.items))
	}
	f.print(of(1), strings.Repeat("y", 10*maxLine))
	if n := len(p.r.procs[of(1)].screens[0].rows[0].text); n > maxLine {
		t.Errorf("a line of %d bytes is kept", n)
	}
	for i := range 100000 {
		f.stderr(of(1), "\n")
		f.stderr(of(0), "\n")
		if i%100 == 0 {
			f.shown()
		}
	}
	for _, c := range p.r.classes {
		if len(c.deep) > 4*c.n+2*scan {
			t.Errorf("%d entries are remembered of a class of %d", len(c.deep), c.n)
		}
	}
}

func BenchmarkFold(b *testing.B) {
	for _, c := range []struct {
		name  string
		size  int
		equal bool
	}{{"8-same", 8, true}, {"8-different", 8, false}, {"1024-same", 1024, true}, {"1024-different", 1024, false}} {
		b.Run(c.name, func(b *testing.B) {
			f := newFolding(c.size, "all")
			events := make([]*event.Stream, c.size)
			n := 0
			for rank := range c.size {
				var s strings.Builder
				for i := range 10 {
					if c.equal {
						fmt.Fprintf(&s, "step %d: a line of the usual length, with a loss of 0.12345\n", i)
					} else {
						fmt.Fprintf(&s, "rank %d, step %d: a line of the usual length, with a loss of 0.12345\n", rank, i)
					}
				}
				events[rank] = text(of(rank), s.String())
				n += len(events[rank].Text)
			}
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				for _, e := range events {
					f.add(e)
				}
				f.sleep(time.Second)
				f.items = f.items[:0]
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(c.size*10), "ns/line")
		})
	}
}

// A finding is shown once, with what corrects it and when it is over; one that nobody has seen ends unseen.
func TestFoldHang(t *testing.T) {
	f := newFolding(4, "0")
	found := func(number int, level event.Level, text string, gone bool) {
		e := &event.Hang{Header: event.Header{Kind: event.KindHang, Run: "r1", Cell: new(1)}, Hang: number, Level: level, Text: text, Gone: gone}
		if text == "ranks 1-3 wait" {
			e.Operation, e.Sequence = "all_reduce", 17
		}
		f.add(e)
	}
	found(1, event.LevelInfo, "rank 0 is in save()", false)
	found(1, event.LevelInfo, "rank 0 is in save()", false)
	found(1, event.LevelWarning, "ranks 1-3 wait", false)
	found(2, event.LevelWarning, "ranks 1-3 wait", false) // another one
	found(3, "", "unseen", true)
	found(1, "", "ranks 1-3 wait", true)
	found(1, event.LevelWarning, "ranks 1-3 wait", false) // again
	found(1, "", "", true)
	found(5, event.LevelInfo, "rank 0 is in load()", false)
	found(5, "", "rank 0 is in load()", true)
	for i := range 20 {
		found(8, event.LevelInfo, fmt.Sprintf("rank 3 computes (%d %% of a core)", 80+i), false)
	}
	found(8, "", "", true)
	for i := range 20 {
		found(4, event.LevelInfo, fmt.Sprint("slow ", i), false)
	}
	found(6, event.LevelInfo, "rank 0 is in load()", false) // as before
	found(6, "", "rank 0 is in load()", true)
	found(4, event.LevelWarning, "stuck", false)
	f.state(of(1), event.StateInterrupting, "")
	found(4, event.LevelWarning, "stuck in other words", false)
	found(4, "", "stuck", true) // by the interrupt
	found(7, event.LevelWarning, "stuck still", false)
	var got []string
	for _, it := range f.items {
		if it.Kind != ItemNotice || it.Prefix != "" {
			t.Errorf("%+v", it)
		}
		got = append(got, it.Text)
	}
	eventtest.SameLines(t, got, "rank 0 is in save()", "hang? ranks 1-3 wait",
		"hang? ranks 1-3 wait", "the ranks go on (all_reduce #17)", "hang? ranks 1-3 wait", "the ranks go on (all_reduce #17)",
		"rank 0 is in load()", "the ranks go on", "rank 3 computes (80 % of a core)", "the ranks go on",
		"slow 0", "slow 1", "slow 2", "slow 3", "slow 4", "hang? stuck", "hang? stuck still")
}

func text(who ranklist.Who, s string) *event.Stream {
	return &event.Stream{Header: event.HeaderOf(event.KindStream, "r1", new(1), who), Name: event.Stdout, Text: s}
}
