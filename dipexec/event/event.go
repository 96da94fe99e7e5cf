// Package event has what is published about runs, their processes and the pool: the closed set of events, their JSON, the bus that hands them
// to subscribers, and the report of a finished run.
package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// Kind names an event; it is the value of "event" in its JSON.
type Kind string

// The closed set of events.
const (
	KindRunQueued   Kind = "run_queued"
	KindRunStarted  Kind = "run_started"
	KindStream      Kind = "stream"
	KindDisplay     Kind = "display"
	KindResult      Kind = "result"
	KindError       Kind = "error"
	KindRankState   Kind = "rank_state"
	KindPoolState   Kind = "pool_state"
	KindRunFinished Kind = "run_finished"
	KindHang        Kind = "hang"
	KindInput       Kind = "input"
	KindLog         Kind = "log"
	KindQuestion    Kind = "question"
)

// Status is how a run, or the part of it that one process ran, ended.
type Status string

// The statuses.
const (
	StatusOK          Status = "ok"
	StatusError       Status = "error"       // an exception, or a request that cannot be run
	StatusInterrupted Status = "interrupted" // cancelled, or out of time
	StatusDied        Status = "died"        // a process died, or the pool could not be started
	StatusSkipped     Status = "skipped"     // of a run: its turn never came, since an earlier one of its sequence has not ended well
)

// The states of RankState and PoolState.
const (
	StateNone         = "none" // there has been no pool yet
	StateStarting     = "starting"
	StateReady        = "ready"
	StateBusy         = "busy"
	StateInterrupting = "interrupting"
	StateDead         = "dead"
	StateStopped      = "stopped"
)

// The values of "name" in a stream event.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// StreamNames are the streams by index, as [StreamIndex] gives it.
var StreamNames = [...]string{Stdout, Stderr}

// StreamIndex is 1 for [Stderr] and 0 for every other name.
func StreamIndex(name string) int {
	if name == Stderr {
		return 1
	}
	return 0
}

// Level is how much a log event matters.
type Level string

// The levels.
const (
	LevelInfo    Level = "info"
	LevelWarning Level = "warning"
	LevelError   Level = "error"
)

// Event is one of *[RunQueued], *[RunStarted], *[Stream], *[Display], *[Result], *[Failure], *[RankState], *[PoolState], *[RunFinished],
// *[Hang], *[Input], *[Log] and *[Question]. An event is never changed once it is published: subscribers share it.
type Event interface {
	// Head tells what the event is and whom it is about.
	Head() *Header
}

// Header is what every event has. An event is about a rank, about the local namespace, or (neither) about the run or the
// session as a whole.
type Header struct {
	Kind  Kind   `json:"event"`
	Run   string `json:"run,omitempty"`   // id of the run
	Cell  *int   `json:"cell,omitempty"`  // index of the run's cell, as "dipls cells" prints it
	Rank  *int   `json:"rank,omitempty"`  // the rank
	Local bool   `json:"local,omitempty"` // true: the local namespace
}

// Head makes the struct that embeds a Header an Event.
func (h *Header) Head() *Header { return h }

// Who is the process that the event is about; ok is false for an event of no process.
func (h *Header) Who() (who ranklist.Who, ok bool) {
	if h.Rank != nil && *h.Rank >= 0 {
		return ranklist.Rank(*h.Rank), true
	}
	return ranklist.Local, h.Local
}

// HeaderOf makes the header of an event of a process. Cell may be nil.
func HeaderOf(k Kind, run string, cell *int, who ranklist.Who) Header {
	h := Header{Kind: k, Run: run, Cell: cell, Local: who.IsLocal()}
	if rank, ok := who.Rank(); ok {
		h.Rank = new(rank)
	}
	return h
}

// CellOf is the index of a cell as events have it: nil for 0, which is no cell.
func CellOf(index int) *int {
	if index == 0 {
		return nil
	}
	return new(index)
}

// RunQueued says that somebody has started a run: its turn comes later, or has come at once. Only a session that outlives its fronts tells it, for
// those that have not started the run themselves. It comes before all other events of the run, and no journal keeps it.
type RunQueued struct {
	Header
	Path   wire.Path `json:"path,omitempty"`   // as in run_started
	Line   int       `json:"line,omitempty"`   // likewise
	Title  string    `json:"title,omitempty"`  // likewise
	Target string    `json:"target"`           // where it would go if its turn were now
	Source string    `json:"source,omitempty"` // the cell's text as it was when it was started, with its header; "": no cell as a whole
	By     string    `json:"by,omitempty"`     // who has started it: "VS Code", "dipls exec"
	Queued time.Time `json:"queued"`           // when it was started
}

// RunStarted says that a run's turn has come. Its RankState events tell which processes run it.
type RunStarted struct {
	Header
	Path    wire.Path `json:"path,omitempty"`    // file of the cell
	Line    int       `json:"line,omitempty"`    // 1-based line of the file on which the code starts
	Title   string    `json:"title,omitempty"`   // title of the cell
	Target  string    `json:"target"`            // "local", "remote", "everywhere" or "ranks:LIST"
	See     string    `json:"see"`               // "all" or ranks: whose output a view shows. For host:gpu2 see rank_state's seen
	Quiet   bool      `json:"quiet,omitempty"`   // true: a view shows errors at once, everything else at the end
	Autodip bool      `json:"autodip,omitempty"` // true: autodip decided where the run goes
	Parent  string    `json:"parent,omitempty"`  // id of the run whose cell has asked for this one
	Journal wire.Path `json:"journal,omitempty"` // directory of the run's journal; it exists once there is something to keep
	Began   time.Time `json:"began,omitzero"`    // when its turn came; only a session that outlives its fronts tells it
}

// Stream is output. A character that the process wrote in two pieces is in the later event. Bytes that are not UTF-8 become
// U+FFFD (the journal has them as they were).
type Stream struct {
	Header
	Name string `json:"name"` // "stdout" or "stderr"
	Text string `json:"text"`
}

// Display is rich output, a new version of it (Update), or a request to remove what the process has shown so far (Clear).
type Display struct {
	Header
	Data      map[string]json.RawMessage `json:"data,omitempty"`       // MIME type → JSON: text or base64 as a string, application/json any value
	Metadata  map[string]json.RawMessage `json:"metadata,omitempty"`   // about the data, as in Jupyter's messages
	Files     map[string]string          `json:"files,omitempty"`      // MIME type → file of the journal that holds it
	DisplayID string                     `json:"display_id,omitempty"` // names a display that may be updated later
	Update    bool                       `json:"update,omitempty"`     // true: replaces the display of that display_id
	Clear     bool                       `json:"clear,omitempty"`      // true: remove the output of this process; there is no data
	Wait      bool                       `json:"wait,omitempty"`       // with clear: not before the next output
}

// Result is the value of a cell's last expression.
type Result struct {
	Header
	ExecutionCount int                        `json:"execution_count"`
	Data           map[string]json.RawMessage `json:"data"`
	Metadata       map[string]json.RawMessage `json:"metadata,omitempty"`
	Files          map[string]string          `json:"files,omitempty"`
}

// Failure is an exception that ended the code of one process.
type Failure struct {
	Header
	EName     string    `json:"ename"`
	EValue    string    `json:"evalue"`
	Traceback []string  `json:"traceback"`        // lines, with ANSI colours
	Path      wire.Path `json:"path,omitempty"`   // file of the cell
	Line      int       `json:"line,omitempty"`   // 1-based line of the innermost frame in the cell's file; absent if there is none
	Frames    []Frame   `json:"frames,omitempty"` // outermost first
}

// Name names the failure in a word or two: the class of the exception, with the code of a sys.exit(N).
func (f *Failure) Name() string {
	if _, err := strconv.Atoi(f.EValue); err == nil && f.EName == "SystemExit" {
		return f.EName + ": " + f.EValue
	}
	return f.EName
}

// varying is what may differ between failures that count as the same: numbers and addresses.
var varying = regexp.MustCompile(`[-+]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\b(?:nan|inf)\b)`)

// Signature is equal for failures that count as the same: equal exception, frames, and text apart from numbers and addresses.
func (f *Failure) Signature() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s", f.EName, varying.ReplaceAllLiteralString(f.EValue, "#"))
	for _, fr := range f.Frames {
		fmt.Fprintf(&b, "\x00%s\x00%d\x00%s", fr.File, fr.Line, fr.Name)
	}
	return b.String()
}

// Frame is one stack frame of a Failure.
type Frame struct {
	File wire.Path `json:"file"`
	Line int       `json:"line"`          // 1-based
	Name string    `json:"name"`          // of the function
	Run  string    `json:"run,omitempty"` // the run that compiled the code: the line is one of that run's text; "": a file that was imported
}

// RankState says that a process (a rank or the local namespace) begins its part of a run ("busy"), has ended it
// ("ready"), was asked to give it up ("interrupting"), has died ("dead", also between runs), or was ended by us
// ("stopped"; of a rank only in a run, since between runs the pool's state tells it).
type RankState struct {
	Header
	State   string  `json:"state"`
	Status  Status  `json:"status,omitempty"`  // with ready and stopped, and with dead in a run: how its part ended
	Seconds float64 `json:"seconds,omitempty"` // how long its part took
	Reason  string  `json:"reason,omitempty"`  // with dead: "rank 2 was killed by SIGKILL"
	Host    string  `json:"host,omitempty"`    // with busy, of a rank of a pool that is on several hosts: which one it is on
	Seen    bool    `json:"seen,omitempty"`    // with busy, where see goes by the pool: a view shows this rank's output
}

// PoolState is the state of the pool as a whole, "none" (there has been none yet), "starting", "ready", "dead" or "stopped", and
// of autodip. It comes when either changes.
type PoolState struct {
	Header
	State   string `json:"state"`
	Size    int    `json:"size,omitempty"`    // number of ranks
	Reason  string `json:"reason,omitempty"`  // with dead: why; with stopped: why it could not be started
	Text    string `json:"text,omitempty"`    // with starting: what the start waits for, such as "job 4711 waits: Resources"
	Autodip string `json:"autodip,omitempty"` // the directive for cells that do not say where they run, such as "%%dip --see all"

	Hosts []HostRanks `json:"hosts,omitempty"` // of a pool that is on several hosts, in the order of the ranks
}

// HostRanks is the ranks of a pool that are on one host.
type HostRanks struct {
	Host  string        `json:"host"`  // its name
	Ranks ranklist.List `json:"ranks"` // a list such as "8-15"
}

// HostsOf are the hosts of a pool, by the name of the host of each rank; none if that is one only.
func HostsOf(names []string) []HostRanks {
	var hosts []HostRanks
	ranks := map[string][]int{}
	for rank, name := range names {
		if ranks[name] == nil {
			hosts = append(hosts, HostRanks{Host: name})
		}
		ranks[name] = append(ranks[name], rank)
	}
	if len(hosts) < 2 {
		return nil
	}
	for i := range hosts {
		hosts[i].Ranks = ranklist.Of(ranks[hosts[i].Host]...)
	}
	return hosts
}

// HostOf is the host of a rank, where the pool is on several; "" otherwise.
func (e *PoolState) HostOf(rank int) string {
	for _, h := range e.Hosts {
		if h.Ranks.Contains(rank) {
			return h.Host
		}
	}
	return ""
}

// RunFinished is the last event of a run, and comes exactly once for every run id. Only late output of threads and children may
// follow it. A run that was cancelled in the queue, or skipped, has no other event.
type RunFinished struct {
	Header
	Parent   string  `json:"parent,omitempty"` // as in run_started
	Status   Status  `json:"status"`
	ExitCode int     `json:"exit_code,omitempty"` // the argument of sys.exit, if the code failed by that: the highest of all processes
	Seconds  float64 `json:"seconds"`             // from its start; 0 if it never started
	Reason   string  `json:"reason,omitempty"`    // a sentence, where the status alone says too little
}

// Hang says that ranks wait for others. A later one with the same number in the same run replaces it: it knows more, or says that the hang
// is over (Gone). It is over when the run finishes, at the latest.
type Hang struct {
	Header
	Hang       int     `json:"hang"`                  // number of the finding in its run, from 1 on
	Variant    string  `json:"variant"`               // what kind of finding it is: "finished", "raised", "elsewhere", …
	Level      Level   `json:"level"`                 // info: as far as is known, ranks are only slow; warning: it may not end by itself
	Group      string  `json:"group,omitempty"`       // "default group", or the name of another one
	GroupRanks []int   `json:"group_ranks,omitempty"` // its members
	Operation  string  `json:"operation,omitempty"`   // "all_reduce"
	Sequence   uint64  `json:"sequence,omitempty"`    // its number among the group's collectives, from 1
	Tensors    string  `json:"tensors,omitempty"`     // "float32[1024]"
	Waiting    []Place `json:"waiting,omitempty"`     // who waits
	Missing    []Place `json:"missing,omitempty"`     // who is waited for
	Text       string  `json:"text"`                  // all of it as a sentence: "all_reduce #17: ranks 0-1,3 wait at train.py:41 for rank 2, …"
	Gone       bool    `json:"gone,omitempty"`        // it is over; then only hang, variant, level and text are set, as they were last
}

// Place is where some ranks are, in a Hang.
type Place struct {
	Ranks []int     `json:"ranks"`
	Path  wire.Path `json:"path,omitempty"` // file of the innermost frame in the user's code
	Line  int       `json:"line,omitempty"` // 1-based, in the text of the run that compiled it; 0: they are in no file
	Run   string    `json:"run,omitempty"`  // the run that compiled the code, as in a frame
	Name  string    `json:"name,omitempty"` // of the function
	Why   string    `json:"why"`            // "in all_reduce", "has finished this cell", "in next(loader)", …
}

// RanksAt are the ranks at some places, in order.
func RanksAt(places []Place) []int {
	var all []int
	for _, p := range places {
		all = append(all, p.Ranks...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Log is a sentence for the user.
type Log struct {
	Header
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Path  string `json:"path,omitempty"` // the file or directory that the sentence points to

	Missing bool `json:"missing,omitempty"` // true: output of the run was left out here
}

// NewLog returns a log event that belongs to no run.
func NewLog(level Level, text string) *Log {
	return &Log{Header: Header{Kind: KindLog}, Level: level, Text: text}
}

// newEvent returns an empty event of a kind.
func newEvent(k Kind) (Event, error) {
	var e Event
	switch k {
	case KindRunQueued:
		e = new(RunQueued)
	case KindRunStarted:
		e = new(RunStarted)
	case KindStream:
		e = new(Stream)
	case KindDisplay:
		e = new(Display)
	case KindResult:
		e = new(Result)
	case KindError:
		e = new(Failure)
	case KindRankState:
		e = new(RankState)
	case KindPoolState:
		e = new(PoolState)
	case KindRunFinished:
		e = new(RunFinished)
	case KindHang:
		e = new(Hang)
	case KindInput:
		e = new(Input)
	case KindLog:
		e = new(Log)
	case KindQuestion:
		e = new(Question)
	default:
		return nil, fmt.Errorf("no event is called %q", k)
	}
	return e, nil
}

// WriteJSON writes the event as one line of JSON.
func WriteJSON(w io.Writer, e Event) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(e)
}

// ParseJSON is the inverse of WriteJSON. It ignores fields that it does not know.
func ParseJSON(line []byte) (Event, error) {
	kind, err := kindOf(line)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	e, err := newEvent(kind)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), e); err != nil {
		return nil, fmt.Errorf("event %s: %w", kind, err)
	}
	return e, nil
}

// List is events as a JSON array.
type List []Event

// UnmarshalJSON reads an array of what [WriteJSON] writes.
func (l *List) UnmarshalJSON(data []byte) error {
	var all []json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*l = make(List, len(all))
	for i, one := range all {
		e, err := ParseJSON(one)
		if err != nil {
			return err
		}
		(*l)[i] = e
	}
	return nil
}

// kindFirst is how an event begins as WriteJSON writes it.
var kindFirst = []byte(`{"event":"`)

// kindOf is what kind of event a line is. As WriteJSON writes one, that need not read all of it.
func kindOf(line []byte) (Kind, error) {
	if rest, ok := bytes.CutPrefix(line, kindFirst); ok {
		if kind, _, ok := bytes.Cut(rest, []byte(`"`)); ok {
			return Kind(kind), nil
		}
	}
	var h Header
	err := json.Unmarshal(line, &h)
	return h.Kind, err
}
