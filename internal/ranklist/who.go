package ranklist

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A Who is one process: a rank, or the local namespace, which is the zero value. It can be a key of a map.
type Who struct{ n int } // the rank and 1; 0: the local namespace

// Local is the local namespace.
var Local = Who{}

// Rank is a rank, by its number from 0 on.
func Rank(n int) Who {
	if n < 0 {
		panic(fmt.Sprintf("ranklist: there is no rank %d", n))
	}
	return Who{n + 1}
}

// Rank is the rank's number; ok is false, and n is 0, for the local namespace.
func (w Who) Rank() (n int, ok bool) { return max(w.n-1, 0), w.n > 0 }

// IsLocal reports whether it is the local namespace.
func (w Who) IsLocal() bool { return w.n == 0 }

// Compare orders processes: the local namespace first, then the ranks.
func (w Who) Compare(v Who) int { return cmp.Compare(w.n, v.n) }

// String is "local" or "rank 3". It makes no list of one: it is called for each rank of each run.
func (w Who) String() string {
	if rank, ok := w.Rank(); ok {
		return "rank " + strconv.Itoa(rank)
	}
	return "local"
}

// Verb is what follows the process in a sentence that begins with it: "was killed" of "rank 2 was killed", or of "rank 2 (gpu2) was killed", which also says
// where that is. ok is false, and rest the whole sentence, if it begins otherwise.
func (w Who) Verb(sentence string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(sentence, w.String()+" ")
	if _, after, named := strings.Cut(rest, ") "); ok && named && strings.HasPrefix(rest, "(") && !strings.HasPrefix(rest, "(pid ") {
		rest = after
	}
	return rest, ok
}

// MarshalJSON writes the rank as a number, and the local namespace as -1, as the language server's commands have it.
func (w Who) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, int64(w.n-1), 10), nil }

// UnmarshalJSON is the inverse of MarshalJSON.
func (w *Who) UnmarshalJSON(data []byte) error {
	var n *int
	if err := json.Unmarshal(data, &n); err != nil || n == nil {
		return err
	}
	if *n < -1 || *n > Max {
		return fmt.Errorf("there is no rank %d", *n)
	}
	w.n = *n + 1
	return nil
}
