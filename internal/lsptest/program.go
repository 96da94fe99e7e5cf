package lsptest

import (
	"context"
	"io"
	"os"
	"os/exec"
)

// Program is a server that is a program of its own, whose standard input and output are the stream. A nonzero exit code is its error; ctx kills it.
func Program(env []string, argv ...string) Server {
	return func(ctx context.Context, stream io.ReadWriteCloser) error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = env
		cmd.Stderr = os.Stderr
		if d, ok := stream.(*duplex); ok { // the program's own, as an editor's child has them: no copying in between
			cmd.Stdin, cmd.Stdout = d.r, d.w
			if err := cmd.Start(); err != nil {
				return err
			}
			d.Close()
			return cmd.Wait()
		}
		cmd.Stdin, cmd.Stdout = stream, stream
		return cmd.Run()
	}
}
