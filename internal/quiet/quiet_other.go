//go:build !linux

// Package quiet reads and writes sockets without telling Go's scheduler, where that is known to be sound: on Linux.
package quiet

import "net"

// Conn makes a socket quiet.
func Conn(nc net.Conn) net.Conn { return nc }
