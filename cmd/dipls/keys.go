package main

import (
	"os"
	"os/signal"
	"sync"

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
	held := unseen(*usual)
	set := func(mode *unix.Termios) { _ = unix.IoctlSetTermios(fd, setTermios, mode) }
	set(&held)
	return func() func() {
		set(usual)
		return func() { set(&held) }
	}, func() { set(usual) }
}

// unseen is a terminal's mode with keys that come as they are pressed, and are not shown.
func unseen(mode unix.Termios) unix.Termios {
	mode.Lflag &^= unix.ICANON | unix.ECHO
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	return mode
}

// onContinue does something whenever this program goes on at a terminal after Ctrl-Z, until that is stopped: the shell has given the terminal its own mode.
func onContinue(tty *os.File, do func()) (stop func()) {
	goesOn := make(chan os.Signal, 1)
	signal.Notify(goesOn, unix.SIGCONT)
	var ended sync.WaitGroup
	ended.Go(func() {
		for range goesOn {
			group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
			if err != nil || group == unix.Getpgrp() { // in the background it would be stopped again
				do()
			}
		}
	})
	return sync.OnceFunc(func() {
		signal.Stop(goesOn)
		close(goesOn)
		ended.Wait()
	})
}
