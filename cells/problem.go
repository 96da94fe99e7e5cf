package cells

import "fmt"

// A Range is a half-open range of byte offsets in the file.
type Range struct{ Start, End int }

// Len is the number of bytes in the range.
func (r Range) Len() int { return r.End - r.Start }

func (r Range) shift(by int) Range { return Range{r.Start + by, r.End + by} }

// A Severity says how bad a Problem is.
type Severity int

const (
	Warning Severity = iota + 1 // the cell runs, perhaps not as meant
	Error                       // what was asked for cannot be done
	Hint                        // all is well, but may look otherwise
)

func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	case Hint:
		return "hint"
	}
	return fmt.Sprintf("severity %d", int(s))
}

// A Code names a kind of problem. Codes are stable: editors and scripts may match on them.
type Code string

const (
	UnknownFlag        Code = "unknown-flag"
	MissingValue       Code = "missing-value"       // a flag without its value
	UnknownTarget      Code = "unknown-target"      // neither remote, local, everywhere nor ranks:LIST
	BadRanks           Code = "bad-ranks"           // a rank list that cannot be
	BadName            Code = "bad-name"            // not the name of a variable
	BadValue           Code = "bad-value"           // an argument that the magic cannot take
	NoEffect           Code = "no-effect"           // a flag that is accepted, and changes nothing
	BadMetadata        Code = "bad-metadata"        // JSON or key=value in a marker that does not parse
	Conflict           Code = "conflict"            // said twice, differently
	Duplicate          Code = "duplicate-magic"     // a second directive magic in one cell
	Misplaced          Code = "misplaced-magic"     // a directive below the body's first line
	DirectiveIgnored   Code = "directive-ignored"   // a directive on a cell that is not code
	NearDirective      Code = "near-directive"      // nearly a directive or one of the project's own magics
	MarkerInBlock      Code = "marker-in-block"     // a marker inside an indented block, where it begins no cell
	UnclosedBracket    Code = "unclosed-bracket"    // never closed; the next marker in column 0 splits all the same
	UnterminatedString Code = "unterminated-string" // a string that does not end; a triple-quoted one likewise
	RankCondition      Code = "rank-condition"      // a collective of all ranks that only some come to
	OnSomeRanks        Code = "on-some-ranks"       // a collective of all ranks in a cell that runs on some
	InvalidUTF8        Code = "invalid-utf8"        // cells are UTF-8, whatever a coding line says
)

// A Problem is something in a file that a person should look at. Parsing always succeeds; problems are all it has to say.
type Problem struct {
	Range    Range
	Severity Severity
	Code     Code
	Message  string // one line, lower case, no full stop
	Hint     string // what to do about it; may be empty
	Fix      string // what most likely should stand in Range instead; empty if nobody knows
}

// nearest returns the candidate that name is most likely a misspelling of, "" if it is like none of them.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", 1+min(2, len(name)/2)
	for _, c := range candidates {
		if len(name) > len(c)+2 {
			continue // keeps a flag of a million letters cheap
		}
		if d := editDistance(name, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean is the question whether the candidate is meant; "" if there is none.
func didYouMean(candidate string) string {
	if candidate == "" {
		return ""
	}
	return "did you mean " + candidate + "?"
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func editDistance(a, b string) int {
	var short [3][16]int // most names are
	before, prev, row := short[0][:], short[1][:], short[2][:]
	if len(b) >= len(row) {
		before, prev, row = make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	}
	before, prev, row = before[:len(b)+1], prev[:len(b)+1], row[:len(b)+1]
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
