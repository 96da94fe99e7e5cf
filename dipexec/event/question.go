package event

// Question asks the user of one front. It comes only to that front's subscription, and no journal keeps it. A later one with the same ID
// replaces it. One without choices asks nothing: it tells the user something, and is over.
type Question struct {
	Header
	ID      string        `json:"id"`
	State   QuestionState `json:"state"`
	Level   Level         `json:"level"`             // how much it matters
	Text    string        `json:"text"`              // a question, or with no choices a sentence
	Choices []string      `json:"choices,omitempty"` // that the user has now
	Default string        `json:"default,omitempty"` // the choice if nobody can be asked; "": none of them
	Unasked string        `json:"unasked,omitempty"` // what a front that cannot ask tells its user when it takes the default
	Answer  string        `json:"answer,omitempty"`  // what was chosen
	Note    string        `json:"note,omitempty"`    // progress of the work that follows, or how it ended
}

// QuestionState is the state of a question.
type QuestionState string

// The states.
const (
	QuestionAsked   QuestionState = "asked"   // the user is to answer it
	QuestionWorking QuestionState = "working" // what was chosen is being done
	QuestionOver    QuestionState = "over"    // it was answered and done, or nobody wants an answer any more
)
