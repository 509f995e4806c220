package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps without the timers of the runtime, which round up to a millisecond.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // a signal ends it early: the record is a little early then
}
