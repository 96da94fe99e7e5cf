//go:build !linux

package private

import "golang.org/x/sys/unix"

// openDir opens a directory to look into.
const openDir = unix.O_RDONLY
