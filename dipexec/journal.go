package dipexec

import "time"

// JournalOptions configure a Journal.
type JournalOptions struct {
	Dir      string        // "": DefaultJournalDir
	MaxAge   time.Duration // runs that ended longer ago are removed; 0 is 14 days
	MaxBytes int64         // the oldest runs beyond this total are removed; 0 is 4 GiB
}

// Journal is the directory that holds the journals of runs.
type Journal struct{}

// OpenJournal opens the journal. It does not fail: what cannot be written is told once, by a Log event of the executor
// that uses it.
func OpenJournal(o JournalOptions) *Journal { panic("todo") }

// Dir is the directory.
func (j *Journal) Dir() string { panic("todo") }

// Close waits for the rotation to end.
func (j *Journal) Close() error { panic("todo") }

// DefaultJournalDir is where journals are kept: $XDG_STATE_HOME/dipls/runs, by default ~/.local/state/dipls/runs.
func DefaultJournalDir() (string, error) { panic("todo") }
