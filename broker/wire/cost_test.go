package wire_test

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-io/varve/broker/wire"
)

// What reading one message may cost at most.
const (
	maxCPU          = 100 * time.Millisecond
	maxBeforeAuth   = 64 << 10 // bytes allocated for a frame that needs no authentication
	allocFloor      = 1 << 20  // bytes allocated for any frame: allocFloor + allocPerByte × its size
	allocPerByte    = 8
	allocTolerance  = 16 << 10 // what the runtime allocates meanwhile
	frameBeforeAuth = 64 << 10
)

// allocatedBy is how many bytes f allocates.
func allocatedBy(f func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// cpuOf is the processor time of f on its own thread, so that a busy machine does not count.
func cpuOf(tb testing.TB, f func()) time.Duration {
	tb.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
		tb.Fatal(err)
	}
	f()
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
}

// checkCost fails when f costs more than a frame of that size may. A single measurement
// may catch the runtime at work, so that the cheapest of three counts.
func checkCost(tb testing.TB, size int, beforeAuth bool, f func()) {
	tb.Helper()
	limit := uint64(allocFloor + allocPerByte*size + allocTolerance)
	if beforeAuth && size <= frameBeforeAuth {
		limit = maxBeforeAuth
	}
	var cpu time.Duration
	var allocated uint64
	for range 3 {
		allocated, _ = allocatedBy(func() error {
			cpu = cpuOf(tb, f)
			return nil
		})
		if allocated <= limit && cpu <= maxCPU {
			return
		}
	}
	tb.Fatalf("%d bytes took %v and allocated %d bytes: want %v and %d at most", size, cpu, allocated, maxCPU, limit)
}

// Seven bytes that claim 2^32-1 tags, in the body and in the header, kept another codec
// busy for minutes before authentication.
func TestApiVersionsTagBomb(t *testing.T) {
	for name, frame := range map[string]string{
		"body":   "0012" + "0003" + "00000001" + "ffff" + "00" + "0101ffffffff0f",
		"header": "0012" + "0003" + "00000001" + "ffff" + "ffffffff0f",
	} {
		t.Run(name, func(t *testing.T) {
			b := unhex(t, frame)
			checkCost(t, len(b), true, func() {
				h, body, err := wire.ParseRequestHeader(b)
				if err == nil {
					r := wire.NewReader(body)
					err = new(wire.ApiVersionsRequest).Read(&r, h.Version)
				}
				if err == nil {
					t.Error("the bomb was taken for a request")
				}
			})
		})
	}
}
