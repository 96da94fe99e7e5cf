package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// sameUser tells whether a peer may be talked to: only processes of the same user may.
func sameUser(uid int) error {
	if own := os.Geteuid(); uid != own {
		return fmt.Errorf("it belongs to uid %d, not to uid %d", uid, own)
	}
	return nil
}

// control asks the kernel about a connection.
func control(c net.Conn, ask func(fd int) error) error {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("it is no Unix socket")
	}
	rc, err := raw.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := rc.Control(func(fd uintptr) { failed = ask(int(fd)) }); err != nil {
		return err
	}
	return failed
}
