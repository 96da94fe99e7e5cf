package private

import "golang.org/x/sys/unix"

// openDir opens a directory to look into, which needs no right to list it: homes often lie in directories that nobody may list.
const openDir = unix.O_PATH
