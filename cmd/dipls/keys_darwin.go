package main

import "golang.org/x/sys/unix"

// Requests for the mode of a terminal. What was typed before it is set stays.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
