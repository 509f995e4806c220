package retry

import (
	"context"
	"slices"
	"sync"
	"time"
)

// How many requests are on their way to one bucket at once. It begins low, since clouds want
// load to grow gradually, grows by one a round trip while all of it is used, and halves when the
// store says that it is too much: once, the answers to what was sent before that say nothing new.
const (
	limitStart = 32
	limitMin   = 1
	limitMax   = 512
)

// limiter bounds requests by additive increase and multiplicative decrease.
type limiter struct {
	mu struct {
		sync.Mutex
		limit    float64
		inFlight int
		peak     int             // of inFlight since the limit grew last
		waiting  []chan struct{} // each is closed when its turn has come
		lastCut  time.Time
	}
}

func newLimiter() *limiter {
	l := &limiter{}
	l.mu.limit = limitStart
	return l
}

// enter waits for a turn. Its error is the context's.
func (l *limiter) enter(ctx context.Context) error {
	l.mu.Lock()
	if l.mu.inFlight < int(l.mu.limit) && len(l.mu.waiting) == 0 {
		l.start()
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	l.mu.waiting = append(l.mu.waiting, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.mu.waiting, turn); i >= 0 {
		l.mu.waiting = slices.Delete(l.mu.waiting, i, i+1)
	} else { // it has come in the meantime: somebody else's now
		l.mu.inFlight--
		l.wake()
	}
	return ctx.Err()
}

// start counts one more under way. The lock is held.
func (l *limiter) start() {
	l.mu.inFlight++
	l.mu.peak = max(l.mu.peak, l.mu.inFlight)
}

// leave ends a turn that began then. throttled is what the store said; ok that it answered.
func (l *limiter) leave(begun time.Time, throttled, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case throttled && !begun.Before(l.mu.lastCut):
		l.mu.limit, l.mu.lastCut, l.mu.peak = max(l.mu.limit/2, limitMin), time.Now(), 0
	case ok && 2*l.mu.peak > int(l.mu.limit):
		before := int(l.mu.limit)
		if l.mu.limit = min(l.mu.limit+1/l.mu.limit, limitMax); int(l.mu.limit) > before {
			l.mu.peak = l.mu.inFlight
		}
	}
	l.mu.inFlight--
	l.wake()
}

// wake lets in who is next. The lock is held.
func (l *limiter) wake() {
	for len(l.mu.waiting) > 0 && l.mu.inFlight < int(l.mu.limit) {
		close(l.mu.waiting[0])
		l.mu.waiting = l.mu.waiting[1:]
		l.start()
	}
}

// cutWithin reports whether the store asked for less in the last d.
func (l *limiter) cutWithin(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.mu.lastCut.IsZero() && time.Since(l.mu.lastCut) < d
}
