package daemon

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nologin is there while a machine shuts down: systemd makes it.
const nologin = "/run/nologin"

// Signalled says why a session ends that gets a signal: a sentence. Nobody can tell who has sent it.
func Signalled(s os.Signal) string {
	name := fmt.Sprint(s)
	if number, ok := s.(interface{ Signal() }); ok {
		if known, ok := number.(unix.Signal); ok {
			name = unix.SignalName(known)
		}
	}
	if _, err := os.Stat(nologin); err == nil {
		return "the machine was shut down"
	}
	return fmt.Sprintf("it was told to end (%s), by a logout, a shutdown, or somebody", name)
}
