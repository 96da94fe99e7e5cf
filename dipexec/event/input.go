package event

// Input is a question of code's: processes wait for a line that somebody types. A later one with the same number in the same run replaces it. It is open
// as long as somebody asks it, and over at the end of the run at the latest.
type Input struct {
	Header
	Input    int        `json:"input"` // number of the question in its run, from 1 on
	State    InputState `json:"state"`
	Prompt   string     `json:"prompt,omitempty"`
	Password bool       `json:"password,omitempty"` // what is typed is not to be shown, and is kept nowhere
	Ranks    []int      `json:"ranks,omitempty"`    // who asks, or was answered, or does not ask any more; absent for the local namespace
	Text     string     `json:"text,omitempty"`     // with answered: what was typed; never of a password
	EOF      bool       `json:"eof,omitempty"`      // with answered, in place of a text: nothing more is typed
	Waiting  []int      `json:"waiting,omitempty"`  // with answered: who still asks
}

// InputState is the state of an Input.
type InputState string

// The states.
const (
	InputAsked     InputState = "asked"     // more ranks may come to ask it
	InputAnswered  InputState = "answered"  // some, or all, have been answered
	InputWithdrawn InputState = "withdrawn" // nobody waits for an answer any more
)

// Open reports whether somebody waits for an answer.
func (e *Input) Open() bool { return e.State == InputAsked || len(e.Waiting) > 0 }

// Asking are the ranks that wait for an answer; none for the local namespace, or if nobody does.
func (e *Input) Asking() []int {
	if e.State == InputAsked {
		return e.Ranks
	}
	return e.Waiting
}
