package project

import "syscall"

// changed is when anything about a file was changed last, in ns.
func changed(s *syscall.Stat_t) int64 { return s.Ctim.Nano() }
