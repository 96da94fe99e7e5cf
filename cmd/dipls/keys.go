package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// holdKeys lets a terminal keep what is typed, as it is and unseen, until somebody reads it: what is typed ahead neither breaks into what is shown nor gets
// lost. Ctrl-C is a signal as ever. shown lets a person see and correct what they type for a while, and release does so for good.
func holdKeys(tty *os.File) (shown func() (again func()), release func()) {
	fd := int(tty.Fd())
	usual, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return func() func() { return func() {} }, func() {}
	}
	held := *usual
	held.Lflag &^= unix.ICANON | unix.ECHO
	held.Cc[unix.VMIN], held.Cc[unix.VTIME] = 1, 0
	set := func(mode *unix.Termios) { _ = unix.IoctlSetTermios(fd, setTermios, mode) }
	set(&held)
	return func() func() {
		set(usual)
		return func() { set(&held) }
	}, func() { set(usual) }
}
