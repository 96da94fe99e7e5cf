package registry

import "context"

// scope is the beginning of a command line that lets what follows outlive the logout; empty where nothing is needed for that.
func scope(context.Context) []string { return nil }
