package remote

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// credentials are who the peer of a Unix socket was when it connected, or began to listen.
func credentials(c net.Conn) (uid, pid int, err error) {
	err = control(c, func(fd int) error {
		found, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return fmt.Errorf("who it is cannot be found out: %w", err)
		}
		uid = int(found.Uid)
		if pid, err = unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID); err != nil {
			return fmt.Errorf("who it is cannot be found out: %w", err)
		}
		return nil
	})
	return uid, pid, err
}
