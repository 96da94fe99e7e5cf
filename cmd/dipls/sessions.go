package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/session"
	"dipls/session/registry"
)

const sessionsHelp = `List your sessions on this machine: folder, ranks and their devices, the GPU memory that they hold, what runs and for how long, who is
attached, and when the session ends if nothing happens.

A session is started by an editor that opens a folder with cells, or by 'dipls run --session NAME FILE'. It outlives the editor: it ends when nobody
has been attached and nothing has run for as long as it is kept (setting dip.session.keep, by default 4 hours), or by 'dipls stop'.

A session that cannot be asked is listed with the reason, and what to do. One that was started with another XDG_RUNTIME_DIR or TMPDIR, and so is looked for
elsewhere, is told of with the way to it. --json prints an array of objects, [] without sessions (docs/sessions.md).

Exit codes: 0, also without sessions; 1 if they could not be looked for.`

func newSessions() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "list the sessions that live, and what they hold",
		Long:  sessionsHelp,
		Args:  nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := openSessions().List(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, append([]session.Listed{}, list...)) // none is [], not null
			}
			width := newScreen(out).columns()
			lines := sessionLines(list, width, time.Now())
			if len(list) == 0 {
				lines = append(lines, wrap("Looked in "+strings.Join(shortPaths(registry.Places()), ", ")+".", width, "  ")...)
			}
			for _, there := range registry.Elsewhere("") {
				lines = append(lines, wrap(clean.Line(there), width, "  ")...)
			}
			for _, line := range lines {
				if _, err := fmt.Fprintln(out, line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// shortPaths are paths for people.
func shortPaths(paths []string) (short []string) {
	for _, path := range paths {
		short = append(short, shortPath(path))
	}
	return short
}

// sessionLines lists sessions in so many columns of a terminal; 0: as many as it takes.
func sessionLines(list []session.Listed, width int, now time.Time) (lines []string) {
	if len(list) == 0 {
		return wrap("No session lives. An editor that opens a folder with cells starts one, and so does 'dipls run --session NAME FILE'.", width, "")
	}
	t := table{columns: []column{
		{title: "NAME"}, {title: "FOLDER"}, {title: "RANKS", right: true, leave: 1}, {title: "DEVICES", leave: 1}, {title: "GPU MEMORY", right: true, leave: 1},
		{title: "STATE"}, {title: "RUNS", leave: 1}, {title: "ATTACHED", leave: 1}, {title: "ENDS", leave: 1},
	}}
	for _, l := range list {
		if l.Problem != "" {
			t.rows = append(t.rows, []string{clean.Line(l.Name), shortPath(l.Dir), "", "", "", "not known", "", "", ""})
			continue
		}
		ranks := ""
		if l.Ranks > 0 {
			ranks = strconv.Itoa(l.Ranks)
		}
		t.rows = append(t.rows, []string{
			clean.Line(l.Name), shortPath(l.Dir), ranks, devicesInWords(l.Devices), sizeOrNothing(l.Memory), stateInWords(l.About),
			runsInWords(l.About, now), clientsInWords(l.Clients), endInWords(l.About, now),
		})
	}
	t.fit(0)
	if width > 0 && t.width() > width {
		return sessionBlocks(list, width, now)
	}
	lines = t.lines()
	for _, l := range list {
		if l.Problem != "" {
			lines = append(lines, wrap(clean.Line(l.Name)+": "+clean.Text(l.Problem), width, "  ")...)
		}
	}
	return lines
}

// sessionBlocks lists sessions one below the other, for narrow terminals.
func sessionBlocks(list []session.Listed, width int, now time.Time) (lines []string) {
	for i, l := range list {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, wrap(view.Joined(clean.Line(l.Name), shortPath(l.Dir)), width, "  ")...)
		if l.Problem != "" {
			lines = append(lines, wrap("  "+clean.Text(l.Problem), width, "  ")...)
			continue
		}
		memory := sizeOrNothing(l.Memory)
		if memory != "" {
			memory += " of GPU memory"
		}
		for _, text := range []string{
			view.Joined(stateInWords(l.About), poolInWords(l.Ranks, l.Devices), memory),
			prefixed("runs ", runsInWords(l.About, now)),
			prefixed("attached: ", clientsInWords(l.Clients)),
			"ends " + endInWords(l.About, now),
		} {
			if text != "" {
				lines = append(lines, wrap("  "+text, width, "    ")...)
			}
		}
	}
	return lines
}

// prefixed is a text with something before it; "" stays "".
func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// writeJSON writes a value as JSON for programs and people.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
