//go:build !linux

package launch

import "syscall"

// dieWithUs does nothing: the system does not tell children of the end of their parent. Agents end by themselves.
func dieWithUs(*syscall.SysProcAttr) {}

// killChildren finds none here.
func killChildren(parent int, name string) {}
