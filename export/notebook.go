package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// WriteNotebook writes a document as nbformat 4.5 (https://nbformat.readthedocs.io/en/latest/format_description.html). Lines begin with the ranks that have
// printed them, as everywhere; which ranks an output is of is in the metadata, too: of the output, and for streams, which have none, of the cell, in
// "dipls" "outputs", one entry for each output.
func WriteNotebook(w io.Writer, d Document) error {
	list := []any{}
	for _, c := range d.Cells {
		list = append(list, notebookCell(c))
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(map[string]any{
		"cells": list,
		"metadata": map[string]any{
			"kernelspec":    map[string]any{"display_name": "Python 3", "language": "python", "name": "python3"},
			"language_info": map[string]any{"name": "python", "file_extension": ".py"},
			"dipls":         map[string]any{"file": d.Name},
		},
		"nbformat": 4, "nbformat_minor": 5,
	})
}

// notebookCell is a cell as a notebook has it.
func notebookCell(c Cell) map[string]any {
	metadata := map[string]any{}
	if c.Title != "" {
		metadata["title"] = c.Title
	}
	cell := map[string]any{
		"cell_type": c.Type.String(), "id": fmt.Sprintf("cell-%d", c.Number), "metadata": metadata, "source": split(c.Source),
	}
	if c.Type != cells.CodeCell {
		cell["source"] = split(uncommented(c.Source))
		return cell
	}
	outputs, about := []any{}, []any{}
	var count any
	for _, o := range c.Outputs {
		outs := notebookOutputs(o)
		for range outs {
			about = append(about, aboutRanks(o))
		}
		outputs = append(outputs, outs...)
		if o.Result {
			count = o.Count
		}
	}
	cell["outputs"], cell["execution_count"] = outputs, count
	if r := c.Run; r != nil {
		run := map[string]any{
			"run": r.Run, "status": r.Status, "target": r.Target, "started": r.Started, "seconds": r.Seconds, "outputs": about,
		}
		if c.Edited {
			run["edited"] = true
		}
		if r.PeakMemory > 0 {
			run["peak_memory"] = r.PeakMemory
		}
		if r.Reason != "" {
			run["reason"] = r.Reason
		}
		metadata["dipls"] = run
	}
	return cell
}

// aboutRanks says in metadata of whom an output is.
func aboutRanks(o Output) map[string]any {
	switch {
	case o.Local:
		return map[string]any{"local": true}
	case len(o.Ranks) > 0:
		return map[string]any{"ranks": ranklist.Of(o.Ranks...).String()}
	}
	return map[string]any{}
}

// notebookOutputs are an output as a notebook has it: rich output has a line with the ranks before it.
func notebookOutputs(o Output) (outs []any) {
	labelled := func(text, stream string) {
		if o.Label != "" {
			outs = append(outs, map[string]any{"output_type": "stream", "name": stream, "text": split(text + "\n")})
		}
	}
	switch {
	case o.Failure != nil:
		labelled(o.Label, event.Stderr)
		traceback := append([]string{}, o.Failure.Traceback...) // none is [], not null
		outs = append(outs, map[string]any{"output_type": "error", "ename": o.Failure.EName, "evalue": o.Failure.EValue, "traceback": traceback})
	case o.Data != nil:
		labelled(o.Label, event.Stdout)
		out := map[string]any{
			"output_type": "display_data", "data": bundle(o.Data), "metadata": map[string]any{"dipls": aboutRanks(o)},
		}
		for mime, value := range o.Meta {
			out["metadata"].(map[string]any)[mime] = value
		}
		if o.Result {
			out["output_type"], out["execution_count"] = "execute_result", o.Count
		}
		outs = append(outs, out)
	default:
		outs = append(outs, map[string]any{"output_type": "stream", "name": o.Stream, "text": split(o.Text)})
	}
	return outs
}

// bundle is rich output with texts in lines, as notebooks keep them.
func bundle(data map[string]json.RawMessage) map[string]any {
	all := map[string]any{}
	for mime, value := range data {
		var text string
		isJSON := mime == "application/json" || strings.HasSuffix(mime, "+json")
		switch {
		case json.Unmarshal(value, &text) == nil && !isJSON && (strings.HasPrefix(mime, "text/") || mime == "image/svg+xml"):
			all[mime] = split(text)
		default:
			all[mime] = json.RawMessage(bytes.TrimSpace(value))
		}
	}
	return all
}

// split is a text as a list of lines with their line feeds.
func split(text string) []string {
	lines := []string{}
	for line := range strings.Lines(text) {
		lines = append(lines, line)
	}
	return lines
}

// uncommented is the text of a cell that is no code: in the file its lines are comments, or it is a string.
func uncommented(source string) string {
	for _, quotes := range []string{`"""`, "'''"} {
		for _, prefix := range []string{"r", ""} {
			if inner, ok := strings.CutPrefix(source, prefix+quotes); ok && strings.HasSuffix(inner, quotes) {
				return strings.Trim(strings.TrimSuffix(inner, quotes), "\n")
			}
		}
	}
	var b strings.Builder
	for line := range strings.Lines(source) {
		if rest, ok := strings.CutPrefix(line, "#"); ok {
			line = strings.TrimPrefix(rest, " ")
		}
		b.WriteString(line)
	}
	return b.String()
}
