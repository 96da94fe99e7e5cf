package main

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// pressed reads from a terminal as keys are pressed, until it is stopped. What is pressed after that is left for others.
type pressed struct {
	in         *os.File
	woken, end *os.File // of a pipe that ends a wait

	mu  sync.Mutex
	why error // why nothing more is read; nil: it is
}

// takeKeys lets a terminal give keys as they are pressed, and no longer show them. Ctrl-C and the like are signals as before, and
// after Ctrl-Z it is as it was: a password is never shown.
func takeKeys(in *os.File) (k *pressed, restore func(), err error) {
	fd := int(in.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, nil, err
	}
	mode := unseen(*before)
	mode.Iflag &^= unix.ICRNL | unix.INLCR // Enter is a carriage return, as the reader of lines wants it
	k = &pressed{in: in}
	if k.woken, k.end, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetTermios(fd, setTermios, &mode); err != nil {
		k.close()
		return nil, nil, err
	}
	stop := onContinue(in, func() { _ = unix.IoctlSetTermios(fd, setTermios, &mode) })
	return k, func() {
		stop()
		_ = unix.IoctlSetTermios(fd, setTermios, before)
	}, nil
}

// Read implements [io.Reader].
func (k *pressed) Read(p []byte) (int, error) {
	for {
		k.mu.Lock()
		why := k.why
		k.mu.Unlock()
		if why != nil {
			return 0, why
		}
		wanted := []unix.PollFd{{Fd: int32(k.in.Fd()), Events: unix.POLLIN}, {Fd: int32(k.woken.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(wanted, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
		switch {
		case wanted[1].Revents != 0:
			_, _ = k.woken.Read(make([]byte, 16))
		case wanted[0].Revents != 0:
			return k.in.Read(p)
		}
	}
}

// stop ends what is read, with an error.
func (k *pressed) stop(why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.why == nil || errors.Is(why, errNotWanted) {
		k.why = why
		_, _ = k.end.Write([]byte{0}) // the pipe has room
	}
}

// goOn reads on after a stop for one reason.
func (k *pressed) goOn(after error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if errors.Is(k.why, after) {
		k.why = nil
	}
}

func (k *pressed) close() {
	k.woken.Close()
	k.end.Close()
}
