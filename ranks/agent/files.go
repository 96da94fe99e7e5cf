// Package agent is the Python agent, which runs in the user's interpreter, as files in the binary. docs/architecture.md tells what it does.
package agent

import (
	"embed"
	"io/fs"
)

// The pattern says all: because without it embed leaves out names that begin with "_", such as __main__.py.
//
//go:embed all:src
var files embed.FS

// Source is the agent's source tree, with whatever Python has left beside it.
func Source() fs.FS {
	src, err := fs.Sub(files, "src")
	if err != nil {
		panic(err) // "src" is a valid path
	}
	return src
}
