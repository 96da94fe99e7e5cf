package remote

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// credentials are who the peer of a Unix socket was when it connected, or began to listen.
func credentials(c net.Conn) (uid, pid int, err error) {
	err = control(c, func(fd int) error {
		found, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return fmt.Errorf("who it is cannot be found out: %w", err)
		}
		uid, pid = int(found.Uid), int(found.Pid)
		return nil
	})
	return uid, pid, err
}
