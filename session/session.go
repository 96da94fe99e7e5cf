package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/trace"
	"dipls/internal/trust"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
)

// Options configure a [Session].
type Options struct {
	Dir     string         // the session's folder: where an interpreter is looked for, there and above
	WorkDir string         // working directory of the processes; "": Dir
	Journal *journal.Store // closed by its owner after the session; nil: none is kept
	Trust   *trust.Store   // remembers the folders whose code may run; nil: nothing does
	Trace   *trace.Tracer  // nil: none
	Log     *zap.Logger    // nil: none

	// Plain makes IPython write without colours.
	Plain bool
	// Host is the machine that the processes run on; nil: this one.
	Host host.Host
	// Fleet starts hosts for pools that do not run there; nil: [fleet.Start].
	Fleet fleet.Starter
	// Ladder says how processes are ended; zero: as usual.
	Ladder ranks.Ladder
}

// Session is one user's work in one folder: its runs, their processes, and the events about both. It implements [API].
type Session struct {
	o        Options
	log      *zap.Logger
	executor *dipexec.Executor
	began    time.Time

	mu      sync.Mutex // guards what follows; under it only locks of processes and of subscriptions are taken
	python  *python    // nil: none was started
	ending  []*python  // that EndPython ends
	size    *size      // of the pool that was asked for last, until Python starts; nil: none was
	closed  bool
	trusted *host.Interpreter // the interpreter that may run here, if no store remembers that; nil: none

	fronts    map[string]*subscription // by name: those whose users can be asked
	questions map[string]*question     // by id: that are not over
	posed     int                      // questions so far

	typists atomic.Int32 // subscriptions whose users can be asked for what code wants to be typed
}

var _ API = (*Session)(nil)

// New returns a session that has started nothing yet. Close ends it.
func New(o Options) *Session {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Host == nil {
		o.Host = host.Local{}
	}
	if o.Fleet == nil {
		o.Fleet = fleet.Start
	}
	if o.WorkDir == "" {
		o.WorkDir = o.Dir
	}
	s := &Session{o: o, log: o.Log, began: time.Now(), fronts: map[string]*subscription{}, questions: map[string]*question{}}
	s.executor = dipexec.New(dipexec.Options{Pool: supply{s}, Manager: supply{s}, Journal: o.Journal, Trace: o.Trace, Typists: s.hasTypists})
	return s
}

// Start implements [API].
func (s *Session) Start(_ context.Context, by Caller, q Sequence) (runs []string, err error) {
	if err := s.admit(by, false); err != nil {
		return nil, err
	}
	list := slices.Clone(q.Cells)
	for i := range list {
		list[i].Caller, list[i].Args, list[i].Columns, list[i].Autoreload = by, by.Args, s.width(by), by.Autoreload
	}
	runs, err = s.executor.StartSequence(list, q.GoOn)
	return runs, coded(err, CodeInvalid)
}

// width is how wide the screen of a caller is, now and later; nil: nobody knows.
func (s *Session) width(by Caller) *dipexec.Columns {
	s.mu.Lock()
	sub := s.fronts[by.Front]
	s.mu.Unlock()
	if sub == nil || by.Columns == 0 {
		return nil
	}
	sub.columns.Set(by.Columns)
	return &sub.columns
}

// Transfer implements [API].
func (s *Session) Transfer(ctx context.Context, by Caller, t Transfer) (run string, err error) {
	if len(t.Names) == 0 {
		return "", errorf(CodeInvalid, "no variables are named")
	}
	return s.queue(ctx, by, dipexec.RequestForTransfer(t))
}

// MakePool implements [API].
func (s *Session) MakePool(ctx context.Context, by Caller, p PoolRequest) (run string, err error) {
	return s.queue(ctx, by, CellOfPool(p))
}

// FreeMemory implements [API].
func (s *Session) FreeMemory(ctx context.Context, by Caller) (run string, err error) {
	info, err := s.Info(ctx, false)
	if err != nil {
		return "", err
	}
	if len(info.Ranks) == 0 && info.Local == nil {
		return "", errorf(CodeInvalid, "no process lives that could hold GPU memory")
	}
	return s.queue(ctx, by, CellOfMemory(info))
}

// queue starts one run of a caller's.
func (s *Session) queue(ctx context.Context, by Caller, c Cell) (run string, err error) {
	runs, err := s.Start(ctx, by, Sequence{Cells: []Cell{c}})
	if err != nil {
		return "", err
	}
	return runs[0], nil
}

// Cancel implements [API].
func (s *Session) Cancel(_ context.Context, run string) (n int, err error) {
	if run == "" {
		return s.executor.CancelAll(), nil
	}
	if s.executor.Cancel(run) != nil {
		return 0, noRun(run)
	}
	return 1, nil
}

// Free implements [API].
func (s *Session) Free(_ context.Context, run string) error {
	switch err := s.executor.Free(run); {
	case errors.Is(err, dipexec.ErrNoRun) && run == "":
		return errorf(CodeNoRun, "nothing is on the ranks")
	case errors.Is(err, dipexec.ErrNoRun):
		return noRun(run)
	default:
		return coded(err, CodeNoRun)
	}
}

// FreeAll implements [API].
func (s *Session) FreeAll(context.Context) error {
	s.executor.FreeAll()
	return nil
}

// Wait implements [API].
func (s *Session) Wait(ctx context.Context, run string) (event.Report, error) {
	report, err := s.executor.Wait(ctx, run)
	if errors.Is(err, dipexec.ErrNoRun) {
		return report, noRun(run)
	}
	return report, err
}

// Say implements [API].
func (s *Session) Say(ctx context.Context, n Note) error {
	if n.Run != "" {
		s.executor.Note(ctx, n.Run, n.Level, n.Text)
		return nil
	}
	s.say(n.Level, n.Text, n.Path)
	return nil
}

// say publishes a sentence that is about no run.
func (s *Session) say(l event.Level, text, path string) {
	told := event.NewLog(l, text)
	told.Path = path
	s.executor.Publish(told)
}

// warn is say with a warning. It is logged if nobody reads events any more, as at the end of an editor's session.
func (s *Session) warn(text string) {
	if !s.executor.Reaches(event.KindLog) {
		s.log.Warn(text, zap.String("folder", s.o.Dir))
	}
	s.say(event.LevelWarning, text, "")
}

// Last implements [API].
func (s *Session) Last(context.Context) error {
	s.executor.Last()
	return nil
}

// Autodip implements [API].
func (s *Session) Autodip(context.Context) (string, error) { return s.executor.Autodip(), nil }

// SetAutodip implements [API].
func (s *Session) SetAutodip(_ context.Context, on bool, arguments string) error {
	return coded(s.executor.SetAutodip(on, arguments), CodeInvalid)
}

// Finish implements [API].
func (s *Session) Finish(ctx context.Context, wayOut string) error {
	p := s.present()
	if p == nil {
		return nil
	}
	return p.Finish(ctx, func(text string) { s.say(event.LevelInfo, "waiting for "+text+"; "+wayOut, "") })
}

// Close implements [API]. The processes end first, since a run on a hanging one ends only with it; their last output is still published.
func (s *Session) Close(ctx context.Context, c CloseRequest) error {
	s.mu.Lock()
	s.closed = true
	all := slices.Clone(s.ending)
	if s.python != nil {
		all = append(all, s.python)
	}
	s.mu.Unlock()
	s.executor.Stop()
	var err error
	for _, p := range all {
		err = errors.Join(err, p.Close(ctx))
	}
	if c.TellJournal {
		s.tellJournal()
	}
	s.executor.Close(ctx)
	return err
}

// tellJournal tells where output is kept, and what of it is missing.
func (s *Session) tellJournal() {
	if s.o.Journal == nil {
		return
	}
	dir, lacking := s.o.Journal.Dir(), s.o.Journal.Lacking()
	switch {
	case len(lacking) > 0:
		s.say(event.LevelWarning, fmt.Sprintf("the journal, %s, lacks some of what was printed: %s", dir, strings.Join(lacking, "; ")), dir)
	case s.executor.Journaled():
		s.say(event.LevelInfo, "everything that was printed is kept in "+dir, dir)
	}
}

// onRanks and inLocal report whether a target includes the ranks, or the local namespace.
func onRanks(t cells.Target) bool { return t.Where == cells.Remote || t.Where == cells.Everywhere }

func inLocal(t cells.Target) bool { return t.Where == cells.Local || t.Where == cells.Everywhere }

// About implements [API].
func (s *Session) About(ctx context.Context, memory bool) (About, error) {
	info, err := s.Info(ctx, memory)
	if err != nil {
		return About{}, err
	}
	a := About{Dir: s.o.Dir, PID: os.Getpid(), Since: s.began, Used: s.executor.HasRun(), State: info.State, Ranks: len(info.Ranks)}
	for _, r := range info.Ranks {
		a.Devices = append(a.Devices, r.Device)
		if r.GPUBytes != nil {
			a.Memory += *r.GPUBytes
		}
	}
	if p := s.present(); p != nil && p.Unusable() == nil {
		a.Python = p.o.Node.Python
		if a.Ranks > 0 {
			a.PoolSince = p.PoolSince()
		}
	}
	if s.o.Journal != nil {
		a.Journal = s.o.Journal.Dir()
	}
	return a, nil
}

// Rename implements [API].
func (s *Session) Rename(context.Context, string) error { return errOwn }

// KeepFor implements [API].
func (s *Session) KeepFor(context.Context, time.Duration) error { return errOwn }

// errOwn is the error of a session that its front has in its own process.
var errOwn = &Error{Code: CodeInvalid, Text: "the session ends with its front, and has no name"}

// Detach implements [API].
func (s *Session) Detach(ctx context.Context) error { return s.Close(ctx, CloseRequest{}) }
