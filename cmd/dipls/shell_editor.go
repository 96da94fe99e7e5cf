package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/reeflective/readline"
	"github.com/reeflective/readline/inputrc"
	"golang.org/x/term"

	"dipls/cells"
	"dipls/session"
)

// errCleared is what an editor's read returns if the user has thrown away what was typed.
var errCleared = errors.New("cleared")

// editor is where statements are typed at a terminal, of one or more lines.
type editor struct {
	rl     *readline.Shell
	prompt string
}

// newEditor is an editor that keeps what was typed in past, and completes by what complete says of a text and a place in it, in code points.
func newEditor(past *past, complete func(text string, cursor int) session.Completion) *editor {
	e := &editor{rl: readline.NewShell()}
	rl := e.rl
	rl.History.Add("what was typed", past)
	rl.AcceptMultiline = func(text []rune) bool { return cells.EndsStatement(string(text)) }
	rl.Completer = func(text []rune, cursor int) readline.Completions {
		return offer(text, cursor, complete(string(text), cursor))
	}
	rl.Prompt.Primary(func() string { return e.prompt })
	for name, value := range map[string]any{
		"cursor-position-probe":        false, // a question to the terminal that some do not answer; the prompt begins at the left here
		"menu-complete-display-prefix": true,  // Tab first adds what all candidates have in common
		"input-meta":                   true,  // letters such as ü are no keys with Meta
		"output-meta":                  true,
		"convert-meta":                 false,
		"enable-bracketed-paste":       true,
	} {
		_ = rl.Config.Set(name, value)
	}
	rl.Keymap.Register(map[string]func(){"dipls-enter": e.enter, "dipls-new-line": e.newLine, "self-insert": e.insert})
	for _, keymap := range []string{"emacs", "emacs-standard", "vi-insert"} {
		for keys, command := range map[string]string{`\C-m`: "dipls-enter", `\C-j`: "dipls-enter", `\e\C-m`: "dipls-new-line"} {
			_ = rl.Config.Bind(keymap, inputrc.Unescape(keys), command, false)
		}
	}
	return e
}

// offer is what a session has found, as candidates for the word at the cursor up to there.
func offer(text []rune, cursor int, found session.Completion) readline.Completions {
	if len(found.Matches) == 0 || found.Start > cursor {
		return readline.Completions{}
	}
	word := found.Start
	for word > 0 && text[word-1] != ' ' && text[word-1] != '\t' && text[word-1] != '\n' {
		word--
	}
	before := string(text[word:found.Start])
	candidates := make([]readline.Completion, len(found.Matches))
	for i, m := range found.Matches {
		candidates[i] = readline.Completion{Value: before + m.Text, Display: m.Text, Tag: m.Kind}
	}
	completions := readline.CompleteRaw(candidates).NoSpace().NoSort()
	completions.PREFIX = string(text[word:cursor])
	return completions
}

// insert adds what was typed. The library's own moves by what a character is wide, and takes only the first part of one that is combined.
func (e *editor) insert() {
	e.rl.History.SkipSave()
	e.rl.Cursor().InsertAt(e.rl.Keys.Caller()...)
}

// enter ends the statement if it is complete, and else goes on with another line.
func (e *editor) enter() {
	if cells.EndsStatement(string(*e.rl.Line())) {
		e.rl.Keymap.Commands()["accept-line"]()
		return
	}
	e.newLine()
}

// newLine goes on with another line, as far to the right as the block is.
func (e *editor) newLine() {
	e.rl.Cursor().InsertAt([]rune("\n" + indentation(string((*e.rl.Line())[:e.rl.Cursor().Pos()])))...)
}

// indentation is where the line after a text begins.
func indentation(text string) string {
	line := text[strings.LastIndexByte(text, '\n')+1:]
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	if strings.HasSuffix(strings.TrimSpace(line), ":") {
		indent += "    "
	}
	return indent
}

// read reads a statement. The error is errCleared if there is none, [io.EOF] if the user leaves, or the exit code after a signal.
func (e *editor) read(prompt string, presses <-chan os.Signal) (string, error) {
	type result struct {
		text string
		err  error
	}
	e.prompt = prompt + "> "
	state, _ := term.GetState(int(os.Stdin.Fd()))
	typed := make(chan result, 1)
	go func() {
		text, err := e.rl.Readline()
		typed <- result{text, err}
	}()
	for {
		select {
		case r := <-typed:
			if errors.Is(r.err, readline.ErrInterrupt) {
				return "", errCleared
			}
			return r.text, r.err
		case got := <-presses:
			if got == os.Interrupt { // from elsewhere: Ctrl-C is a key here
				continue
			}
			if state != nil {
				_ = term.Restore(int(os.Stdin.Fd()), state)
			}
			fmt.Fprintln(os.Stderr)
			if got == syscall.SIGQUIT {
				return "", io.EOF
			}
			return "", &exitError{exitInterrupted, nil}
		}
	}
}
