package ranks

import (
	"encoding/json"

	"dipls/ranks/wire"
)

// Happening is something that a process says while it executes code, or between executions: an [Output], a [Display], a [Clear], a [Result], a
// [Failure], an [Input], an [InputEnd], a [Command], a [CommandEnd], or something [Unreadable].
type Happening interface{ happening() }

// Output is bytes that were printed.
type Output struct {
	Stream string // "stdout" or "stderr"
	Data   []byte
}

// Display is rich output, or a new version of it.
type Display struct {
	Data     map[string]json.RawMessage // by MIME type, as in [wire.Display]
	Metadata map[string]json.RawMessage
	ID       string // names a display that may be updated; "": it cannot be
	Update   bool   // it replaces the display with that ID
	Size     int    // bytes that it took on the wire
}

// Clear is a request to remove what the process has shown so far.
type Clear struct {
	Wait bool // not before the next output
}

// Result is the value of a cell's last expression.
type Result struct {
	ExecutionCount int
	Data           map[string]json.RawMessage // by MIME type, as in [wire.Display]
	Metadata       map[string]json.RawMessage
	Size           int // bytes that it took on the wire
}

// Failure is the exception that ended the code.
type Failure wire.Error

// Input is a question of code's: the process waits for a line that somebody types. [Process.AnswerInput] answers it.
type Input wire.InputRequest

// InputEnd says that the process does not wait for an answer any more. One is owed nevertheless.
type InputEnd struct {
	ID int // of the question
}

// Command is something that the local namespace asks for; [Process.Answer] answers it.
type Command struct {
	wire.Command
	Content json.RawMessage // all of it, as the command has it
}

// CommandEnd says that the process needs nothing more of a command.
type CommandEnd struct {
	ID int // of the command
}

// Unreadable is a message whose content cannot be decoded: a fault of ours.
type Unreadable struct {
	Type string // of the message
	Err  error
}

func (Output) happening()     {}
func (Display) happening()    {}
func (Clear) happening()      {}
func (Result) happening()     {}
func (Failure) happening()    {}
func (Input) happening()      {}
func (InputEnd) happening()   {}
func (Command) happening()    {}
func (CommandEnd) happening() {}
func (Unreadable) happening() {}

// happeningOf decodes a message. It knows all that belong to an execution but for streams, which [Process.stream] decodes; known is false for others.
func happeningOf(m *wire.Message) (h Happening, known bool) {
	decode := func(content any) bool {
		err := json.Unmarshal(m.Content, content)
		if err != nil {
			h = Unreadable{m.Header.MsgType, err}
		}
		return err == nil
	}
	switch m.Header.MsgType {
	case wire.TypeDisplayData, wire.TypeUpdateDisplayData:
		var d wire.Display
		if decode(&d) {
			display := Display{Data: d.Data, Metadata: d.Metadata, Update: m.Header.MsgType == wire.TypeUpdateDisplayData, Size: len(m.Content)}
			_ = json.Unmarshal(d.Transient["display_id"], &display.ID) // optional
			h = display
		}
	case wire.TypeClearOutput:
		var c wire.ClearOutput
		if decode(&c) {
			h = Clear{c.Wait}
		}
	case wire.TypeExecuteResult:
		var d wire.Display
		if decode(&d) {
			h = Result{d.ExecutionCount, d.Data, d.Metadata, len(m.Content)}
		}
	case wire.TypeError:
		var e wire.Error
		if decode(&e) {
			h = Failure(e)
		}
	case wire.TypeInputRequest:
		var q wire.InputRequest
		if decode(&q) {
			h = Input(q)
		}
	case wire.TypeInputEnd:
		var q wire.InputRequest
		if decode(&q) {
			h = InputEnd{q.ID}
		}
	case wire.TypeCommandRequest:
		var c wire.Command
		if decode(&c) {
			h = Command{c, m.Content}
		}
	case wire.TypeCommandEnd:
		var c wire.Command
		if decode(&c) {
			h = CommandEnd{c.ID}
		}
	}
	return h, h != nil
}
