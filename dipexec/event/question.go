package event

// Question is something that one front's user is asked. It comes to the subscription of that front alone and is in no journal. A later one with the same ID
// takes its place. One without choices asks nothing: it tells the front's user something, and is over.
type Question struct {
	Header
	ID      string        `json:"id"`
	State   QuestionState `json:"state"`
	Level   Level         `json:"level"`             // how much it matters
	Text    string        `json:"text"`              // a question, or with no choices a sentence
	Choices []string      `json:"choices,omitempty"` // that the user has now
	Default string        `json:"default,omitempty"` // the choice that counts where nobody can be asked; "": none of them
	Unasked string        `json:"unasked,omitempty"` // what a front whose user cannot be asked tells them when it answers with the default
	Answer  string        `json:"answer,omitempty"`  // what was chosen
	Note    string        `json:"note,omitempty"`    // how far the work is that follows, or how it ended
}

// QuestionState is how far a question is.
type QuestionState string

// The states.
const (
	QuestionAsked   QuestionState = "asked"   // the user is to answer it
	QuestionWorking QuestionState = "working" // what was chosen is being done
	QuestionOver    QuestionState = "over"    // it was answered and done, or nobody wants an answer any more
)
