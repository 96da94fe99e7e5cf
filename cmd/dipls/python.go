package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"dipls/dipexec/event"
)

// question answers a question of the session, by asking at the terminal: may missing packages be installed?
func (f *front) question(ctx context.Context) func(event.Event) {
	return func(ev event.Event) {
		q, ok := ev.(*event.Question)
		if !ok {
			return
		}
		switch {
		case q.State == event.QuestionAsked:
			choice := q.Choices[0]
			if f.yes {
				fmt.Fprintf(f.errOut, "%s%sy\n", q.Text, yesOrNo) // it says where
			} else if !agrees(ctx, q.Text, os.Stdin, f.errOut) {
				choice = q.Default
			}
			_ = f.session.Answer(ctx, q.ID, choice) // an error means that the answer is not wanted any more
		case q.State == event.QuestionWorking: // how it ends is said by what waits for it
			fmt.Fprintf(f.errOut, "dipls: %s\n", q.Note)
		}
	}
}

// yesOrNo is what follows a question.
const yesOrNo = " [y/N] "

// agrees asks a yes or no question. Without a terminal the answer is no.
func agrees(ctx context.Context, text string, in *os.File, errOut *screen) bool {
	if !isTerminal(in) || !isTerminal(errOut.w) {
		return false
	}
	answered := errOut.ask(text + yesOrNo)
	answer, err := readLine(ctx, in)
	answered()
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}

// readLine reads a line from the terminal, or gives up with ctx.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // end of file is an empty answer
		lines <- line
	}()
	select {
	case line := <-lines:
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
