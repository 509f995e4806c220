package cleaner

import (
	"context"
	"sync"
	"time"
)

// throttle keeps the bytes that all rounds read and write below a rate, on average.
type throttle struct {
	mu struct {
		sync.Mutex
		free time.Time // when what was taken so far is paid for
	}
}

// burst is how much may be taken at once after a rest.
const burst = 100 * time.Millisecond

// take waits until n bytes fit the rate, in bytes per second, or ctx ends.
func (t *throttle) take(ctx context.Context, n int, rate float64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d := float64(n) / rate * float64(time.Second)
	if d < 1 { // no rate to speak of
		return nil
	}
	t.mu.Lock()
	now := time.Now()
	if t.mu.free.Before(now.Add(-burst)) {
		t.mu.free = now.Add(-burst)
	}
	t.mu.free = t.mu.free.Add(time.Duration(min(d, float64(time.Hour))))
	wait := t.mu.free.Sub(now)
	t.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
