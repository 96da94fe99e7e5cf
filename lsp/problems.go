package lsp

import (
	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/lsp/docs"
)

// newProblems shows in documents what the parser has found.
func newProblems(s *server) feature {
	s.marks.addSource(source{text: problemsOf})
	return feature{}
}

// problemsOf returns the problems of a cell.
func problemsOf(doc *docs.Snapshot, c cells.Cell) []finding {
	var found []finding
	for _, p := range c.Problems() {
		severity := protocol.DiagnosticSeverityWarning
		switch p.Severity {
		case cells.Error:
			severity = protocol.DiagnosticSeverityError
		case cells.Hint:
			severity = protocol.DiagnosticSeverityHint
		}
		text := p.Message
		if p.Hint != "" {
			text += "; " + p.Hint
		}
		found = append(found, finding{
			Diagnostic: newDiagnostic(doc.Range(p.Range), severity, string(p.Code), text), remedy: remedy{replacement: p.Fix},
		})
	}
	return found
}
