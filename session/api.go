package session

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// API is everything that a front may ask of a session. A front is an editor server, the command line, later a debugger or another process.
// [Session] is the implementation in this process. Every argument and answer can be written as JSON, so that another one can work over a socket.
//
// # Callers
//
// Nothing calls back into a front. What happens comes as events of a [Subscription]. If a call has to start something, it uses the settings that
// come with the call. If the user has to be asked, the caller's subscription gets an [event.Question]; see [Caller].
//
// # Contexts
//
// A call that answers at once (Start, Cancel, Free, Used, Autodip, …) ignores the end of its context. A call that waits returns with the context's
// error. What it has begun goes on for others, unless its comment says that it is given up.
//
// # Errors
//
// An error that a front can act on is an *[Error].
type API interface {
	// Start queues cells, which run one after the other, and returns the ids of their runs, in order. It does not wait.
	Start(ctx context.Context, by Caller, s Sequence) (runs []string, err error)
	// Transfer queues a push or a pull, which takes its turn like a cell, and returns its run.
	Transfer(ctx context.Context, by Caller, t Transfer) (run string, err error)
	// MakePool queues the making of a pool, which takes its turn like a cell, and returns its run.
	MakePool(ctx context.Context, by Caller, p PoolRequest) (run string, err error)

	// Cancel takes a run out of the queue, or interrupts it; without an id it does so for every run that has not ended, the latest first. It returns
	// how many those were. A run that is cancelled again is interrupted again, and its ranks are freed at once.
	Cancel(ctx context.Context, run string) (n int, err error)
	// Free interrupts a run, or whatever is on the ranks if run is empty, and at once frees ranks that wait in a collective.
	Free(ctx context.Context, run string) error
	// FreeAll interrupts every run that has not ended, and at once frees ranks that wait in a collective.
	FreeAll(ctx context.Context) error
	// Wait waits for the end of a run. A run that ended long ago is forgotten: the error's code is CodeNoRun. Runs of a sequence are known until all of
	// them have ended, and for a while after that.
	Wait(ctx context.Context, run string) (event.Report, error)
	// Subscribe begins a subscription to events.
	Subscribe(ctx context.Context, s SubscribeRequest) (Subscription, error)
	// Say publishes a sentence to subscribers, in its place among the events. One about a run is kept in the run's journal, if the run takes it before
	// ctx ends.
	Say(ctx context.Context, n Note) error
	// Output writes what a run has printed as text, and answers the file. Runs of earlier sessions count, too. The error's code is CodeNoRun if nothing of
	// the run was kept so far.
	Output(ctx context.Context, r OutputRequest) (path string, err error)
	// KeepText keeps a text beside what a run has printed, as a file that is not to be written to, and answers the file; "" if nothing of the run was kept
	// so far.
	KeepText(ctx context.Context, t Text) (path string, err error)
	// Heed tells what a caller's settings are now, and starts nothing. A question of that caller that they settle is withdrawn, or answered by them. Runs of
	// that caller hear of its Columns.
	Heed(ctx context.Context, by Caller) error
	// Shown says that a user has been shown the text of a log event that begins with Unattended: whoever comes next need not be. The text is the whole one.
	Shown(ctx context.Context, text string) error
	// Answer answers a question. "" means that the user wants none of the choices. If the answer is no choice, or the question is over, that is an
	// error and changes nothing.
	Answer(ctx context.Context, question, choice string) error

	// AnswerInput hands over what the user has typed for an [event.Input]. Any front may answer any of them: they are of one user. If nobody waits for it
	// any more, that is an error, CodeNoRun or CodeInvalid.
	AnswerInput(ctx context.Context, a InputAnswer) error

	// RestartPool interrupts what is on the ranks and replaces the pool by a new one; text says what was done. It jumps the queue, since it is needed
	// when runs go wrong. When ctx ends, the start is given up and there is no pool.
	RestartPool(ctx context.Context, by Caller) (text string, err error)
	// KillPool interrupts what is on the ranks and ends them, at once when ctx ends. There is no pool until somebody makes one. It jumps the queue.
	KillPool(ctx context.Context) (text string, err error)
	// CancelStart gives up the start of a pool, if one is being started.
	CancelStart(ctx context.Context) error
	// RestartLocal interrupts what is in the local namespace and replaces it by a fresh one. It jumps the queue. When ctx ends, the start is given up,
	// and there is none until the next RestartLocal.
	RestartLocal(ctx context.Context, by Caller) error
	// EndPython interrupts everything and ends all processes, at once when ctx ends. The next call that needs one starts it, with its own settings. It
	// jumps the queue.
	EndPython(ctx context.Context) error
	// Prepare starts Python ahead of time and makes it import what ranks need. When ctx ends, the start goes on.
	Prepare(ctx context.Context, by Caller, p Preparation) error

	// Info describes the pool and the local namespace as they are, and starts nothing. Memory is included if asked for, and left out when ctx ends.
	Info(ctx context.Context, memory bool) (PoolInfo, error)
	// Used are the settings with which the present processes were started.
	Used(ctx context.Context) (Used, error)
	// PoolSize is how many ranks a pool with the caller's settings would have; 0: that is known only when its hosts are there. It starts nothing. The
	// error's code is CodeInvalid if there cannot be such a pool.
	PoolSize(ctx context.Context, by Caller) (ranks int, err error)
	// GPUs are the GPUs that a pool can be made of now.
	GPUs(ctx context.Context) ([]GPU, error)
	// Stacks says where processes are, also while they are busy: those that are named, or all if none is.
	Stacks(ctx context.Context, s StacksRequest) (Stacks, error)
	// Complete asks how code may go on at a place, when it runs on a target. The error's code is CodeBusy if no process can answer now.
	Complete(ctx context.Context, l Lookup) (Completion, error)
	// Inspect asks all processes of a target about the name at a place in code.
	Inspect(ctx context.Context, l Lookup) ([]Inspection, error)
	// Variables asks all processes of a target for their variables.
	Variables(ctx context.Context, target cells.Target) ([]Variables, error)
	// Members asks all processes of a target what a value consists of, or for its digest. A process that does not have the value answers with nothing.
	Members(ctx context.Context, m Members) ([]Variables, error)
	// Table asks all processes of a target for the same part of a table or an array. It takes 5 seconds at most.
	Table(ctx context.Context, q TableQuery) ([]Table, error)
	// Bound reports, per process that has run something, which of names are defined there, also while it is busy. It leaves out processes that do not
	// answer before ctx ends.
	Bound(ctx context.Context, names []string) ([]Binding, error)
	// Autodip is the directive for cells that do not say where they run, such as "%%dip --see all"; "": it is off.
	Autodip(ctx context.Context) (string, error)
	// SetAutodip turns autodip off, or on with the arguments of a %%dip. It applies to runs whose turn comes later.
	SetAutodip(ctx context.Context, on bool, arguments string) error

	// FreeMemory queues that all processes give back GPU memory that torch has cached, which takes its turn like a cell, and returns its run. No variable is
	// lost.
	FreeMemory(ctx context.Context, by Caller) (run string, err error)

	// About describes the session as a whole. How much GPU memory it holds is included if asked for, and left out when ctx ends.
	About(ctx context.Context, memory bool) (About, error)
	// Rename gives the session another name. The error's code is CodeInvalid if another session of its folder has it, or if the session belongs to its front.
	Rename(ctx context.Context, name string) error
	// KeepFor says how long the session lives with nobody attached and nothing running. The error's code is CodeInvalid if it belongs to its front.
	KeepFor(ctx context.Context, d time.Duration) error
	// Detach says that this front leaves: its subscriptions end, and nobody answers its questions. A session that outlives its fronts goes on; one that
	// belongs to its front ends, as by Close.
	Detach(ctx context.Context) error

	// Last says that this front starts nothing else. If the session belongs to it, the state of the ranks after an interrupt does not matter then, and they
	// are not mended. In a session that outlives its fronts others may start something, and nothing follows.
	Last(ctx context.Context) error
	// Finish makes idle processes end as Python does at the end of a script, after their threads and exit handlers. Log events say what is waited for,
	// and, by wayOut, how the user can end that. It is given up when ctx ends; Close ends what is left.
	Finish(ctx context.Context, wayOut string) error
	// Close ends the session: it cancels all runs and ends all processes, in order, and at once when ctx ends. When it returns, nothing is left.
	// Subscriptions end once they have been read.
	Close(ctx context.Context, c CloseRequest) error
}

// Caller says who makes a call.
type Caller struct {
	// Front is the name under which the caller has subscribed: its questions come there. When that subscription has ended, its questions are answered by
	// none of the choices. "": nobody can be asked, and questions are answered by their defaults.
	Front string `json:"front,omitempty"`
	// Settings apply to what this call has to start, and to no other call.
	Settings Settings `json:"settings"`
	// Prefix begins the names of settings in sentences for the caller's user: PrefixSettings, or PrefixFlags. "" is PrefixSettings.
	Prefix string `json:"prefix,omitempty"`
	// Instead is what that user can do who does not want to install missing packages: the end of a sentence. "": choose another interpreter.
	Instead string `json:"instead,omitempty"`
	// Args are what sys.argv has behind the file when cells of this caller run; nil: it stays as it is.
	Args []string `json:"args,omitzero"`
	// Autoreload has modules of the project that were edited reloaded before each cell, on all its processes alike.
	Autoreload bool `json:"autoreload,omitzero"`
	// Columns is how wide the place is in which this caller's user reads, in columns; 0: nobody knows.
	Columns int `json:"columns,omitzero"`
}

// The ways in which a front's users know settings.
const (
	PrefixSettings = "dip."
	PrefixFlags    = "--"
)

// setting is a setting as the caller's user knows it.
func (by Caller) setting(name string) string { return cmp.Or(by.Prefix, PrefixSettings) + name }

// name is the name of a setting in the caller's words.
func (by Caller) name(setting, flag string) string {
	if by.Prefix == PrefixFlags {
		return flag
	}
	return setting
}

// instead is what the caller's user can do who does not want to install missing packages.
func (by Caller) instead() string {
	return cmp.Or(by.Instead, fmt.Sprintf("choose another interpreter by %s; then run the cell again", by.setting("python")))
}

// Settings are what a user has chosen about the processes of a session. The zero value chooses nothing.
type Settings struct {
	Python  string   `json:"python,omitempty"`  // the interpreter: a path, from the session's folder if not absolute, or a name on PATH; "": the usual search
	Script  string   `json:"script,omitempty"`  // file beside which modules are looked for; "": none
	Preload []string `json:"preload,omitempty"` // modules that are imported before ranks are forked
	Start   string   `json:"start,omitempty"`   // "auto", "fork" or "spawn"; "" is auto
	Pool    Choice   `json:"pool"`              // the pool, if nobody asks for another one
	// Strict makes it an error if the app, or a module to preload, cannot be imported. Otherwise the user is warned, and the pool runs without it.
	Strict bool  `json:"strict,omitempty"`
	Trust  Trust `json:"trust,omitempty"` // what the user has said about the folder's code

	// Env are variables of all processes, on every host. They count before those of EnvFile, and those before what is inherited.
	Env map[string]string `json:"env,omitempty"`
	// EnvFile has further variables, a line NAME=VALUE each: a path, from the session's folder if not absolute. It is read when Python starts, after the
	// user's consent. A missing ".env" is no error. "": none.
	EnvFile string `json:"env_file,omitempty"`
	// Cwd is the working directory of all processes: a path, from the session's folder if not absolute; "": the session's own.
	Cwd string `json:"cwd,omitempty"`
}

// Trust is what a user has said about whether the code of a session's folder may run.
type Trust string

// What a user may have said.
const (
	TrustUnsaid Trust = ""    // a call that runs something is the consent; only about an interpreter that belongs to the folder the user is asked
	TrustYes    Trust = "yes" // it may
	TrustNo     Trust = "no"  // nothing runs
)

// Sequence is cells that run one after the other. Where each runs is decided when its turn comes, by autodip as it is then.
type Sequence struct {
	Cells []Cell `json:"cells"`
	// GoOn lets the cells after one that has failed run nevertheless. Without it they do not run: each ends with status "skipped".
	GoOn bool `json:"go_on,omitempty"`
}

// PoolRequest is a pool to be made, as %makedip's flags say it.
type PoolRequest struct {
	GPUs    string        `json:"gpus,omitempty"` // as in [Choice]
	Ranks   int           `json:"ranks,omitempty"`
	App     string        `json:"app,omitempty"`
	Restart bool          `json:"restart,omitempty"` // end a pool that is there, and make a new one
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Used are the settings with which processes were started.
type Used struct {
	Python *Settings `json:"python,omitempty"` // nil: Python was not started
	Pool   *Choice   `json:"pool,omitempty"`   // of the present pool, whoever made it; nil: there is no pool

	// Nothing has run in the local namespace, or on the ranks, since they were started: no variable would be lost with them. Not told by older sessions.
	FreshLocal bool `json:"fresh_local,omitempty"`
	FreshPool  bool `json:"fresh_pool,omitempty"`
}

// SubscribeRequest says which events a subscription gets.
type SubscribeRequest struct {
	// Front is a name that the subscriber chooses, and that no other one has. Questions that its calls cause come to this subscription.
	// "": it gets none.
	Front string `json:"front,omitempty"`
	// Kinds are the events that come; none: all.
	Kinds []event.Kind `json:"kinds,omitempty"`
	// From is a run: the subscription begins with its events and those of later runs, as far as journals have them. "": with events from now on.
	From string `json:"from,omitempty"`
	// Types says that the front's user can be asked for what code wants to be typed, an [event.Input], as long as the subscription lasts and its front is
	// there. If nobody's can, such code fails at once.
	Types bool `json:"types,omitempty"`
	// History lets the subscription begin with what is kept of earlier runs: all that says how they went, and some of what they have printed last; what is
	// left out is said. A session that belongs to its front keeps nothing.
	History bool `json:"history,omitempty"`
}

// Subscription is one reader's view of the events; [event.Subscription] says in which order they come.
type Subscription interface {
	// Next waits for events and returns some of them, at least one, in order. It returns [io.EOF] once the session or the subscription has ended and
	// everything has been read, and ctx's error when that ends. Only one goroutine may call it.
	Next(ctx context.Context) ([]event.Event, error)
	// Progress says that the reader is still busy with what it has taken.
	Progress()
	// Position says how far Next has come. It only grows.
	Position() uint64
	// End is the Position at which Next will have returned all that has happened by now. What any other subscription has returned, if that is younger or
	// its session lives in another process, is part of it.
	End() uint64
	// Past is the Position up to which Next returns what From and History ask for: it happened before the front came. Next never returns some of that together
	// with what came later.
	Past() uint64
	// Close ends the subscription.
	Close()
}

// Note is a sentence for the subscribers.
type Note struct {
	Run   string      `json:"run,omitempty"` // the run that it is about; "": none
	Level event.Level `json:"level"`
	Text  string      `json:"text"`
	Path  string      `json:"path,omitempty"` // a file or directory that it points to; not with a run
}

// Preparation says how far Python is started ahead of time.
type Preparation struct {
	// Ask allows questions to the caller. Without it the error's code is CodeConsent or CodePackages if a question would be needed.
	Ask bool `json:"ask,omitempty"`
	// Pool and Local begin to start these, too, without waiting for them.
	Pool  bool `json:"pool,omitempty"`
	Local bool `json:"local,omitempty"`
	// Wait waits for the pool nevertheless. The error says why there is none.
	Wait bool `json:"wait,omitempty"`
}

// CloseRequest says how a session ends.
type CloseRequest struct {
	// TellJournal ends with a log event that says where the runs' journals are, if there are any, and what is missing from them.
	TellJournal bool `json:"tell_journal,omitempty"`
}

// StacksRequest says which stacks are wanted.
type StacksRequest struct {
	Of     []ranklist.Who `json:"of,omitempty"`     // none: of all that live
	Native bool           `json:"native,omitempty"` // with frames of native code, if they can be read
}

// Stacks are the stacks of processes.
type Stacks struct {
	Of      []Stack `json:"of"`                // the local namespace first, then the ranks in order
	Problem string  `json:"problem,omitempty"` // why native frames are missing, a sentence; "": they are there, or were not asked for
}

// Lookup is a place in code.
type Lookup struct {
	Target cells.Target `json:"target"` // where the code runs
	Code   string       `json:"code"`
	Cursor int          `json:"cursor"` // in code points
}

// Completion is how code may go on at a place.
type Completion struct {
	Start      int     `json:"start"` // begin of the text that the matches replace, in code points
	End        int     `json:"end"`
	Matches    []Match `json:"matches"`
	Incomplete bool    `json:"incomplete,omitempty"` // there are more
}

// Match is one way to go on.
type Match struct {
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"` // "instance", "function", "class", "module", "property", "param", "keyword" or "magic"; "": unknown
}

// Inspection is what one process says about a name.
type Inspection struct {
	Who    ranklist.Who `json:"rank"`
	Object *Object      `json:"object,omitempty"` // nil: it does not know the name, or has not answered
	Found  bool         `json:"found,omitempty"`
	Silent bool         `json:"silent,omitempty"` // it has not answered: it is busy, or ended
}

// Members is a question about a value.
type Members struct {
	Target cells.Target `json:"target"`
	Of     string       `json:"of"`              // the value: "model.fc", "batch['x'][0]". Properties and calls are not evaluated
	Digest bool         `json:"digest,omitzero"` // only the value itself, with what tells it from others of its shape
}

// Variables are those of one process.
type Variables struct {
	Who       ranklist.Who `json:"rank"`
	Variables []Object     `json:"variables"`      // by name; members in their own order, each named by the step that leads to it
	More      int          `json:"more,omitempty"` // how many were left out
	Busy      bool         `json:"busy,omitzero"`  // it could not answer in time
}

// TableQuery asks for a part of a table or an array.
type TableQuery struct {
	Target cells.Target `json:"target"`
	TablePart
}

// Table is what one process answers.
type Table struct {
	Who  ranklist.Who `json:"rank"`
	Page *TablePage   `json:"page,omitempty"` // nil: it has not answered
	Busy bool         `json:"busy,omitzero"`  // it could not answer in time
}

// Binding says which names are defined on a process.
type Binding struct {
	Who   ranklist.Who `json:"rank"`
	Names []string     `json:"names"` // in the order in which they were asked for
}
