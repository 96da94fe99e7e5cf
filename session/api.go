package session

import (
	"context"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// API is all that a front may ask of a session: an editor server, the command line, later a debugger or another process. [Session] is the one
// implementation in this process. Every argument and every answer can be written as JSON, so that others can stand for it over a socket.
//
// # Callers
//
// Nothing calls back into a front. What happens comes as events of a [Subscription]. What a call may have to start, it starts with the settings that
// came with it, and what is to be asked of the user meanwhile is an [event.Question] in the subscription of that caller, see [Caller].
//
// # Contexts
//
// A call that answers at once (Start, Cancel, Free, Used, Autodip, …) ignores the end of its context. One that waits returns with the context's error.
// What it has begun is given up then where its comment says so, and goes on for others elsewhere.
//
// # Errors
//
// An error that a front can act on is an *[Error].
type API interface {
	// Start queues cells, which run one after the other, and answers the id of each run, in their order. It does not wait.
	Start(ctx context.Context, by Caller, s Sequence) (runs []string, err error)
	// Transfer queues a push or a pull, which takes its turn as a cell does, and answers its run.
	Transfer(ctx context.Context, by Caller, t Transfer) (run string, err error)
	// MakePool queues the making of a pool, which takes its turn as a cell does, and answers its run.
	MakePool(ctx context.Context, by Caller, p PoolRequest) (run string, err error)

	// Cancel takes a run out of the queue, or interrupts it; without an id every run that has not ended, the latest first. It answers how many those were. A run
	// that is cancelled again is interrupted again, and its ranks are freed at once.
	Cancel(ctx context.Context, run string) (n int, err error)
	// Free interrupts a run, or whatever is on the ranks if run is empty, and frees ranks that wait in a collective at once.
	Free(ctx context.Context, run string) error
	// FreeAll interrupts every run that has not ended, and frees ranks that wait in a collective at once.
	FreeAll(ctx context.Context) error
	// Wait waits for the end of a run. A run that ended long ago is forgotten: the error's code is CodeNoRun.
	Wait(ctx context.Context, run string) (event.Report, error)
	// Subscribe begins to tell of events.
	Subscribe(ctx context.Context, s SubscribeRequest) (Subscription, error)
	// Say has subscribers hear a sentence, in its place among the events. One about a run is kept in the run's journal, if the run takes it before ctx ends.
	Say(ctx context.Context, n Note) error
	// Answer answers a question. "" is that its user wants none of the choices. What is no choice, or comes when the question is over, is an error and changes
	// nothing.
	Answer(ctx context.Context, question, choice string) error

	// RestartPool interrupts what is on the ranks and puts a new pool in the place of the present one; text says what was done. It jumps the queue: it is
	// asked for when runs go wrong. When ctx ends, the start is given up and there is no pool.
	RestartPool(ctx context.Context, by Caller) (text string, err error)
	// KillPool interrupts what is on the ranks and ends these; when ctx ends, at once. There is no pool until somebody makes one. It jumps the queue.
	KillPool(ctx context.Context) (text string, err error)
	// CancelStart gives up the start of a pool, if one is being started.
	CancelStart(ctx context.Context) error
	// RestartLocal interrupts what is in the local namespace and puts a fresh one in its place. It jumps the queue. When ctx ends, the start is given up and
	// there is none until the next RestartLocal.
	RestartLocal(ctx context.Context, by Caller) error
	// EndPython interrupts everything and ends all processes; when ctx ends, at once. What needs one next starts it, with the settings of then. It jumps the
	// queue.
	EndPython(ctx context.Context) error
	// Prepare starts Python ahead of time and has it import what ranks need. Python goes on to start when ctx ends.
	Prepare(ctx context.Context, by Caller, p Preparation) error

	// Info describes the pool and the local namespace as they are, and starts nothing. Memory is looked at if asked for; when ctx ends, it is left out.
	Info(ctx context.Context, memory bool) (PoolInfo, error)
	// Used tells with which settings what lives now was started.
	Used(ctx context.Context) (Used, error)
	// PoolSize is how many ranks a pool of the caller's settings would have, and starts nothing. The error's code is CodeInvalid if there cannot be such a pool.
	PoolSize(ctx context.Context, by Caller) (ranks int, err error)
	// GPUs are those that a pool can be made of now.
	GPUs(ctx context.Context) ([]GPU, error)
	// Stacks tells where processes are, also while they are busy: those that are named, or all if none is.
	Stacks(ctx context.Context, s StacksRequest) (Stacks, error)
	// Complete asks what may stand at a place in code that runs on a target. The error's code is CodeBusy if no process can answer now.
	Complete(ctx context.Context, l Lookup) (Completion, error)
	// Inspect asks all processes of a target what the name is that stands at a place in code.
	Inspect(ctx context.Context, l Lookup) ([]Inspection, error)
	// Variables asks all processes of a target for their variables.
	Variables(ctx context.Context, target cells.Target) ([]Variables, error)
	// Bound asks the processes that have run something which of some names they bind, also while they are busy, and leaves out those that do not answer
	// before ctx ends.
	Bound(ctx context.Context, names []string) ([]Binding, error)
	// Autodip is the directive under which cells run that say nothing, such as "%%dip --see all"; "": it is off.
	Autodip(ctx context.Context) (string, error)
	// SetAutodip turns autodip off, or on with the arguments of a %%dip. It counts for runs whose turn comes later.
	SetAutodip(ctx context.Context, on bool, arguments string) error

	// Last says that nothing else will be started. What becomes of the ranks after an interrupt is of no use to anybody then, and nobody takes care of it.
	Last(ctx context.Context) error
	// Finish has the processes that have nothing to do end as Python does at the end of a script: threads and exit handlers are waited for, and log events tell
	// for which, and how the user ends that. It is given up when ctx ends; Close ends what is left.
	Finish(ctx context.Context, wayOut string) error
	// Close ends the session: it cancels all runs and ends all processes, in order; when ctx ends, at once. Nothing is left when it returns. Subscriptions
	// end once they are read.
	Close(ctx context.Context, c CloseRequest) error
}

// Caller says who makes a call.
type Caller struct {
	// Front is the name under which the caller has subscribed: its questions come there, and when that subscription has ended, nobody answers them: none of the
	// choices counts. "": nobody can be asked, and a question's default counts.
	Front string `json:"front,omitempty"`
	// Settings count for what the call has to start, and for no other call.
	Settings Settings `json:"settings"`
}

// Settings are what a user has chosen about the processes of a session. The zero value chooses nothing.
type Settings struct {
	Python  string   `json:"python,omitempty"`  // the interpreter: a path, from the session's folder if not absolute, or a name on PATH; "": the usual search
	Script  string   `json:"script,omitempty"`  // file beside which modules are looked for; "": none
	Preload []string `json:"preload,omitempty"` // modules that are imported before ranks are forked
	Start   string   `json:"start,omitempty"`   // "auto", "fork" or "spawn"; "" is auto
	Pool    Choice   `json:"pool"`              // the pool, where nobody says otherwise
	Trust   Trust    `json:"trust,omitempty"`   // what the user has said of the folder's code
}

// Trust is what a user has said of whether the code of a session's folder may run.
type Trust string

// What a user may have said.
const (
	TrustUnsaid Trust = ""    // a call that runs something is the consent, but for an interpreter that belongs to the folder: that is asked about
	TrustYes    Trust = "yes" // it may
	TrustNo     Trust = "no"  // nothing runs
)

// Sequence is cells that run one after the other. Each is decided on when its turn comes: where it runs, by autodip as it is then.
type Sequence struct {
	Cells []Cell `json:"cells"`
	// GoOn has the cells after one that failed run all the same. Without it they do not run: each ends with status "skipped".
	GoOn bool `json:"go_on,omitempty"`
}

// PoolRequest is a pool to be made, as %makedip's flags say it.
type PoolRequest struct {
	GPUs    string        `json:"gpus,omitempty"` // as in [Choice]
	Ranks   int           `json:"ranks,omitempty"`
	App     string        `json:"app,omitempty"`
	Restart bool          `json:"restart,omitempty"` // in the place of one that lives
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Used are the settings with which processes were started.
type Used struct {
	Python *Settings `json:"python,omitempty"` // nil: Python was not started
	Pool   *Choice   `json:"pool,omitempty"`   // that counted when the pool was begun, whoever made it; nil: there is no pool
}

// SubscribeRequest says what a subscription tells of.
type SubscribeRequest struct {
	// Front is a name of the subscriber's choice, no other's. The questions that its calls cause come to this subscription.
	// "": it hears none.
	Front string `json:"front,omitempty"`
	// Kinds are the events that come; none: all.
	Kinds []event.Kind `json:"kinds,omitempty"`
	// From is a run with whose events it begins, those of the runs after it following, as far as journals have them. "": with what happens from now on.
	From string `json:"from,omitempty"`
}

// Subscription is one reader's view of the events; [event.Subscription] says how they come.
type Subscription interface {
	Next(ctx context.Context) ([]event.Event, error)
	Progress()
	Queued() uint64
	Close()
}

// Note is a sentence for the subscribers.
type Note struct {
	Run   string      `json:"run,omitempty"` // that it is about; "": none
	Level event.Level `json:"level"`
	Text  string      `json:"text"`
	Path  string      `json:"path,omitempty"` // of a file or directory that it points to; not with a run
}

// Preparation says how far Python is started ahead of time.
type Preparation struct {
	// Ask has the caller asked what there is to ask. Without it the error's code is CodeConsent or CodePackages where a question would be needed.
	Ask bool `json:"ask,omitempty"`
	// Pool and Local have these begin to start, too. They are not waited for.
	Pool  bool `json:"pool,omitempty"`
	Local bool `json:"local,omitempty"`
}

// CloseRequest says how a session ends.
type CloseRequest struct {
	// TellJournal has a log event tell at last where the runs' journals are, if there are any, and what they lack.
	TellJournal bool `json:"tell_journal,omitempty"`
}

// StacksRequest says whose stacks are wanted, and how much of them.
type StacksRequest struct {
	Of     []ranklist.Who `json:"of,omitempty"`     // none: of all that live
	Native bool           `json:"native,omitempty"` // with the frames of native code, where that can be told
}

// Stacks is where processes are.
type Stacks struct {
	Of      []Stack `json:"of"`                // the local namespace first, then the ranks in order
	Problem string  `json:"problem,omitempty"` // why native frames are not there, a sentence; "": they are, or were not asked for
}

// Lookup is a place in code.
type Lookup struct {
	Target cells.Target `json:"target"` // where the code runs
	Code   string       `json:"code"`
	Cursor int          `json:"cursor"` // in code points
}

// Completion is what may stand at a place in code.
type Completion struct {
	Start      int     `json:"start"` // where what the matches take the place of begins, in code points
	End        int     `json:"end"`
	Matches    []Match `json:"matches"`
	Incomplete bool    `json:"incomplete,omitempty"` // there are more
}

// Match is something that may stand there.
type Match struct {
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"` // "instance", "function", "class", "module", "property", "param", "keyword" or "magic"; "": unknown
}

// Inspection is what one process says of a name.
type Inspection struct {
	Who    ranklist.Who `json:"rank"`
	Object *Object      `json:"object,omitempty"` // nil: it does not know the name, or has not answered
	Found  bool         `json:"found,omitempty"`
	Silent bool         `json:"silent,omitempty"` // it has not answered: it is busy, or ended
}

// Variables are those of one process.
type Variables struct {
	Who       ranklist.Who `json:"rank"`
	Variables []Object     `json:"variables"`      // by name
	More      int          `json:"more,omitempty"` // that were left out
	Busy      bool         `json:"busy,omitempty"` // it could not answer in time
}

// Binding is which names a process binds.
type Binding struct {
	Who   ranklist.Who `json:"rank"`
	Names []string     `json:"names"` // in the order in which they were asked for
}
