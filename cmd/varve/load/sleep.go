package load

import (
	"context"
	"time"
)

// coarse is how much a timer of the runtime may be late.
const coarse = 1500 * time.Microsecond

// sleep waits for d to within a tenth of a millisecond, where the system can; it is false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	end := time.Now().Add(d)
	if d > coarse {
		t := time.NewTimer(d - coarse)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	if rest := time.Until(end); rest > 0 {
		nap(rest)
	}
	return ctx.Err() == nil
}
