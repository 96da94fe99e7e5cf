// Package wire holds the messages between the server and its Python processes: their types, framing and signing.
//
// The messages are Jupyter messages (https://jupyter-client.readthedocs.io/en/stable/messaging.html). docs/wire.md describes
// the types that Jupyter lacks, and how all are used. The package knows no sockets.
package wire

import "encoding/json"

// ProtocolVersion is the version of the node's start-up line and of the message types that Jupyter does not have.
const ProtocolVersion = 1

// JupyterVersion is the version of Jupyter's messaging specification in every header.
const JupyterVersion = "5.4"

// Message types.
const (
	TypeHello      = "hello"
	TypeHelloReply = "hello_reply"

	TypePreloadRequest  = "preload_request"
	TypePreloadReply    = "preload_reply"
	TypeSpawnRequest    = "spawn_request"
	TypeSpawnReply      = "spawn_reply"
	TypeSignalRequest   = "signal_request"
	TypeSignalReply     = "signal_reply"
	TypeExited          = "exited"
	TypeShutdownRequest = "shutdown_request"
	TypeShutdownReply   = "shutdown_reply"

	TypeExecuteRequest     = "execute_request"
	TypeExecuteReply       = "execute_reply"
	TypeStream             = "stream"
	TypeStreamAck          = "stream_ack"
	TypeDisplayData        = "display_data"
	TypeUpdateDisplayData  = "update_display_data"
	TypeClearOutput        = "clear_output"
	TypeExecuteResult      = "execute_result"
	TypeError              = "error"
	TypeInterruptRequest   = "interrupt_request"
	TypeInterruptReply     = "interrupt_reply"
	TypeStatusRequest      = "status_request"
	TypeStatus             = "status"
	TypeStackRequest       = "stack_request"
	TypeStackReply         = "stack_reply"
	TypeNamesRequest       = "names_request"
	TypeNamesReply         = "names_reply"
	TypeGroupsRequest      = "groups_request"
	TypeGroupsReply        = "groups_reply"
	TypeConnectionsRequest = "connections_request"
	TypeConnectionsReply   = "connections_reply"
	TypeBreakRequest       = "break_request"
	TypeBreakReply         = "break_reply"
	TypeMendRequest        = "mend_request"
	TypeMendReply          = "mend_reply"
	TypeHang               = "hang"
	TypeColumns            = "columns"
	TypeSurroundings       = "surroundings"
	TypeCompleteRequest    = "complete_request"
	TypeCompleteReply      = "complete_reply"
	TypeInspectRequest     = "inspect_request"
	TypeInspectReply       = "inspect_reply"
	TypeVariablesRequest   = "variables_request"
	TypeVariablesReply     = "variables_reply"
	TypeTableRequest       = "table_request"
	TypeTableReply         = "table_reply"

	TypeCheckRequest   = "check_request"
	TypeCheckReply     = "check_reply"
	TypePushRequest    = "push_request"
	TypePushReply      = "push_reply"
	TypePushCommit     = "push_commit"
	TypePullRequest    = "pull_request"
	TypePullReply      = "pull_reply"
	TypePullRelease    = "pull_release"
	TypeAppRequest     = "app_request"
	TypeAppReply       = "app_reply"
	TypeCommandRequest = "command_request"
	TypeCommandReply   = "command_reply"
	TypeCommandEnd     = "command_end"
	TypeInputRequest   = "input_request"
	TypeInputReply     = "input_reply"
	TypeInputEnd       = "input_end"
)

// Header is what a receiver needs of a Jupyter message header.
type Header struct {
	MsgID   string `json:"msg_id"`
	Session string `json:"session"`
	MsgType string `json:"msg_type"`
}

// Message is one verified message. Content is decoded by the receiver, who knows the type.
type Message struct {
	Header    Header
	RawHeader []byte          // the header as it came: what an answer has as its parent header
	ParentID  string          // msg_id of the parent header, "" if none
	Metadata  json.RawMessage // nil if there is none
	Content   json.RawMessage
	Buffers   [][]byte
}

// Status is the part that every reply has.
type Status struct {
	Status    string   `json:"status"` // "ok", "error" or, for execute_reply, "aborted"
	EName     string   `json:"ename,omitempty"`
	EValue    string   `json:"evalue,omitempty"`
	Traceback []string `json:"traceback,omitempty"`
}

// StartLine is the object on the first line of a node's standard input.
type StartLine struct {
	Protocol   int      `json:"protocol"`
	Host       string   `json:"host"` // its name: "" if it has none
	RuntimeDir string   `json:"runtime_dir"`
	Name       string   `json:"name"`
	Key        string   `json:"key"` // hex
	Script     Path     `json:"script"`
	ExtraPath  []string `json:"extra_path"`
	Plain      bool     `json:"plain,omitempty"` // IPython writes no colours
	LogLevel   string   `json:"log_level"`
}

// ReadyLine is the one line that a node writes to descriptor 3.
type ReadyLine struct {
	Ready     bool     `json:"ready"`
	PID       int      `json:"pid"`
	StartTime uint64   `json:"start_time"`
	Error     string   `json:"error,omitempty"`
	Missing   []string `json:"missing,omitempty"` // import names
}

// Hello opens every conversation.
type Hello struct {
	Protocol int `json:"protocol"`
}

// NodeHelloReply is a node's answer to Hello.
type NodeHelloReply struct {
	Status
	Protocol  int               `json:"protocol"`
	PID       int               `json:"pid"`
	StartTime uint64            `json:"start_time"`
	Python    string            `json:"python"`   // "3.11.2"
	Packages  map[string]string `json:"packages"` // distribution name → version; absent if not installed
}

// ProcessHelloReply is a rank's or local namespace's answer to Hello, sent when its app has joined.
type ProcessHelloReply struct {
	Status
	PID     int     `json:"pid"`
	Rank    *int    `json:"rank"` // nil: the local namespace
	App     string  `json:"app"`
	Backend string  `json:"backend"` // "gloo", "nccl" or ""
	Device  string  `json:"device"`  // "cpu", "cuda:0"
	Seconds float64 `json:"seconds"`

	Notices []string `json:"notices"` // sentences for the user

	IOThread int `json:"io_thread"` // the system's number of the thread that answers while the main one is busy; 0: unknown
}

// PreloadRequest asks a node to import modules before it forks.
type PreloadRequest struct {
	Modules []string `json:"modules"`
	App     string   `json:"app,omitempty"` // if it comes with dipls, its modules are imported as well
}

// PreloadReply answers it.
type PreloadReply struct {
	Status
	Seconds  float64         `json:"seconds"`
	Failed   []PreloadFailed `json:"failed"`
	ForkSafe bool            `json:"fork_safe"`
	Reason   string          `json:"reason"` // why a fork is not safe
}

// PreloadFailed is one module that could not be imported.
type PreloadFailed struct {
	Module string `json:"module"`
	Error  string `json:"error"`
}

// SpawnRequest asks a node to start processes: all of them or none.
type SpawnRequest struct {
	Method     string         `json:"method"`               // "auto", "fork" or "spawn"
	Rendezvous *Rendezvous    `json:"rendezvous,omitempty"` // nil: there are no ranks among the processes
	Processes  []SpawnProcess `json:"processes"`
}

// Rendezvous says where the ranks of a pool meet.
type Rendezvous struct {
	Address    string `json:"address"`              // of the host of rank 0: MASTER_ADDR
	Ranks      int    `json:"ranks"`                // of the whole pool
	MasterPort int    `json:"master_port,omitzero"` // these two as the node of rank 0 has chosen them; 0 for that node, which does
	JAXPort    int    `json:"jax_port,omitzero"`
}

// SpawnProcess describes one process to start.
type SpawnProcess struct {
	Name  string            `json:"name"`
	Rank  *int              `json:"rank"`
	Key   string            `json:"key"`
	Env   map[string]string `json:"env"`
	Unset []string          `json:"unset,omitempty"`
	App   string            `json:"app"`

	Surroundings *Surroundings `json:"surroundings,omitempty"` // what it inherits from the local namespace; applied after Env

	Verbose bool `json:"verbose"`  // of the app
	FreeGPU bool `json:"free_gpu"` // free torch's cached memory after cells that changed it

	Seed *int64 `json:"seed,omitempty"` // of its random generators; nil: from the system's entropy
}

// Surroundings are what the local namespace has changed since its start of what its children inherit. Values are passed on as they came, since
// they need not be UTF-8.
type Surroundings struct {
	Env  map[string]json.RawMessage `json:"env"`            // a string each; null: removed
	Cwd  json.RawMessage            `json:"cwd,omitempty"`  // a string, or null if it is gone
	Path json.RawMessage            `json:"path,omitempty"` // sys.path; null stands for the folders of files whose cells run
}

// Sets reports whether the process itself has given a variable a value.
func (s *Surroundings) Sets(name string) bool {
	return s != nil && s.Env[name] != nil && string(s.Env[name]) != "null"
}

// SpawnReply names what was started.
type SpawnReply struct {
	Status
	Method     string           `json:"method"`
	Reason     string           `json:"reason"`
	Notices    []string         `json:"notices"`     // sentences for the user, each of them once
	MasterPort int              `json:"master_port"` // that it has chosen; 0 if rank 0 is not among the processes
	JAXPort    int              `json:"jax_port"`
	Processes  []SpawnedProcess `json:"processes"`
}

// SpawnedProcess identifies a started process for ever: a pid alone may be reused.
type SpawnedProcess struct {
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
}

// SignalRequest asks a node to signal one of its children.
type SignalRequest struct {
	Name   string `json:"name"`
	Signal string `json:"signal"` // "SIGINT", "SIGTERM" or "SIGKILL"
}

// SignalReply says whether the child still lived.
type SignalReply struct {
	Status
	Sent bool `json:"sent"`
}

// Exited says that a node's child has ended; Buffers[0] of its message holds the bytes of Tail.
type Exited struct {
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
	Code      *int   `json:"code"`
	Signal    string `json:"signal"` // "SIGKILL"; "" if it exited by itself
	Asked     bool   `json:"asked"`  // the node had sent a signal
	OOM       bool   `json:"oom"`    // the kernel counted an out-of-memory kill
	Tail      []Tail `json:"tail"`
}

// Tail is output of the dead process that had not been acknowledged.
type Tail struct {
	Name string `json:"name"`
	Seq  uint64 `json:"seq"` // as in Stream
	Size int    `json:"size"`
}

// ExecuteRequest runs code that starts on Line (1-based) of Path.
type ExecuteRequest struct {
	Code         string `json:"code"`
	Silent       bool   `json:"silent"`
	StoreHistory bool   `json:"store_history"`
	Path         Path   `json:"path"`
	Line         int    `json:"line"`
	Run          string `json:"run,omitempty"`         // comes back in Frame
	AppCommand   string `json:"app_command,omitempty"` // for the rank's app
	// Args are what sys.argv has behind the file, set if it is not what came with the request before; nil: it stays as it is.
	Args []string `json:"args,omitzero"`
	// Autoreload wants to know in the reply which of the project's files were imported, and Reload names those whose modules are to be reloaded first.
	Autoreload bool   `json:"autoreload,omitempty"`
	Reload     []Path `json:"reload,omitempty"`

	// One of these may be there in place of code.
	Transfer   *Transfer `json:"transfer,omitempty"`    // for the local namespace
	File       *File     `json:"file,omitempty"`        //
	FreeMemory bool      `json:"free_memory,omitempty"` // give back the GPU memory that torch has cached
}

// Columns tells how wide the reader's screen is now.
type Columns struct {
	Columns int `json:"columns"`
}

// Transfer is a push or a pull of the local namespace, as %dipush and %dipull do it.
type Transfer struct {
	Pull  bool     `json:"pull"` // from a rank; else to ranks
	Names []string `json:"names"`
	Ranks string   `json:"ranks"` // "all" or a list; of a pull from one rank, its number
}

// File is variables that are written to a file, or one that is read from it. The end of its name says in which format.
type File struct {
	Path  Path     `json:"path"` // absolute
	Names []string `json:"names"`
	Write bool     `json:"write"` // else it is read
}

// TraceWanted is the metadata of an execute_request that asks for [TraceMetadata] in the reply.
var TraceWanted = []byte(`{"trace":true}`)

// TraceMetadata is the metadata of an execute_reply that was asked for it.
type TraceMetadata struct {
	Trace *Moments `json:"trace"`
}

// Moments are when things happened to a request in a process: nanoseconds of the clock that all processes of the host share (Python's
// time.monotonic_ns); 0 if one did not happen.
type Moments struct {
	Received int64 `json:"received"` // by the I/O thread, which has verified it
	Taken    int64 `json:"taken"`    // by the main thread
	Compiled int64 `json:"compiled"` // the first line is about to run
	Ran      int64 `json:"ran"`      // the last line has run
	Replied  int64 `json:"replied"`  // the reply has been made, and waits for the I/O thread
	Sent     int64 `json:"sent"`     // the I/O thread sends it
	Printed  int64 `json:"printed"`  // the first byte of output is safe from the death of the process
	Streamed int64 `json:"streamed"` // the I/O thread sends that
}

// ExecuteReply ends an execution.
type ExecuteReply struct {
	Status
	ExecutionCount int               `json:"execution_count"`
	ExitCode       int               `json:"exit_code,omitempty"`   // argument of sys.exit, if the cell failed by that
	PeakMemory     int64             `json:"peak_memory,omitempty"` // bytes of GPU memory that torch had allocated at most meanwhile; 0: there is no GPU
	Groups         map[string]uint64 `json:"groups,omitempty"`      // if the rank has joined process groups: how many collectives each group was asked for
	Imported       []Imported        `json:"imported,omitempty"`    // with Autoreload: since the last such reply
	Reloaded       bool              `json:"reloaded,omitempty"`    // all of Reload were tried; false: none counts as reloaded
}

// Imported is a source file of the project, as it was when it was imported.
type Imported struct {
	Path  Path    `json:"path"`
	MTime float64 `json:"mtime"` // seconds since 1970
	Size  int64   `json:"size"`  // bytes
}

// Stream heads a piece of output; the bytes are Buffers[0] of its message.
type Stream struct {
	Name string `json:"name"` // "stdout" or "stderr"
	Seq  uint64 `json:"seq"`  // bytes printed so far, these included
}

// StreamAck tells a process that its output up to Seq is safe.
type StreamAck struct {
	Seq uint64 `json:"seq"`
}

// Display is the content of display_data, update_display_data and execute_result. Values of Data are JSON: text is a
// string, binary data a base64 string, application/json any value.
type Display struct {
	Data           map[string]json.RawMessage `json:"data"`
	Metadata       map[string]json.RawMessage `json:"metadata"`
	Transient      map[string]json.RawMessage `json:"transient,omitempty"`
	ExecutionCount int                        `json:"execution_count,omitempty"` // execute_result only
}

// ClearOutput is Jupyter's clear_output.
type ClearOutput struct {
	Wait bool `json:"wait"`
}

// Error is an exception that ended an execution.
type Error struct {
	EName     string   `json:"ename"`
	EValue    string   `json:"evalue"`
	Traceback []string `json:"traceback"` // lines with ANSI colours
	Frames    []Frame  `json:"frames"`    // outermost first
}

// Frame is one stack frame.
type Frame struct {
	File Path   `json:"file"`
	Line int    `json:"line"`
	Name string `json:"name"` // of the function
	Run  string `json:"run"`  // the run whose request brought the code, also if another process ran that one; "": none did
}

// StackFrame is a frame of a thread that runs.
type StackFrame struct {
	Frame
	Source string `json:"source,omitempty"` // the line's text, without the blanks around it
}

// InterruptRequest interrupts the execution of request Parent, or any if it is empty.
type InterruptRequest struct {
	Parent string `json:"parent"`
}

// ProcessStatus is the content of status.
type ProcessStatus struct {
	Status
	ExecutionState string `json:"execution_state"`     // "starting", "busy", "idle" or "ending"
	MsgID          string `json:"msg_id"`              // the running request
	WaitsFor       string `json:"waits_for,omitempty"` // what a long end waits for: "2 threads"
}

// ShutdownReply is a process's last message.
type ShutdownReply struct {
	Status        // an error is that of the app's finalizer
	CutOff CutOff `json:"cut_off"`
}

// CutOff counts what was still going on in a process when it ended: threads and child processes that Python would have waited for.
type CutOff struct {
	Threads   int `json:"threads"`
	Processes int `json:"processes"`
}

// StackReply holds the stacks of all threads of a process.
type StackReply struct {
	Status
	Threads []Thread `json:"threads"`
}

// NamesRequest asks which of some names are defined in a process's namespace.
type NamesRequest struct {
	Names []string `json:"names"`
}

// NamesReply answers it.
type NamesReply struct {
	Status
	Names []string `json:"names"` // those that are defined, in the order of the request
}

// GroupsReply says how far a rank is with the collectives of its process groups, and where it is. There are no groups before it has joined.
type GroupsReply struct {
	Status
	Groups     []Group     `json:"groups"`
	Operations []Operation `json:"operations"` // that have not ended: those of the main thread first
	Threads    []Thread    `json:"threads"`    // the main one first; their frames are without source
	Running    string      `json:"running"`    // the request that the main thread serves; "": none
}

// Group is a process group as one of its ranks knows it.
type Group struct {
	Name    string `json:"name"`    // torch's name, the same on all its ranks; in most versions "0" for the default group
	Default bool   `json:"default"` // it is the one of all ranks
	Label   string `json:"label"`   // the user's name for it (group_desc); "": none
	Backend string `json:"backend"` // "gloo", "nccl", …
	Ranks   []int  `json:"ranks"`
	Count   uint64 `json:"count"` // of collectives; it may begin at any number, which is the same on all ranks
}

// Operation is a call of torch.distributed that a rank has begun and that has not ended.
type Operation struct {
	Group  string    `json:"group"`           // its name; "": not known
	Name   string    `json:"name"`            // "all_reduce", "send", "barrier", …; "backward", "wait" or "synchronize" if no more is known
	Count  uint64    `json:"count"`           // the group's count with it, counted as [Group.Count]; 0: not known
	Sizes  [][]int64 `json:"sizes,omitempty"` // of its tensors, if known
	DType  string    `json:"dtype,omitempty"` // "float32"
	Peer   *int      `json:"peer,omitempty"`  // the other rank of a send or receive, as a rank of the pool; nil: any, or not known
	Thread uint64    `json:"thread"`          // the thread that waits in it; 0: none, it runs in the background
}

// ConnectionsReply lists the TCP connections that the backends of the process's groups have opened themselves. Connections that user code has
// opened, in Python or natively, are never among them.
type ConnectionsReply struct {
	Status
	Connections []Connection `json:"connections"`
}

// Connection is the two ends of a TCP connection, each as "ADDRESS:PORT" ("[ADDRESS]:PORT" in IPv6).
type Connection struct {
	Local  string `json:"local"`
	Remote string `json:"remote"`
}

// BreakRequest makes the process give up whatever waits in its process groups, also while it is busy: it shuts down these connections, and
// aborts communicators of backends that have them. It is sent to all ranks of a pool at once; after it the groups must be mended.
type BreakRequest struct {
	Connections []Connection `json:"connections"` // some of those in its ConnectionsReply
	Timeout     float64      `json:"timeout"`     // seconds for the communicators
}

// BreakReply answers it.
type BreakReply struct {
	Status
	Broken   int      `json:"broken"`   // connections
	Aborted  []string `json:"aborted"`  // names of groups whose communicators were aborted
	Problems []string `json:"problems"` // sentences
}

// MendRequest forms all process groups of a rank anew, on all ranks of the pool at once. The main thread serves it in turn.
type MendRequest struct {
	Round   int     `json:"round"`   // new each time, the same on all ranks
	Timeout float64 `json:"timeout"` // seconds for the others to come

	// Keep: the groups are sound and stay as they are. Ranks are only made to agree after an interrupt between two collectives, for example on a
	// model that one rank's optimizer has stepped and another's has not. Collectives are run only if there is such a thing.
	Keep bool `json:"keep,omitempty"`
}

// MendReply answers it.
type MendReply struct {
	Status
	InPlace bool     `json:"in_place"` // the group objects are the same, and can be used on
	Groups  []string `json:"groups"`   // names of those that were formed anew
	Stale   []Stale  `json:"stale"`    // variables that hold a group that no longer exists
	Notices []string `json:"notices"`  // sentences for the user, such as what was made to agree
}

// Stale is a variable that holds a process group that no longer exists.
type Stale struct {
	Name string `json:"name"` // "model"
	Type string `json:"type"` // "DistributedDataParallel"
	Todo string `json:"todo"` // "wrap it again"
}

// CheckRequest asks what is wrong with cells that will run one after the other. They are compiled, and not run. The main thread serves it in turn.
type CheckRequest struct {
	Cells []CheckedCell `json:"cells"`
}

// CheckedCell is a cell, as in [ExecuteRequest].
type CheckedCell struct {
	Code string `json:"code"`
	Path Path   `json:"path"`
	Line int    `json:"line"`
	Run  string `json:"run"`
}

// CheckReply answers it.
type CheckReply struct {
	Status
	Faults []Fault `json:"faults"` // in the order of the cells, at most one each
}

// Fault is why a cell cannot be compiled.
type Fault struct {
	Cell int `json:"cell"` // index in the request
	Error
	Message string `json:"msg"`    // Python's own words, without the place; "": those of Error
	Column  int    `json:"column"` // in code points, from 1
}

// CompleteRequest asks how code may go on at a place. Like InspectRequest and VariablesRequest it is a lookup: only an idle process
// answers, and it gives up when Timeout is over or there is something to run.
type CompleteRequest struct {
	Code      string  `json:"code"`
	CursorPos int     `json:"cursor_pos"` // in code points
	Timeout   float64 `json:"timeout"`    // seconds
}

// CompleteReply answers it.
type CompleteReply struct {
	Status
	Matches     []string         `json:"matches"`
	CursorStart int              `json:"cursor_start"` // of the text that the matches replace, in code points
	CursorEnd   int              `json:"cursor_end"`
	Metadata    CompleteMetadata `json:"metadata"`
}

// CompleteMetadata is what Jupyter's reply has no fields for.
type CompleteMetadata struct {
	Types      []MatchType `json:"_jupyter_types_experimental"` // of the matches, in their order
	Incomplete bool        `json:"incomplete"`                  // there are more
}

// MatchType is what a match names: "instance", "function", "class", "module", "property", "param", "keyword" or "magic".
type MatchType struct {
	Text string `json:"text"`
	Type string `json:"type"`
}

// InspectRequest asks about the name at a place in code.
type InspectRequest struct {
	Code      string  `json:"code"`
	CursorPos int     `json:"cursor_pos"` // in code points
	Timeout   float64 `json:"timeout"`    // seconds
}

// InspectReply answers it.
type InspectReply struct {
	Status
	Found bool        `json:"found"`
	Data  InspectData `json:"data"`
}

// InspectData is what is known of an object, by MIME type.
type InspectData struct {
	Text   string  `json:"text/plain"`
	Object *Object `json:"application/vnd.dipls.object+json"`
}

// VariablesRequest asks for the variables of a namespace, or for what one of its values consists of.
type VariablesRequest struct {
	Of      string  `json:"of,omitempty"`    // a value, such as "model.fc.weight" or "batch['x'][0]"; "": the namespace
	Digest  bool    `json:"digest,omitzero"` // only the value itself, with its digest
	Timeout float64 `json:"timeout"`         // seconds
}

// VariablesReply answers it.
type VariablesReply struct {
	Status
	Variables []Object `json:"variables"` // by name; with Of in their own order, each named by the step that leads to it: ".weight", "[0]", "['x']"
	More      int      `json:"more"`      // how many were left out
}

// TableRequest asks for a page of a table or an array, as text. It is a lookup.
type TableRequest struct {
	TableQuery
	Timeout float64 `json:"timeout"` // seconds
}

// TableQuery says which table is meant, and which part of it.
type TableQuery struct {
	Name        string        `json:"name"`                  // of a variable, or a dotted name
	Place       []int         `json:"place,omitempty"`       // of an array of more than two dimensions: where in those before the last two; 0 by default
	Start       int           `json:"start,omitzero"`        // the first row, counted as they are sorted and filtered
	Rows        int           `json:"rows,omitzero"`         // how many, at most; 0 and more than 500 are 500
	FirstColumn int           `json:"first_column,omitzero"` // from 0
	Columns     int           `json:"columns,omitzero"`      // how many, at most; 0 and more than 200 are 200
	Sort        *int          `json:"sort,omitempty"`        // by this column, from 0; nil: rows are in their own order
	Descending  bool          `json:"descending,omitempty"`  // from the highest to the lowest
	Filters     []TableFilter `json:"filters,omitempty"`     // all have to hold
}

// TableFilter chooses rows by a column.
type TableFilter struct {
	Column int    `json:"column"` // from 0
	Text   string `json:"text"`   // a comparison, such as ">= 3" or "!= a", or what a cell contains, in any case
}

// TableReply answers a TableRequest.
type TableReply struct {
	Status
	TablePage
}

// TablePage is a part of a table.
type TablePage struct {
	Found       bool          `json:"found"`
	Reason      string        `json:"reason,omitempty"`      // why there is none, if it is not Found
	Type        string        `json:"type,omitempty"`        // such as pandas.core.frame.DataFrame
	Shape       []int         `json:"shape,omitempty"`       // of all of it
	Total       int           `json:"total,omitzero"`        // how many rows pass the filters
	Start       int           `json:"start,omitzero"`        // the first row of the page
	FirstColumn int           `json:"first_column,omitzero"` // from 0 of the page
	Columns     int           `json:"columns,omitzero"`      // how many there are
	Names       []TableColumn `json:"names,omitempty"`       // the columns of the page
	Labels      []string      `json:"labels,omitempty"`      // of the page's rows
	Cells       [][]string    `json:"cells,omitempty"`       // by row, each of at most 200 characters
}

// TableColumn is a column of a table.
type TableColumn struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
}

// Object is what is known of an object in a namespace.
type Object struct {
	Name      string `json:"name,omitempty"`
	Type      string `json:"type"`
	Kind      string `json:"kind"` // "instance", "function", "class", "module" or "property"
	Text      string `json:"text"` // its value, cut short; "" where there is none
	Shape     []int  `json:"shape,omitzero"`
	DType     string `json:"dtype,omitempty"`
	Device    string `json:"device,omitempty"`
	Bytes     *int64 `json:"bytes,omitempty"`  // of an array or tensor
	Length    *int   `json:"length,omitempty"` // of a built-in container
	Signature string `json:"signature,omitempty"`
	Doc       string `json:"doc,omitempty"`
	Members   bool   `json:"members,omitzero"` // it consists of values that can be asked for
	Digest    string `json:"digest,omitempty"` // tells arrays apart: "norm 1.5 · crc 9c1185a5"
}

// Thread is where one thread is.
type Thread struct {
	ID     uint64       `json:"id"`
	Name   string       `json:"name"`
	Main   bool         `json:"main"`
	Frames []StackFrame `json:"frames"` // outermost first, without those that lead to the user's code; none: it waits for a cell
}

// PushRequest asks a rank to unpickle variables; they wait for PushCommit.
type PushRequest struct {
	Names   []string `json:"names"`
	Payload Payload  `json:"payload"`
}

// PushReply answers it.
type PushReply struct {
	Status
	Name string `json:"name"` // the variable that failed; "" if none in particular
}

// PushCommit binds the variables that wait, or forgets them.
type PushCommit struct {
	Commit bool `json:"commit"`
}

// PullRequest asks a rank to pickle variables.
type PullRequest struct {
	Names     []string `json:"names"`
	WhileBusy bool     `json:"while_busy,omitempty"` // while the main thread waits in a collective, another thread may answer
}

// PullReply answers it. The payload is there until PullRelease.
type PullReply struct {
	Status
	Name    string  `json:"name"` // the variable that failed; "" if none in particular
	Payload Payload `json:"payload"`
}

// PullRelease frees the payload of the answer to the request Parent.
type PullRelease struct {
	Parent string `json:"parent"`
}

// AppRequest changes a rank's app; what is nil stays as it is.
type AppRequest struct {
	App     *string `json:"app"`
	Verbose *bool   `json:"verbose"`
}

// AppReply answers it.
type AppReply struct {
	Status
	App     string   `json:"app"`
	Backend string   `json:"backend,omitempty"` // as in ProcessHelloReply, if the rank has joined
	Device  string   `json:"device,omitempty"`
	Notices []string `json:"notices"`
}

// InputRequest asks for a line that somebody types: the process waits for it. Its answer is an InputReply.
type InputRequest struct {
	ID       int    `json:"id"`     // the process's own number for it; all of an input_end
	Prompt   string `json:"prompt"` // one line
	Password bool   `json:"password"`
}

// InputReply answers it: status "ok" with what was typed, "eof" for the end of what is typed, "error" if nobody can be asked, and "aborted" once nobody
// waits for an answer.
type InputReply struct {
	ID     int    `json:"id"`
	Status string `json:"status"`
	Value  string `json:"value"`
}

// Command is the part that every command_request has, and all of a command_end.
type Command struct {
	ID      int    `json:"id"` // the process's own number for it
	Command string `json:"command"`
}

// CommandStatus is the part that every command_reply has.
type CommandStatus struct {
	ID int `json:"id"`
	Status
}

// The commands, and their replies.
type (
	// PushCommand is "push".
	PushCommand struct {
		Names   []string `json:"names"`
		Ranks   string   `json:"ranks"` // "all" or a list
		Payload Payload  `json:"payload"`
	}
	PushCommandReply struct {
		CommandStatus
		Ranks []int `json:"ranks"`
		Pool  int   `json:"pool"` // which of the session's pools it is, counted from 1
	}

	// PullCommand is "pull". Its payloads are there until command_end.
	PullCommand struct {
		Names []string `json:"names"`
		Ranks string   `json:"ranks"`
	}
	PullCommandReply struct {
		CommandStatus
		Payloads []RankPayload `json:"payloads"`
	}
	RankPayload struct {
		Rank    int     `json:"rank"`
		Payload Payload `json:"payload"`
	}

	// MakeCommand is "make": make, restart or end the pool, or change some of its settings while it lives.
	MakeCommand struct {
		GPUs         *string `json:"gpus"`  // nil: not said; "all" or a list
		Ranks        int     `json:"ranks"` // 0: not said
		App          string  `json:"app"`   // "": not said
		Restart      bool    `json:"restart"`
		Kill         bool    `json:"kill"`
		Timeout      float64 `json:"timeout"`        // seconds; 0: not said
		Verbose      *bool   `json:"verbose"`        // nil: not said
		Seed         *int64  `json:"seed"`           // nil: not said; -1: none
		Check        bool    `json:"check"`          // have torch compare the collectives of all ranks
		GroupTimeout float64 `json:"group_timeout"`  // seconds; 0: not said
		Hosts        *string `json:"hosts"`          // as --hosts has it; nil: not said; "": this machine
		RanksPerHost int     `json:"ranks_per_host"` // 0: not said
		Shrink       bool    `json:"shrink"`         // with restart: without hosts that are lost
		Sync         bool    `json:"sync"`           // hosts get the project's Python files before each run, of the pools after this one too
	}
	MakeCommandReply struct {
		CommandStatus
		Text string `json:"text"`
	}

	// InfoCommandReply answers "info", which has no arguments.
	InfoCommandReply struct {
		CommandStatus
		Pool PoolInfo `json:"pool"`
	}

	// RunCommand is "run": code for the ranks.
	RunCommand struct {
		Code       string `json:"code"`
		Path       Path   `json:"path"`
		Line       int    `json:"line"`
		Ranks      string `json:"ranks"`
		See        string `json:"see"`
		Quiet      bool   `json:"quiet"`
		AppCommand string `json:"app_command"`
		Anyway     bool   `json:"anyway"`
		Wait       *bool  `json:"wait"` // reply at the end of the run; nil: no, or as %pxconfig says
		Px         bool   `json:"px"`   // from %px: %pxconfig says what is left open here
		Verbose    *bool  `json:"verbose"`
	}
	// PxConfigCommand is "pxconfig": what is nil stays.
	PxConfigCommand struct {
		Targets *string `json:"targets"`
		Block   *bool   `json:"block"`
		Verbose *bool   `json:"verbose"`
	}
	PxConfigCommandReply struct {
		CommandStatus
		Targets string `json:"targets"`
		Block   bool   `json:"block"`
		Verbose bool   `json:"verbose"`
	}
	// ResultCommand is "result".
	ResultCommand struct {
		Run string `json:"run"` // "": the latest run on the ranks
	}
	// RunCommandReply answers "run" and "result".
	RunCommandReply struct {
		CommandStatus
		Run       string    `json:"run"`
		RunStatus string    `json:"run_status"`
		Reason    string    `json:"reason,omitempty"`
		Parts     []RunPart `json:"parts"`
	}
	RunPart struct {
		Rank   int    `json:"rank"`
		Status string `json:"status"`
		EName  string `json:"ename,omitempty"`
		EValue string `json:"evalue,omitempty"`
		Output string `json:"output,omitempty"` // of "result": the end of what was printed
		Result string `json:"result,omitempty"` // of "result": text/plain of the value
		Shown  bool   `json:"shown,omitempty"`  // of "result": whether a view shows the output as it comes
	}

	// AutodipCommand is "autodip".
	AutodipCommand struct {
		On    *bool  `json:"on"` // nil only asks
		Flags string `json:"flags"`
		Px    bool   `json:"px"` // from %autopx: cells run as %%px
	}
	AutodipCommandReply struct {
		CommandStatus
		Autodip string `json:"autodip"` // "%%dip --see all"; "" is off
	}

	// InterruptCommandReply answers "interrupt", which has no arguments.
	InterruptCommandReply struct {
		CommandStatus
		Interrupted int `json:"interrupted"`
	}
)

// PoolInfo describes the pool and the local namespace.
type PoolInfo struct {
	State   string     `json:"state"` // "none" before there is one
	Reason  string     `json:"reason"`
	Text    string     `json:"text,omitempty"` // with starting: what the start waits for
	Size    int        `json:"size"`
	Backend string     `json:"backend"`
	App     string     `json:"app"`
	Method  string     `json:"method"` // "fork" or "spawn"
	Verbose bool       `json:"verbose"`
	Autodip string     `json:"autodip"`
	Ranks   []RankInfo `json:"ranks"`
	Local   *LocalInfo `json:"local"`
	Hosts   []HostInfo `json:"hosts,omitempty"` // of a pool that is not on this machine, in the order of the ranks
}

// HostInfo describes a host of a pool.
type HostInfo struct {
	Host   string  `json:"host"`             // its name, as ranks have it
	State  string  `json:"state"`            // "reachable", "unreachable" or "lost"
	Reason string  `json:"reason,omitempty"` // with lost: why
	Clock  float64 `json:"clock"`            // how many seconds the time that it shows is ahead of ours
}

// RankInfo describes a rank.
type RankInfo struct {
	Rank      int    `json:"rank"`
	Host      string `json:"host"` // the name of its machine; "" if that has none
	PID       int    `json:"pid"`
	Device    string `json:"device"`
	State     string `json:"state"`
	HostBytes *int64 `json:"host_bytes"` // proportional share of memory; nil: unknown
	GPUBytes  *int64 `json:"gpu_bytes"`  // nil: unknown
	// GPULoad is for how much of the last moment its GPU was busy, in percent, whoever kept it busy; nil: unknown.
	GPULoad *int `json:"gpu_load,omitempty"`
}

// LocalInfo describes the local namespace.
type LocalInfo struct {
	Host      string `json:"host"` // the name of its machine; "" if that has none
	PID       int    `json:"pid"`
	State     string `json:"state"`
	HostBytes *int64 `json:"host_bytes"`
}
