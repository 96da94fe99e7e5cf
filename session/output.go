package session

import (
	"context"
	"io"
	"regexp"

	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
)

// OutputRequest says which output is wanted.
type OutputRequest struct {
	Run string        `json:"run"`
	Who *ranklist.Who `json:"rank,omitempty"` // only of this process; nil: of all, folded
}

// Text is a text to be kept.
type Text struct {
	Run  string `json:"run"`  // beside whose output
	Name string `json:"name"` // small letters, such as "stacks"; another one of the same name is replaced. Not "output"
	Text string `json:"text"`
}

// Output implements [API].
func (s *Session) Output(ctx context.Context, r OutputRequest) (path string, err error) {
	dir := s.journalOf(r.Run)
	if dir == "" {
		return "", noRun(r.Run)
	}
	return journal.Render(ctx, dir, r.Who)
}

// textName is what names of texts look like: they become names of files.
var textName = regexp.MustCompile(`^[a-z]+$`)

// KeepText implements [API].
func (s *Session) KeepText(_ context.Context, t Text) (path string, err error) {
	if !textName.MatchString(t.Name) || t.Name == "output" {
		return "", errorf(CodeInvalid, "%q is no name for a text", t.Name)
	}
	dir := s.journalOf(t.Run)
	if dir == "" {
		return "", nil
	}
	return journal.WriteText(dir, t.Name, 0o400, func(w io.Writer) error {
		_, err := io.WriteString(w, t.Text)
		return err
	})
}

// journalOf is the directory of a run's journal, of this or an earlier session; "" if there is none, or not yet.
func (s *Session) journalOf(run string) string {
	if s.o.Journal == nil {
		return ""
	}
	return s.o.Journal.Find(run)
}
