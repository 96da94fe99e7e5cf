// Package quiet reads and writes sockets without telling Go's scheduler.
//
// The scheduler need not know, for the descriptor never blocks. If it is told, a call after a quiet moment wakes its monitor, a thread that then looks
// every 20 µs for calls that take long. With a message now and then, as ranks send them, that costs a third of the server's CPU time and half of its
// context switches.
package quiet

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

type socket struct {
	net.Conn
	raw     syscall.RawConn
	in, out socketCall // the reader's and the writer's
}

// socketCall is a read or a write, and its result.
type socketCall struct {
	try   func(fd uintptr) (done bool) // made once, to save an allocation for each call
	b     []byte
	n     int
	errno syscall.Errno
}

// Conn makes a socket quiet. Other connections stay what they are.
func Conn(nc net.Conn) net.Conn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nc
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nc // it is closed; its first use tells
	}
	s := &socket{Conn: nc, raw: raw}
	s.in.try = func(fd uintptr) bool { return s.in.call(syscall.SYS_READ, fd) }
	s.out.try = func(fd uintptr) bool { return s.out.call(syscall.SYS_WRITE, fd) }
	return s
}

// call makes a system call. It reports false if the socket is not ready for it.
func (c *socketCall) call(number, fd uintptr) (done bool) {
	for {
		n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.b))), uintptr(len(c.b)))
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		c.n, c.errno = int(n), errno
		return true
	}
}

// do waits until the socket is ready and reads or writes b.
func (c *socketCall) do(wait func(func(uintptr) bool) error, b []byte) (int, error) {
	c.b = b
	err := wait(c.try)
	c.b = nil
	if err != nil {
		return 0, err
	}
	if c.errno != 0 {
		return 0, c.errno
	}
	return c.n, nil
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.in.do(s.raw.Read, b)
	if n == 0 && err == nil && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

func (s *socket) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = s.out.do(s.raw.Write, b[n:])
		n += more
	}
	return n, err
}
