package launch

import "syscall"

// dieWithUs makes the kernel end a child when the thread that starts it ends.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
