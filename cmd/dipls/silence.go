package main

import (
	"context"
	"errors"
	"time"

	"dipls/session"
)

// How often a session that is shown is asked whether it still answers, and how long that may take. A run may be silent for hours, its session not.
var (
	listenEvery    = 10 * time.Second
	listenPatience = 5 * time.Second
)

// listen tells the user when the session stops answering, and when it answers again, until ctx ends.
func listen(ctx context.Context, s session.API, tell func(string)) {
	for silent := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenEvery):
		}
		asking, cancel := context.WithTimeout(ctx, listenPatience)
		_, err := s.About(asking, false)
		cancel()
		if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeClosed || ctx.Err() != nil {
			return // that is told elsewhere
		}
		switch {
		case err != nil && !silent:
			tell(`the session does not answer; Ctrl-\ leaves, "dipls status" says why, and "dipls stop" ends it all the same`)
		case err == nil && silent:
			tell("the session answers again")
		}
		silent = err != nil
	}
}
