package dipexec

import (
	"encoding/json"
	"time"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// Request is one cell to run: an immutable snapshot of it, and where it goes. Or it is something without code that takes its turn like a
// cell: see [RequestForTransfer], [RequestForPool], [RequestForFile] and [RequestForMemory].
type Request struct {
	Path      string          `json:"path,omitempty"`      // file of the cell; "" if it has none
	Cell      int             `json:"cell,omitempty"`      // index of the cell
	Title     string          `json:"title,omitempty"`     // title of the cell
	Code      string          `json:"code"`                // rewritten for execution; line numbers as in the file
	Line      int             `json:"line"`                // 1-based line of Path on which Code starts
	Source    string          `json:"source,omitempty"`    // the cell's text, if it runs as a whole: by it the cell is found again
	Directive cells.Directive `json:"directive,omitzero"`  // what the cell says
	NoAutodip bool            `json:"no_autodip,omitzero"` // a cell that does not say where it runs is local, also under autodip
	Target    cells.Target    `json:"target,omitzero"`     // what the command says; zero: nothing
	Otherwise cells.Target    `json:"otherwise,omitzero"`  // where it goes if neither command nor cell nor autodip says so; zero: it is local
	See       ranklist.List   `json:"see,omitzero"`        // what the command says; zero: nothing
	Timeout   time.Duration   `json:"timeout,omitzero"`    // for the code, from its start; 0: none
	HangAfter time.Duration   `json:"hang_after,omitzero"` // when after its start the run is first checked for ranks that wait for others; 0: 10 s, less: never

	Transfer *Transfer         `json:"transfer,omitempty"` // variables to be moved, in place of code
	Pool     *wire.MakeCommand `json:"pool,omitempty"`     // a pool to be made, in place of code
	File     *File             `json:"file,omitempty"`     // a file to be written or read, in place of code

	FreeMemory bool `json:"free_memory,omitzero"` // cached GPU memory is given back, in place of code

	JournalLimit int64 `json:"journal_limit,omitzero"` // how much the run's journal may take; 0: as the Journal's options say; less: any amount

	Autoreload bool `json:"-"` // modules of the project that were edited are reloaded first

	Args    []string `json:"-"` // what sys.argv has behind the file; nil: it stays as it is
	Columns *Columns `json:"-"` // of its reader; nil: nobody knows

	// Caller is who wants the run, for the [Pool] and the [Manager]: see [CallerOf].
	Caller any `json:"-"`
}

// plainRequest is a Request without methods.
type plainRequest Request

// requestJSON is a Request as JSON: the name of its file is bytes.
type requestJSON struct {
	plainRequest
	Path wire.Path `json:"path,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (r Request) MarshalJSON() ([]byte, error) {
	return json.Marshal(requestJSON{plainRequest(r), wire.Path(r.Path)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *Request) UnmarshalJSON(data []byte) error {
	var read requestJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*r = Request(read.plainRequest)
	r.Path = string(read.Path)
	return nil
}

// RequestFor is the request to run a cell of the file at path as the cell itself says; the caller adds the user's choices. ok is false if
// there is nothing to run: the cell is text, or blank except for a directive.
func RequestFor(path string, cell cells.Cell) (req Request, ok bool) {
	if !cell.Runs() {
		return Request{}, false
	}
	code, line := cell.Rewrite()
	return Request{
		Path: path, Cell: cell.Index(), Title: cell.Title(), Code: code, Line: line, Source: cell.Text(),
		Directive: cell.Directive(), NoAutodip: cell.LeavesAutodip(), Otherwise: cell.Default(),
	}, true
}
