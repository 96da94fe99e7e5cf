package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/export/job"
	"dipls/internal/clean"
	"dipls/session"
)

// checkRanks is how many ranks a check has, unless the user says otherwise.
const checkRanks = 2

// comparison is the cell that is added for a check of variables: it prints what they are, in every namespace. %s are their names, in quotes.
const comparison = `
# %%%% Compare
# %%%%dip everywhere --see all
def dipls_describe(value):
    import hashlib
    import re

    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)} {hashlib.sha256(value.tobytes()).hexdigest()[:16]}"
    if hasattr(value, "state_dict"):
        value = {name: dipls_describe(part) for name, part in value.state_dict().items()}
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


for dipls_name in [%s]:
    print(dipls_name, "is", dipls_describe(globals()[dipls_name]) if dipls_name in globals() else "not defined")
`

// autodipSays is what %autodip and %autopx print, which a job does not.
var autodipSays = regexp.MustCompile(`(?m)^Autodip: .*\n`)

// attempt is what a file has done on the ranks of a check.
type attempt struct {
	printed []string // by rank, on standard output; the local namespace prints with rank 0
	failed  bool
	said    string // on standard error, by torchrun
}

// neutral is a magic that prints nothing. In a check it stands for those that a job has not.
const neutral = "%pwd"

// neutralized is the text of a file without what is about pools, which both have from the check, and without what only prints help.
func neutralized(f *cells.File) string {
	var b strings.Builder
	text, at := f.Text(), 0
	for cell := range f.Cells() {
		for _, m := range cell.LineMagics() {
			if m.Help || m.Name == "makedip" || m.Name == "load_ext" {
				b.WriteString(text[at:m.Range.Start] + neutral)
				at = m.Range.End
			}
		}
	}
	return b.String() + text[at:]
}

// check runs the cells of a file and the script that is made of it, both on as many ranks, and compares what they print. Its error tells where they differ.
func (f *exportFlags) check(ctx context.Context, file string, text *cells.File, errOut io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	folder, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return err
	}
	python, err := session.FindPython("--python", f.python, folder)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "dipls-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	source := neutralized(text)
	if len(f.variables) > 0 {
		var names []string
		for _, name := range f.variables {
			names = append(names, strconv.Quote(name))
		}
		source += fmt.Sprintf(comparison, strings.Join(names, ", "))
	}
	name := filepath.Base(file)
	cellsFile, scriptFile := filepath.Join(work, "cells", name), filepath.Join(work, "job", name)
	markers, err := f.markers.chosen()
	if err != nil {
		return err
	}
	script, _ := job.Script(markers.Parse(source), name, name) // it has been made before
	for path, content := range map[string]string{cellsFile: source, scriptFile: script} {
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			return err
		}
	}
	// Both run in a folder of their own, and find the modules beside the file all the same.
	env := append(os.Environ(), "PYTHONPATH="+joinPaths(folder, os.Getenv("PYTHONPATH")), "XDG_STATE_HOME="+filepath.Join(work, "state"))
	fmt.Fprintf(errOut, "running %s on %d ranks, first by dipls and then by torchrun\n", clean.Line(name), f.ranks)
	want, err := f.tryCells(ctx, cellsFile, python.Path, env, errOut)
	if err != nil {
		return interruptedBy(ctx, err)
	}
	got, err := f.tryScript(ctx, scriptFile, python.Path, env)
	if err != nil {
		return interruptedBy(ctx, err)
	}
	if err := want.compare(got); err != nil {
		if got.failed && !want.failed {
			fmt.Fprint(errOut, clean.Text(got.said))
		}
		return err
	}
	lines := 0
	for _, text := range want.printed {
		lines += strings.Count(text, "\n")
	}
	fmt.Fprintf(errOut, "the same: %d lines%s\n", lines-len(f.variables)*(f.ranks+1), prefixed(", and the variables ", strings.Join(f.variables, ", ")))
	if want.failed {
		fmt.Fprintln(errOut, "both have failed")
	}
	return nil
}

// joinPaths is a list of folders, as $PYTHONPATH has it.
func joinPaths(first, rest string) string {
	if rest == "" {
		return first
	}
	return first + string(os.PathListSeparator) + rest
}

// interruptedBy is an error that a Ctrl-C may have caused.
func interruptedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, nil}
	}
	return err
}

// checkPatience is how long a program of a check may take to end when the user has pressed Ctrl-C.
const checkPatience = 10 * time.Second

// program is a program of a check, which ends when ctx does.
func program(ctx context.Context, env []string, errOut io.Writer, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stderr = env, errOut
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = checkPatience
	return cmd
}

// tryCells runs the cells by dipls.
func (f *exportFlags) tryCells(ctx context.Context, file, python string, env []string, errOut io.Writer) (t attempt, err error) {
	self, err := os.Executable()
	if err != nil {
		return t, err
	}
	args := []string{"run", "--json", "--python", python, "-n", strconv.Itoa(f.ranks), file}
	for _, marker := range f.markers.list {
		args = append(args, "--cell-marker", marker)
	}
	args = append(append(args, "--"), f.args...)
	cmd := program(ctx, env, errOut, self, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return t, err
	}
	if err := cmd.Start(); err != nil {
		return t, err
	}
	printed := make([]strings.Builder, f.ranks)
	events := bufio.NewReader(out)
	for {
		line, err := events.ReadBytes('\n')
		if err != nil {
			break
		}
		if ev, err := event.ParseJSON(line); err == nil {
			take(ev, printed, errOut)
		}
	}
	err = cmd.Wait()
	for rank := range printed {
		t.printed = append(t.printed, autodipSays.ReplaceAllString(printed[rank].String(), ""))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitFailed {
		t.failed, err = true, nil
	}
	if err != nil {
		err = fmt.Errorf("dipls run: %w", err)
	}
	return t, err
}

// take takes what an event tells.
func take(ev event.Event, printed []strings.Builder, errOut io.Writer) {
	switch ev := ev.(type) {
	case *event.Stream:
		who, ok := ev.Who()
		rank, _ := who.Rank()
		if ok && rank < len(printed) && ev.Name == event.Stdout {
			// 0 for the local namespace, which prints with rank 0 in the script. A cell may have made a larger pool.
			printed[rank].WriteString(ev.Text)
		}
	case *event.Failure:
		fmt.Fprintf(errOut, "by dipls: %s: %s\n", clean.Line(ev.EName), clean.Line(ev.EValue))
	case *event.RunFinished:
		if ev.Status == event.StatusDied {
			fmt.Fprintf(errOut, "by dipls: %s\n", clean.Line(ev.Reason))
		}
	}
}

// tryScript runs the script by torchrun.
func (f *exportFlags) tryScript(ctx context.Context, file, python string, env []string) (t attempt, err error) {
	logs := filepath.Join(filepath.Dir(file), "logs")
	// torchrun of torch 1 on Python 3.11 or newer takes no other numbers than 1 for these.
	var said bytes.Buffer
	args := append([]string{
		"-m", "torch.distributed.run", "--standalone", "--nproc_per_node", strconv.Itoa(f.ranks), "--redirects", "1", "--tee", "1", "--log_dir", logs, file,
	}, f.args...)
	cmd := program(ctx, env, &said, python, args...)
	err = cmd.Run()
	t.said = said.String()
	for rank := range f.ranks {
		found, _ := filepath.Glob(filepath.Join(logs, "*", "attempt_0", strconv.Itoa(rank), "stdout.log"))
		if len(found) == 0 {
			return t, fmt.Errorf("torchrun has not started the script: %w\n%s", cmp.Or(err, errors.New("there is no output")), t.said)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			return t, err
		}
		t.printed = append(t.printed, string(text))
	}
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		t.failed, err = true, nil
	}
	return t, err
}

// compare tells where two attempts differ, the cells' and the script's.
func (t attempt) compare(script attempt) error {
	var differences []string
	for rank, text := range t.printed {
		want, got := strings.Split(text, "\n"), strings.Split(script.printed[rank], "\n")
		for i := range max(len(want), len(got)) {
			if a, b := lineOf(want, i), lineOf(got, i); a != b {
				differences = append(differences, fmt.Sprintf("rank %d prints other things from line %d on:\n  by dipls:    %s\n  by torchrun: %s", rank, i+1, a, b))
				break
			}
		}
	}
	if t.failed != script.failed {
		differences = append(differences, "it fails "+map[bool]string{true: "by dipls only", false: "by torchrun only"}[t.failed])
	}
	if len(differences) == 0 {
		return nil
	}
	return &exitError{exitFailed, errors.New(strings.Join(differences, "\n"))}
}

// lineOf is one of some lines, for a person.
func lineOf(lines []string, i int) string {
	if i >= len(lines) {
		return "(nothing)"
	}
	return strconv.Quote(lines[i])
}
