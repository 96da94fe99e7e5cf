package diagnose

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// What threads wait in for others.
const (
	inLock    = "in a lock"
	forThread = "for a thread"
	forFuture = "for a future"
)

// waitsOutside says what a thread waits in whose innermost frame is in Python's own modules: by module (as LibraryOf gives it), file and
// function; "" stands for any.
var waitsOutside = []struct{ library, file, name, in string }{
	{"threading", "", "join", forThread},
	{"threading", "", "_wait_for_tstate_lock", forThread},
	{"threading", "", "", inLock},
	{"queue", "", "", "in a queue"},
	{"concurrent", "", "", forFuture},
	{"multiprocessing", "queues.py", "", "in a queue"},
	{"multiprocessing", "synchronize.py", "", inLock},
	{"multiprocessing", "connection.py", "accept", "for a connection"},
	{"multiprocessing", "connection.py", "send", "writing to a pipe"},
	{"multiprocessing", "connection.py", "send_bytes", "writing to a pipe"},
	{"multiprocessing", "connection.py", "", "reading a pipe"},
	{"multiprocessing", "pool.py", "", "for a pool of processes"},
	{"multiprocessing", "", "", "for a process"},
	{"subprocess", "", "", "for a process"},
	{"socket", "", "accept", "for a connection"},
	{"socket", "", "create_connection", "connecting a socket"},
	{"socket", "", "", "reading a socket"},
	{"ssl", "", "", "reading a socket"},
	{"selectors", "", "", "for a socket"},
}

// notOutside are libraries whose waiting means nothing: for a person, or for a timer as well as for others.
var notOutside = []string{
	"asyncio", "trio", "curio",
	"pdb", "bdb", "cmd", "code", "codeop", "debugpy", "pydevd", "_pydevd_bundle", "_pydev_bundle", "ipdb", "pudb", "remote_pdb", "web_pdb",
}

// outside tells where ranks are if none waits in a collective and all that have not finished wait for something else. It blames nobody:
// what they wait for may well come, and from where is not known.
func outside(c Case) *Finding {
	f := &Finding{Variant: Outside}
	for i := range c.Ranks {
		r := &c.Ranks[i]
		if r.Part.State == Asking {
			return nil // what the others wait for may be that rank, which waits for the user
		}
		if r.Part.State != Running && r.Part.State != GivenUp {
			continue
		}
		in := r.outside()
		if in == "" {
			return nil
		}
		p := mainStack(r.Now).at()
		p.Why = in
		at := slices.IndexFunc(f.Waiting, func(q Place) bool { return samePlace(p, q) })
		if at < 0 {
			f.Waiting = append(f.Waiting, p)
			at = len(f.Waiting) - 1
		}
		f.Waiting[at].Ranks = append(f.Waiting[at].Ranks, r.Rank)
		if f.Stood == 0 || r.Stood < f.Stood {
			f.Stood = r.Stood
		}
	}
	if len(f.Waiting) == 0 {
		return nil
	}
	f.Text = f.outsideSentence(c.hostOf)
	return f
}

// outside is what the main thread of a rank waits in; "" if it may do something else.
func (r *Rank) outside() string {
	s := mainStack(r.Now)
	if r.Now == nil || r.Before == nil || r.Condition.State != Sound || !r.Still || r.Works || len(s) == 0 ||
		!s.same(mainStack(r.Before)) || r.Now.Running != r.Before.Running || r.threadsWork() {
		return ""
	}
	in, byFrame := s.waitsOutside()
	_, library := LibraryOf(s[len(s)-1])
	switch {
	case slices.ContainsFunc(s, func(f wire.StackFrame) bool { name, _ := LibraryOf(f); return slices.Contains(notOutside, name) }):
		return ""
	case byFrame:
		return in
	case library && r.Waits == inLock: // for threads of its own, or for a device
		return ""
	}
	return r.Waits
}

// waitsOutside is what a thread waits in, by its frames: what the user's code has called, directly or through libraries. ok is false if the
// innermost frame does more than wait.
func (s stack) waitsOutside() (in string, ok bool) {
	for _, f := range slices.Backward(s) {
		next := waitOf(f)
		if next == "" {
			break
		}
		in = next
	}
	return in, in != ""
}

// waitOf is what a frame waits in; "" if it may do something else.
func waitOf(f wire.StackFrame) string {
	library, _ := LibraryOf(f)
	for _, w := range waitsOutside {
		if w.library == library && (w.file == "" || w.file == path.Base(string(f.File))) && (w.name == "" || w.name == f.Name) {
			return w.in
		}
	}
	return ""
}

// threadsWork reports whether the main thread of a rank waits for its own threads, and these make progress.
func (r *Rank) threadsWork() bool {
	in, _ := mainStack(r.Now).waitsOutside()
	return r.Before != nil && (in == forThread || in == forFuture) && slices.ContainsFunc(r.Now.Threads, func(t wire.Thread) bool {
		return !t.Main && !slices.ContainsFunc(r.Before.Threads, func(b wire.Thread) bool { return b.ID == t.ID && stack(t.Frames).same(b.Frames) })
	})
}

// outsideSentence is "ranks 0-2 have waited for 20 s: ranks 0-1 in a lock at train.py:41, rank 2 reading a socket at train.py:55", or "ranks 0-2 have
// waited in a lock at train.py:41 for 20 s".
func (f *Finding) outsideSentence(hostOf func(rank int) string) string {
	var all []int
	var clauses []string
	for _, p := range f.Waiting {
		all = append(all, p.Ranks...)
		clauses = append(clauses, ranklist.NameOn(p.Ranks, hostOf)+" "+p.Why+atLine(p))
	}
	slices.Sort(all)
	who := ranklist.NameOn(all, hostOf) + " have waited "
	if len(all) == 1 {
		who = ranklist.NameOn(all, hostOf) + " has waited "
	}
	if first := f.Waiting[0]; len(clauses) == 1 {
		return who + first.Why + atLine(first) + " for " + spell(f.Stood)
	}
	return who + "for " + spell(f.Stood) + ": " + strings.Join(clauses, ", ")
}

// spell is "20 s" or "3 min".
func spell(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()+0.5))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}
