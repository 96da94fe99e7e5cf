package dipexec

import "time"

// FoldOptions configure a Folder.
type FoldOptions struct {
	Window time.Duration // how long a line waits for the same line of the other ranks; 0 is 100 ms
}

// ItemKind says what an Item is.
type ItemKind uint8

// The kinds of items.
const (
	ItemLine    ItemKind = iota // a line of output
	ItemResult                  // Out[RANK:COUNT]: …
	ItemDisplay                 // rich output, as text or as the file that holds it
	ItemFailure                 // a traceback, or the one line that says that a rank failed as others did
	ItemNotice                  // a sentence of ours: a log event, a death, why a run ended as it did
)

// Item is something to show: one or more lines.
type Item struct {
	Kind   ItemKind
	Run    string
	Cell   int
	Local  bool   // of the local namespace
	Ranks  []int  // of these ranks, ascending; nil with Local, and for a notice of no rank
	Stream string // "stdout" or "stderr" of a line
	Prefix string // "[0-3] ", or "" where the output of one process alone is shown
	Text   string // without the prefix and the final newline; colours are reset at each line's end
	Event  Event  // what it was made of, the lowest rank's; nil for lines
}

// LiveLine is a line that is not finished: a progress bar, a prompt.
type LiveLine struct {
	Run    string
	Prefix string
	Text   string
}

// Folder turns events into what a person reads.
type Folder struct{}

// NewFolder returns a folder.
func NewFolder(o FoldOptions) *Folder { panic("todo") }

// Add takes an event and returns what is ready to be shown.
func (f *Folder) Add(e Event, now time.Time) []Item { panic("todo") }

// Flush returns what has become due.
func (f *Folder) Flush(now time.Time) []Item { panic("todo") }

// Deadline is when Flush is next needed; ok is false if nothing waits.
func (f *Folder) Deadline() (t time.Time, ok bool) { panic("todo") }

// Live returns the unfinished lines, as they stand.
func (f *Folder) Live() []LiveLine { panic("todo") }
