package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/session"
)

// oneSession is where a single session is.
type oneSession struct {
	session.API
	about session.About
	ended *session.Ended // the one before
	asked []session.AttachRequest
}

func (o *oneSession) Attach(_ context.Context, r session.AttachRequest) (*session.Attachment, error) {
	o.asked = append(o.asked, r)
	return &session.Attachment{API: staying{o.API}, About: o.about, Ended: o.ended}, nil
}

func (*oneSession) List(context.Context) ([]session.Listed, error) { return nil, nil }

func (*oneSession) Find(context.Context, session.AttachRequest) (session.Listed, error) {
	return session.Listed{}, nil
}

func (*oneSession) Stop(context.Context, session.Listed, string) error { return nil }

// staying is a session that outlives its fronts.
type staying struct{ session.API }

func (staying) Detach(context.Context) error { return nil }

// host makes a session of goroutines the one that commands find, with two ranks, and runs a first cell there.
func host(t *testing.T) *oneSession {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := sessiontest.New(t, fakerank.NewHost(fakerank.Config{}), t.TempDir())
	o := &oneSession{API: s, about: session.About{Name: "tr ain", Dir: t.TempDir(), Python: "python"}}
	before := openSessions
	openSessions = func() sessionFinder { return o }
	t.Cleanup(func() { openSessions = before })
	by := session.Caller{Settings: session.Settings{Python: sessiontest.Interpreter(t), Pool: session.Choice{Ranks: 2}, Trust: session.TrustYes}}
	runs, err := s.Start(t.Context(), by, session.Sequence{Cells: []session.Cell{{Code: "print other", Line: 1, Target: cells.Target{Where: cells.Remote}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(sessiontest.Context(t), runs[0]); err != nil {
		t.Fatal(err)
	}
	return o
}

// dipls runs a command in this process.
func dipls(args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	code = run(args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestExec(t *testing.T) {
	host(t)
	file := filepath.Join(t.TempDir(), "a ü:b.py")
	if err := os.WriteFile(file, []byte("# %% A\nprint one\n# %% dé: x\nprint two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{[]string{"-c", "print a\nresult 3"}, 0, "a\nOut[1]: 3\n", "── print a · local\n✓"},
		{[]string{"-c", "rank", "--on", "remote", "--see", "all"}, 0, "[0] 0\n[1] 1\n", "✓ 2 ranks"},
		{[]string{"-c", "rank", "--on", "ranks:1"}, 0, "1\n", ""},
		{[]string{"-c", "rank", "--on", "ranks:2"}, 2, "", "the pool has 2 ranks"},
		{[]string{"-c", "error ValueError bad"}, 1, "", "✗ error ValueError bad: ValueError"},
		{[]string{file}, 0, "one\ntwo\n", "── cell 2 dé: x"},
		{[]string{file + ":2"}, 0, "two\n", ""},
		{[]string{file + ":dé: x"}, 0, "two\n", ""},
		{[]string{file + ":3"}, 2, "", "there is no cell 3"},
		{[]string{file + "x:1"}, 2, "", "a ü: no such file or directory"},
		{[]string{file, "-c", "print a"}, 2, "", "takes one of -c CODE"},
		{[]string{"-c", ""}, 0, "", "there is no code to run"},
	} {
		code, out, errOut := dipls(append([]string{"exec"}, test.args...)...)
		if code != test.code || out != test.out || !strings.Contains(errOut, test.err) {
			t.Errorf("%q: exit code %d\n%s%s", test.args, code, out, errOut)
		}
	}
	if code, _, errOut := dipls("exec", "-c", "exit 7"); code != exitPool {
		t.Errorf("a death: exit code %d\n%s", code, errOut)
	}
}

// How the last session ended is told once: so with the way to what its cells have printed.
func TestGuestAfterEnd(t *testing.T) {
	o := host(t)
	o.ended = &session.Ended{Name: "train", Why: "the machine was restarted", Journal: "/j/runs"}
	code, _, errOut := dipls("exec", "-c", "print a")
	const want = "this session is new: the one before it here, train, has ended (the machine was restarted); journals are in /j/runs\n"
	if code != 0 || !strings.HasPrefix(errOut, want) {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// Who leaves a run because its output cannot be written says so.
func TestExecWithoutRoom(t *testing.T) {
	for _, format := range [][]string{nil, {"--json"}} {
		host(t) // the run goes on: another one would wait for it
		var errOut bytes.Buffer
		code := run(append([]string{"exec", "-c", "print on\nwait"}, format...), fullDisk{}, &errOut)
		if text := errOut.String(); code != exitFailed || !strings.Contains(text, "cannot write the output") || !strings.Contains(text, "left; the run goes on") {
			t.Errorf("%q: exit code %d\n%s", format, code, text)
		}
	}
}

// guestOf is a guest in a session, with what it has shown.
func guestOf(t *testing.T, o *oneSession) (g *guest, ctx context.Context, text *bytes.Buffer) {
	t.Helper()
	cmd := newExec()
	text = new(bytes.Buffer)
	cmd.SetOut(text)
	flags := frontFlags{hangTimeout: orOff{off: true, said: true}}
	g, ctx, err := visit(cmd, &flags, nil, &screen{w: text}, &session.Attachment{API: staying{o.API}, About: o.about})
	if err != nil {
		t.Fatal(err)
	}
	return g, ctx, text
}

// runsCode has a guest run code on the ranks, and stay until its end, which comes.
func runsCode(ctx context.Context, t *testing.T, g *guest, code string) (ended <-chan error) {
	t.Helper()
	f := execFlags{code: code}
	p, err := f.plan(source{name: "-c", text: cells.Parse(f.code)}, must(selectCells(cells.Parse(f.code), "", nil)), "on")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		end <- g.stay(ctx, func(ctx context.Context, g *guest) error {
			return g.cells(ctx, g.caller(ctx, session.Settings{}), p, false, false)
		})
	}()
	return end
}

// What the user presses interrupts the guest's own run, and no other one; or it leaves, and the run goes on.
func TestGuestPressed(t *testing.T) {
	for _, test := range []struct {
		name    string
		presses []os.Signal
		code    int
		ended   bool // the guest's run
		said    string
	}{
		{"Ctrl-C", []os.Signal{os.Interrupt}, exitInterrupted, true, "interrupting; Ctrl-C again frees"},
		{"three times", []os.Signal{os.Interrupt, os.Interrupt, os.Interrupt}, exitInterrupted, true, "left; the run goes on"},
		{"quit", []os.Signal{syscall.SIGQUIT}, exitOK, false, "This comes back to it:\ndipls attach 'tr ain' --from "},
		{"term", []os.Signal{syscall.SIGTERM}, exitInterrupted, false, "dipls attach 'tr ain' --from "},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := host(t)
			other, err := o.Start(t.Context(), session.Caller{}, session.Sequence{Cells: []session.Cell{
				{Code: "wait", Line: 1, Target: cells.Target{Where: cells.Remote}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			seen := sessiontest.Subscribe(t, o.API, session.SubscribeRequest{})
			g, ctx, text := guestOf(t, o)
			ended := runsCode(ctx, t, g, "print on\nwait")
			printed := seen.Await("on", func(ev event.Event) bool {
				out, ok := ev.(*event.Stream)
				return ok && out.Text == "on\n"
			})
			press := g.pressed()
			for _, s := range test.presses {
				press(s)
			}
			err = <-ended
			if code := codeOf(err); code != test.code || !strings.Contains(text.String(), test.said) {
				t.Errorf("exit code %d\n%s", code, text)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if test.ended {
				ctx = sessiontest.Context(t)
			}
			if _, err := o.Wait(ctx, printed.Head().Run); (err == nil) != test.ended {
				t.Errorf("the guest's run: %v", err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := o.Wait(ctx, other[0]); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("another run was interrupted: %v", err)
			}
		})
	}
}

// standsStill is a session that answers nothing any more when a run is to be started.
type standsStill struct {
	session.API
	asked chan struct{}
}

func (s standsStill) Start(ctx context.Context, _ session.Caller, _ session.Sequence) ([]string, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// A session that answers nothing can be left, also by a user who has first wanted an interrupt, and was told why there is none.
func TestGuestOfSessionThatStandsStill(t *testing.T) {
	before := cancelPatience
	cancelPatience = time.Millisecond
	t.Cleanup(func() { cancelPatience = before })
	for _, test := range []struct {
		first  os.Signal
		signal os.Signal
		want   int
	}{
		{nil, syscall.SIGQUIT, exitOK}, {nil, syscall.SIGTERM, exitInterrupted}, {os.Interrupt, syscall.SIGQUIT, exitOK},
	} {
		o := host(t)
		asked := make(chan struct{})
		o.API = standsStill{o.API, asked}
		g, ctx, text := guestOf(t, o)
		ended := runsCode(ctx, t, g, "print on")
		<-asked
		press := g.pressed()
		if test.first != nil {
			press(test.first)
			for told := false; !told; runtime.Gosched() {
				g.errOut.mu.Lock()
				told = strings.Contains(text.String(), "the session does not answer")
				g.errOut.mu.Unlock()
			}
		}
		press(test.signal)
		if code := codeOf(<-ended); code != test.want || !strings.Contains(text.String(), "left before the session has answered") {
			t.Errorf("%v: exit code %d\n%s", test, code, text)
		}
	}
}

// silent is a session that answers no question about itself, until it is asked often enough.
type silent struct {
	session.API
	asked *atomic.Int32
}

func (s silent) About(ctx context.Context, memory bool) (session.About, error) {
	if s.asked.Add(1) <= 2 {
		return session.About{}, context.DeadlineExceeded
	}
	return s.API.About(ctx, memory)
}

// Who waits for a run is told once when the session does not answer, and when it does again.
func TestGuestHearsSilence(t *testing.T) {
	before := listenEvery
	listenEvery = time.Millisecond
	t.Cleanup(func() { listenEvery = before })
	o := host(t)
	o.API = silent{o.API, new(atomic.Int32)}
	g, ctx, text := guestOf(t, o)
	err := g.stay(ctx, func(_ context.Context, g *guest) error {
		for told := false; !told; runtime.Gosched() {
			g.errOut.mu.Lock()
			told = strings.Contains(text.String(), "the session answers again")
			g.errOut.mu.Unlock()
		}
		return nil
	})
	if n := strings.Count(text.String(), "the session does not answer"); err != nil || n != 1 {
		t.Errorf("%v, told %d times:\n%s", err, n, text)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// codeOf is the exit code of an error.
func codeOf(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	if err != nil {
		return exitFailed
	}
	return exitOK
}

// A feed has the runs that were begun, what their cells ask for, and what belongs to no run; whatever comes before their ids are known is kept.
func TestFeed(t *testing.T) {
	o := host(t)
	sub, err := o.Subscribe(t.Context(), session.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed(sub)
	defer f.Close()
	by := session.Caller{}
	other, err := o.Start(t.Context(), by, session.Sequence{Cells: []session.Cell{{Code: "print other", Line: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Wait(sessiontest.Context(t), other[0]); err != nil {
		t.Fatal(err)
	}
	runs, err := f.begin(func() ([]string, error) {
		runs, err := o.Start(t.Context(), by, session.Sequence{Cells: []session.Cell{{Code: "print mine", Line: 1}}})
		if err == nil {
			_, err = o.Wait(sessiontest.Context(t), runs[0])
		}
		f.say(event.LevelInfo, "said")
		return runs, err
	})
	if err != nil {
		t.Fatal(err)
	}
	var said, mine bool
	for {
		events, err := f.Next(sessiontest.Context(t))
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if run := ev.Head().Run; run != "" && run != runs[0] {
				t.Errorf("of another run: %+v", ev)
			}
			log, ok := ev.(*event.Log)
			said = said || ok && log.Text == "said"
			out, ok := ev.(*event.Stream)
			mine = mine || ok && out.Text == "mine\n"
		}
	}
	if !said || !mine {
		t.Errorf("said %t, printed %t", said, mine)
	}
}

// scripted is a subscription to events that are there.
type scripted struct {
	session.Subscription
	events []event.Event
}

func (s *scripted) Next(ctx context.Context) ([]event.Event, error) {
	if len(s.events) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n := min(len(s.events), 3)
	defer func() { s.events = s.events[n:] }()
	return s.events[:n], nil
}

func (*scripted) Close() {}

// What a slow reader has missed comes from the journal, all of it and once; if the journal does not have it, the reader is told.
func TestFeedFillsGaps(t *testing.T) {
	store := journal.Open(journal.Options{Dir: filepath.Join(t.TempDir(), "runs")})
	t.Cleanup(func() { store.Close() })
	s := sessiontest.New(t, fakerank.NewHost(fakerank.Config{}), t.TempDir(), func(o *session.Options) { o.Journal = store })
	heard := sessiontest.Subscribe(t, s, session.SubscribeRequest{})
	by := session.Caller{Settings: session.Settings{Python: sessiontest.Interpreter(t), Pool: session.Choice{Ranks: 2}, Trust: session.TrustYes}}
	code := strings.Repeat("print ä line\nprint another\nresult 3\n", 50) + "error ValueError bad"
	runs, err := s.Start(t.Context(), by, session.Sequence{Cells: []session.Cell{{Code: code, Line: 1, Target: cells.Target{Where: cells.Remote}}}})
	if err != nil {
		t.Fatal(err)
	}
	all := heard.Until(runs[0])
	type told struct {
		text   map[string]string // by rank
		others map[string]int    // by rank and kind
		end    bool
		gaps   int
	}
	hear := func(events []event.Event) told {
		h := told{text: map[string]string{}, others: map[string]int{}}
		for _, ev := range events {
			who, _ := ev.Head().Who()
			switch ev := ev.(type) {
			case *event.Stream:
				h.text[fmt.Sprint(who, ev.Name)] += ev.Text
			case *event.Log:
				h.gaps++
			case *event.RunFinished:
				h.end = true
			default:
				h.others[fmt.Sprint(who, ev.Head().Kind)]++
			}
		}
		return h
	}
	complete := hear(all)
	gap := &event.Log{Header: event.Header{Kind: event.KindLog, Run: runs[0]}, Missing: true}
	// lacking are the events without what is output in the middle, of which two gaps tell.
	lacking := func() (events []event.Event) {
		for i, ev := range all {
			_, text := ev.(*event.Stream)
			_, result := ev.(*event.Result)
			if i == len(all)/4 || i == len(all)/2 {
				events = append(events, gap)
			}
			if i < len(all)/4 || i > len(all)*3/4 || !text && !result {
				events = append(events, ev)
			}
		}
		return events
	}
	for _, removed := range []bool{false, true} {
		if removed {
			if err := os.RemoveAll(store.Dirs()[runs[0]]); err != nil {
				t.Fatal(err)
			}
		}
		f := newFeed(&scripted{events: lacking()})
		f.fills = true
		if _, err := f.begin(func() ([]string, error) { return runs, nil }); err != nil {
			t.Fatal(err)
		}
		var got []event.Event
		for {
			events, err := f.Next(sessiontest.Context(t))
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, events...)
		}
		f.Close()
		switch h := hear(got); {
		case removed && (h.gaps == 0 || !h.end):
			t.Errorf("without a journal: %d gaps are told, end %v", h.gaps, h.end)
		case !removed && !reflect.DeepEqual(h, complete):
			t.Errorf("got %+v\nwant %+v", h, complete)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for word, want := range map[string]string{"train": "train", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "-x": "'-x'", "ü": "'ü'"} {
		if got := shellQuote(word); got != want {
			t.Errorf("%q is %s", word, got)
		}
	}
}
