package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dipls/session"
)

// freeMemory has all processes of the session that is meant give back the GPU memory that torch has cached, and shows how much that was. It takes its turn
// like a cell, and ends nothing.
func freeMemory(cmd *cobra.Command, which *sessionFlag) error {
	return attached(cmd, which, session.AttachRequest{}, &frontFlags{}, "", func(ctx context.Context, g *guest) error {
		if err := g.checkInside(); err != nil {
			return err
		}
		runs, err := g.begin(func() ([]string, error) {
			run, err := g.session.FreeMemory(ctx, g.caller(ctx, session.Settings{}))
			return []string{run}, err
		})
		if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeInvalid {
			fmt.Fprintln(g.errOut, "dipls: nothing was freed: "+e.Error())
			return nil
		}
		if err != nil {
			return err
		}
		return g.outcome(ctx, runs, &plan{cells: make([]plannedCell, 1)})
	})
}
