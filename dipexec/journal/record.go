package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dipls/dipexec/event"
	"dipls/ranks/wire"
)

// Record is what run.json says of a run.
type Record struct {
	Run      string       `json:"run"`
	Parent   string       `json:"parent,omitempty"` // run whose cell has asked for it
	Cell     int          `json:"cell"`
	Path     wire.Path    `json:"path,omitempty"`
	Line     int          `json:"line,omitempty"`
	Title    string       `json:"title,omitempty"`
	Target   string       `json:"target"`
	See      string       `json:"see"`
	Code     string       `json:"code"`
	Server   int          `json:"server"` // pid of the process that ran it
	Started  time.Time    `json:"started"`
	Finished time.Time    `json:"finished,omitzero"` // absent: it runs, or the server died
	Status   event.Status `json:"status,omitempty"`
	ExitCode int          `json:"exit_code,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Parts    []PartRecord `json:"parts,omitempty"`
}

// ReadRecord reads what run.json says of the run in a directory.
func ReadRecord(dir string) (r Record, err error) {
	name := filepath.Join(dir, recordName)
	b, err := os.ReadFile(name)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// PartRecord is how one process did.
type PartRecord struct {
	Rank           *int         `json:"rank,omitempty"`
	Local          bool         `json:"local,omitempty"`
	Status         event.Status `json:"status"`
	Seconds        float64      `json:"seconds"`
	ExecutionCount int          `json:"execution_count,omitempty"`
	Seed           *int64       `json:"seed,omitempty"`          // of its random generators; absent: none was chosen
	GroupTimeout   float64      `json:"group_timeout,omitempty"` // seconds that its collectives wait for others; absent: none was chosen
	PeakMemory     int64        `json:"peak_memory,omitempty"`   // bytes of GPU memory that torch had allocated at most meanwhile; absent: there is no GPU
}

// recordEnd is how run.json ends.
const recordEnd = "\n}\n"

// writeRecord writes run.json; at the run's end, only what is new. How the run ended comes last in the record, so the beginning stays as it is
// and no second file is needed to replace the first. The caller holds mu.
func (r *Recorder) writeRecord() error {
	b, err := json.MarshalIndent(r.record, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	begins := r.head == nil
	if !begins && !bytes.HasPrefix(b, r.head) {
		return errors.New("the record of a run has changed while it ran") // nobody changes it
	}
	at := int64(len(r.head))
	if _, err := r.files.record.WriteAt(b[at:], at); err != nil {
		if !begins { // as on a full disk: the old record is worth more than half of the new one
			_, _ = r.files.record.WriteAt([]byte(recordEnd), at)
			_ = r.files.record.Truncate(at + int64(len(recordEnd)))
		}
		return err
	}
	if begins {
		r.head = b[:len(b)-len(recordEnd)]
	}
	return nil
}

// addEnd enters how the run ended.
func (r *Record) addEnd(report event.Report, at time.Time) {
	r.Finished, r.Status, r.ExitCode, r.Reason = at, report.Status, report.ExitCode, report.Reason
	ranks := make([]int, len(report.Parts)) // one allocation for all of them
	r.Parts = slices.Grow(r.Parts, len(report.Parts))
	for i := range report.Parts {
		p := &report.Parts[i]
		part := PartRecord{
			Local: p.Who.IsLocal(), Status: p.Status, Seconds: event.Seconds(p.Elapsed), ExecutionCount: p.ExecutionCount,
			Seed: p.Seed, GroupTimeout: event.Seconds(p.GroupTimeout), PeakMemory: p.PeakMemory,
		}
		if rank, ok := p.Who.Rank(); ok {
			ranks[i] = rank
			part.Rank = &ranks[i]
		}
		r.Parts = append(r.Parts, part)
	}
}
