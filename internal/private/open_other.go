//go:build !linux

package private

import "golang.org/x/sys/unix"

// openDir opens a directory in order to look up names in it.
const openDir = unix.O_RDONLY
