package private

import "golang.org/x/sys/unix"

// openDir opens a directory in order to look up names in it. It needs no right to list it: homes often lie in directories that nobody may list.
const openDir = unix.O_PATH
