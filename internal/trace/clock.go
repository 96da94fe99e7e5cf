package trace

import "golang.org/x/sys/unix"

// Clock is the present moment on the clock that all processes of the machine share.
func Clock() (Time, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(sharedClockID, &ts); err != nil {
		return 0, err
	}
	return Time(ts.Nano()), nil
}
