package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

const shellHelp = `A prompt on a session: what you type runs in its local namespace or on its ranks, and is shown as "dipls run" does. Without --session
it is the session of this folder, or of the nearest one above it; if there is none, one is started, which stays when you leave.

The prompt says where the next statement runs: "local>", "ranks 0-3>", "everywhere>". A directive in the statement wins ("%%dip everywhere"). Else
    %on ranks           all ranks, from now on
    %on 0,2             these ranks
    %on local           the local namespace
    %on everywhere      the local namespace, then all ranks
    %on                 where the session's autodip says, else the local namespace
Lines that only have magics of dipls (%makedip, %dipush, %dipull, %autodip) run in the local namespace in any case.

Enter runs a statement once it is complete; a block ends with a blank line. Alt-Enter goes on with another line. Tab completes from what lives in the
namespaces, while these are idle. The arrow keys walk through the history, Ctrl-R searches it; it is kept for you alone. Keys can be changed in ~/.inputrc.

Ctrl-C clears what is typed. While something runs, it is pressed for the
    1st time  interrupts it, and frees after a second what does not heed that
    2nd time  interrupts it again, and frees at once ranks that wait for each other
    3rd time  leaves, though the run goes on, with exit code 130
Ctrl-D leaves. The session goes on, and so does what others run there.

If standard input is no terminal, its lines are read and each complete statement runs, up to the first that fails. A block then ends with a line that is
not indented, or with two blank ones.

Exit codes are those of "dipls run", at a terminal 0; 2 also if there is no such session, or several could be meant.`

// shellFlags are the flags of dipls shell.
type shellFlags struct {
	frontFlags
	cellFlags
	session sessionFlag
	ranks   int
	gpus    string
	python  string
	keep    string
}

func newShell() *cobra.Command {
	var f shellFlags
	cmd := &cobra.Command{
		Use:   "shell [-s NAME]",
		Short: "a prompt on a session and its ranks",
		Long:  shellHelp,
		Example: `  dipls shell
  dipls shell -s train --on remote --see all
  dipls shell -n 4
  echo 'model.training' | dipls shell -s train --on ranks:0`,
		Args: nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("ranks") && f.ranks < 1 {
				return usagef("-n %d: a pool has at least one rank", f.ranks)
			}
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.session.add(flags)
	flags.StringVar(&f.target, "on", "", "where statements run that do not say it: remote, local, everywhere or ranks:LIST")
	flags.StringVar(&f.see, "see", "", `whose output is shown: "all", or ranks such as 0,2-4 or host:gpu2 (default: what the statement says, else rank 0)`)
	flags.IntVarP(&f.ranks, "ranks", "n", 0, "number of ranks, if this starts them")
	flags.StringVarP(&f.gpus, "gpus", "g", "", `GPUs, one rank each, if this starts them: "all" or a list such as 3,1 or 0-3`)
	flags.StringVar(&f.python, "python", "", "interpreter, if this starts it (default: as in dipls run)")
	flags.StringVar(&f.keep, "keep", session.FormatKeep(session.KeepDefault),
		"how long a session that is started stays with nobody attached and nothing running, such as 90m, or forever")
	f.addRunning(flags)
	f.addHang(flags)
	f.addView(flags)
	return cmd
}

// run attaches to the session and reads statements until there are no more.
func (f *shellFlags) run(cmd *cobra.Command) error {
	keep, err := session.ParseKeep(f.keep)
	if err != nil || keep == session.KeepNever {
		return usagef(`--keep %q: want a time such as "4h" or "90m", or "forever"`, f.keep)
	}
	sh := &shell{flags: f}
	if f.target != "" {
		if sh.on, err = cells.ParseTarget(f.target); err != nil {
			return usagef("--on: %w", err)
		}
	}
	// What a flag for a session names has to live; without one, a session is wanted in any case.
	r := session.AttachRequest{Keep: keep, Start: f.session.text == "", Python: (&runFlags{python: f.python}).pythonPath()}
	return entered(cmd, &f.session, r, "", func(e *entrance) error {
		sh.entrance = e
		if inside(e.About) {
			return fmt.Errorf("%s was started by a cell of session %s, which would wait for it", cmd.CommandPath(), clean.Line(e.About.Name))
		}
		if !f.json && isTerminal(os.Stdin) && isTerminal(os.Stdout) && isTerminal(cmd.ErrOrStderr()) {
			return sh.converse()
		}
		return sh.read(cmd.InOrStdin())
	})
}

// shell runs statements that somebody types.
type shell struct {
	*entrance
	flags *shellFlags
	on    cells.Target // where statements run that do not say it; zero: nobody has chosen
}

// settings are those of what the shell has to start.
func (sh *shell) settings() session.Settings {
	return session.Settings{
		Python: (&runFlags{python: sh.flags.python}).pythonPath(), Trust: session.TrustYes,
		Pool: session.Choice{Ranks: sh.flags.ranks, GPUs: sh.flags.gpus},
	}
}

// converse is the shell at a terminal.
func (sh *shell) converse() error {
	sh.flags.typed = true
	shown, release := holdKeys(os.Stdin)
	defer release()
	sh.errOut.shown = shown
	past, err := openPast()
	if err != nil {
		fmt.Fprintf(sh.errOut, "dipls: what you type is not kept: %v\n", err)
	}
	sh.errOut.say(fmt.Sprintf("session %s · %s · Ctrl-D leaves, %s says where statements run",
		clean.Line(sh.About.Name), clean.Line(shortPath(sh.About.Dir)), targetMagic))
	ed := newEditor(past, sh.complete)
	for {
		text, err := ed.read(sh.prompt(), sh.signals.presses)
		switch {
		case errors.Is(err, errCleared):
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintf(sh.errOut, "left; session %s goes on. This comes back to it:\ndipls shell -s %s\n", clean.Line(sh.About.Name), shellQuote(sh.back))
			return nil
		case err != nil:
			return err
		}
		if left, err := sh.statement(text); left {
			return err
		} else if isClosed(sh.gone()) {
			return &exitError{exitPool, errors.New("the session has ended")}
		} else if exit, ok := errors.AsType[*exitError](err); ok && exit.err != nil {
			fmt.Fprintf(sh.errOut, "dipls: %s\n", clean.Text(exit.err.Error()))
		} else if err != nil && !ok {
			fmt.Fprintf(sh.errOut, "dipls: %s\n", clean.Text(err.Error()))
		}
	}
}

// read is the shell where no person types.
func (sh *shell) read(in io.Reader) error {
	var outcome error
	run := func(text string) (stop bool) {
		left, err := sh.statement(text)
		if outcome == nil {
			outcome = err
		}
		return left || err != nil && !sh.flags.keepGoing
	}
	lines := bufio.NewReader(in)
	text := ""
	for {
		line, err := lines.ReadString('\n')
		line = strings.ReplaceAll(line, "\r", "")
		if endsBefore(text, line) {
			if run(text) {
				return outcome
			}
			text = ""
		}
		text += line
		if err != nil || cells.EndsStatement(strings.TrimRight(text, "\n")) || strings.HasSuffix(text, "\n\n\n") && cells.EndsStatement(text) {
			if run(text) {
				return outcome
			}
			text = ""
		}
		switch {
		case errors.Is(err, io.EOF):
			return outcome
		case err != nil:
			return fmt.Errorf("cannot read standard input: %w", err)
		}
	}
}

// endsBefore reports whether a text, which may go on, ends where a line begins.
func endsBefore(text, line string) bool {
	if text == "" || strings.TrimSpace(line) == "" || line[0] == ' ' || line[0] == '\t' {
		return false
	}
	switch word, _, _ := strings.Cut(strings.TrimRight(line, ":\n"), " "); word {
	case "elif", "else", "except", "finally":
		return false
	}
	magic := strings.HasPrefix(strings.TrimLeft(text, "# \n"), "%%")
	return cells.EndsStatement(text) && (!magic || strings.HasSuffix(text, "\n\n"))
}

// statement runs what was typed, and shows it to its end. Its error is the exit code that this would make; left says that the user has left.
func (sh *shell) statement(text string) (left bool, err error) {
	if arguments, ok := choosesTarget(text); ok {
		return false, sh.choose(arguments)
	}
	if strings.TrimSpace(text) == "" {
		return false, nil
	}
	p, err := sh.plan(text)
	if err != nil || len(p.cells) == 0 {
		return false, err
	}
	for _, warning := range p.warnings {
		fmt.Fprintln(sh.errOut, clean.Text(warning))
	}
	if sh.About, err = sh.Attachment.API.About(sh.cmd.Context(), false); err != nil {
		return false, err
	}
	return sh.visit(&sh.flags.frontFlags, func(ctx context.Context, g *guest) error {
		return g.cells(ctx, g.caller(ctx, sh.settings()), p, sh.flags.keepGoing, false)
	})
}

// plan is what will run of a statement, and where.
func (sh *shell) plan(text string) (*plan, error) {
	markers, err := sh.flags.markers.chosen()
	if err != nil {
		return nil, err
	}
	from := source{name: "<shell>", text: markers.Parse(text)}
	all, err := selectCells(from.text, "", nil)
	if err != nil {
		return nil, err
	}
	flags := sh.flags.cellFlags
	flags.target = ""
	p, err := flags.plan(from, all, "on")
	if err != nil {
		return nil, err
	}
	planned := &plan{warnings: p.warnings}
	for _, c := range p.cells {
		cell, _ := from.text.Cell(c.request.Cell)
		request, _ := session.CellOfTyped(cell, sh.on)
		request.See, request.Timeout, request.HangAfter = c.request.See, c.request.Timeout, c.request.HangAfter
		planned.add(cell, request)
	}
	return planned, nil
}

// targetMagic is the shell's own word: it says where statements run.
const targetMagic = "%on"

// choosesTarget reports whether a text is the shell's own word, with what follows it.
func choosesTarget(text string) (arguments string, ok bool) {
	word, arguments, _ := strings.Cut(strings.TrimSpace(text), " ")
	return strings.TrimSpace(arguments), word == targetMagic && !strings.Contains(arguments, "\n")
}

// choose takes another target.
func (sh *shell) choose(text string) error {
	if text == "" {
		sh.on = cells.Target{}
		return nil
	}
	if _, err := ranklist.ParseRanks(text); err == nil {
		text = "ranks:" + text
	} else if text == "ranks" {
		text = "remote"
	}
	target, err := cells.ParseTarget(text)
	if err != nil {
		return usagef(`%s: %w; or 0,2 for some ranks`, targetMagic, err)
	}
	sh.on = target
	return nil
}

// shellPatience is how long the session may take to say what the prompt shows, or what may be completed.
const shellPatience = time.Second

// target is where the next statement runs, if it does not say so itself.
func (sh *shell) target(ctx context.Context) cells.Target {
	autodip, _ := sh.Autodip(ctx)
	return session.TargetOf(session.Cell{Target: sh.on}, autodip)
}

// prompt says where the next statement runs: "local", "ranks 0-3".
func (sh *shell) prompt() string {
	ctx, cancel := context.WithTimeout(sh.cmd.Context(), shellPatience)
	defer cancel()
	target := sh.target(ctx)
	if about, err := sh.Attachment.API.About(ctx, false); err == nil {
		sh.About = about
	}
	if target.Where == cells.Remote && target.Ranks.IsZero() && sh.About.Ranks > 0 {
		target.Ranks = ranklist.Of(ranklist.All.Of(sh.About.Ranks)...)
	}
	return target.Name()
}

// gone is the session's error if it has ended.
func (sh *shell) gone() error {
	ctx, cancel := context.WithTimeout(sh.cmd.Context(), shellPatience)
	defer cancel()
	_, err := sh.Attachment.API.About(ctx, false)
	return err
}

// complete says how a text may go on at a place, in code points.
func (sh *shell) complete(text string, cursor int) session.Completion {
	ctx, cancel := context.WithTimeout(sh.cmd.Context(), shellPatience)
	defer cancel()
	target := sh.target(ctx)
	if first, ok := cells.Parse(text).Cell(1); ok && first.Directive().Target.Where != cells.None {
		target = first.Directive().Target
	}
	found, err := sh.Complete(ctx, session.Lookup{Target: target, Code: text, Cursor: cursor})
	if err != nil {
		return session.Completion{Start: cursor, End: cursor} // busy, or nothing lives yet
	}
	return found
}
