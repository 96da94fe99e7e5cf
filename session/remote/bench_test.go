package remote_test

import (
	"context"
	"testing"

	"dipls/cells"
	"dipls/session"
	"dipls/session/remote"
)

// BenchmarkCall is one call there and back.
func BenchmarkCall(b *testing.B) {
	p := serveFake(b)
	c := p.attach(remote.Hello{Program: "bench"})
	for b.Loop() {
		if _, err := c.Autodip(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPass runs a cell on 8 ranks that are goroutines, in process and over the socket.
func BenchmarkPass(b *testing.B) {
	p := serveFake(b)
	c := p.attach(remote.Hello{Program: "bench"})
	caller := by()
	caller.Settings.Pool.Ranks = 8
	for name, s := range map[string]session.API{"own": p.session, "attached": c} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				runs, err := s.Start(context.Background(), caller, session.Sequence{Cells: []session.Cell{cell(cells.Remote, "")}})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Wait(context.Background(), runs[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
