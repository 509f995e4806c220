package retry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/varve-io/varve/objstore"
)

// A read that takes longer than nearly all of its like is asked for a second time, and the first
// answer wins: one slow server of the store does not make a slow reader.
const (
	// hedgeMax, in bytes, is the largest read that is asked for twice.
	hedgeMax = 4 << 20
	// hedgeFloor is the least time before it is.
	hedgeFloor = 50 * time.Millisecond
	// hedgeShare of all reads at most are asked for twice, hedgeBurst of them in a row.
	hedgeShare = 0.05
	hedgeBurst = 10
	// hedgeCalm is how long none is after the store asked for less.
	hedgeCalm = 5 * time.Second
	// hedgeSamples are remembered of each size, and needed at first are hedgeLeast.
	hedgeSamples = 128
	hedgeLeast   = 32
)

// hedger knows how long reads take.
type hedger struct {
	mu struct {
		sync.Mutex
		budget float64
		sizes  [3]latencies
	}
}

// latencies of the latest reads of about one size.
type latencies struct {
	ring  [hedgeSamples]time.Duration
	n     int // ever
	after time.Duration
}

// sizeClass is the index of reads of n bytes.
func sizeClass(n int) int {
	switch {
	case n <= 256<<10:
		return 0
	case n <= 1<<20:
		return 1
	}
	return 2
}

// begin counts a read, and returns after how long it may be asked for again; 0 is never.
func (h *hedger) begin(n int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.budget = min(h.mu.budget+hedgeShare, hedgeBurst)
	return h.mu.sizes[sizeClass(n)].after
}

// took notes a read that succeeded, and looks anew at the 95th percentile now and then.
func (h *hedger) took(n int, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.mu.sizes[sizeClass(n)]
	l.ring[l.n%hedgeSamples] = d
	l.n++
	if l.n >= hedgeLeast && l.n%(hedgeLeast/2) == 0 {
		sorted := slices.Sorted(slices.Values(l.ring[:min(l.n, hedgeSamples)]))
		l.after = max(sorted[len(sorted)*95/100], hedgeFloor)
	}
}

// spend takes a second request from the budget, if it has one left.
func (h *hedger) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.budget < 1 {
		return false
	}
	h.mu.budget--
	return true
}

// errOvertaken ends a read whose second try has won.
var errOvertaken = errors.New("the second request was faster")

// second is another try of a read that is under way.
type second struct {
	done  chan struct{}
	won   bool
	p     []byte
	attrs objstore.Attrs
}

// Fill is the GetRange of an objstore.Bucket for a p that isn't empty. A small read that takes
// unusually long is asked for a second time, within a budget.
func (r *Retrier) Fill(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version, policy Policy, ask Ask) (objstore.Attrs, error) {
	if len(p) > hedgeMax {
		return fill(ctx, key, off, p, ifv, policy, ask)
	}
	begun := time.Now()
	a, err := r.hedged(ctx, r.hedge.begin(len(p)), key, off, p, ifv, policy, ask)
	if err == nil {
		r.hedge.took(len(p), time.Since(begun))
	}
	return a, err
}

func (r *Retrier) hedged(ctx context.Context, after time.Duration, key string, off int64, p []byte, ifv objstore.Version, policy Policy, ask Ask) (objstore.Attrs, error) {
	if after == 0 {
		return fill(ctx, key, off, p, ifv, policy, ask)
	}
	first, overtake := context.WithCancelCause(ctx)
	defer overtake(nil)
	other, giveUp := context.WithCancel(ctx)
	defer giveUp()
	s := &second{done: make(chan struct{})}
	timer := time.AfterFunc(after, func() {
		defer close(s.done)
		if r.limit.cutWithin(hedgeCalm) || !r.hedge.spend() {
			return
		}
		buf := make([]byte, len(p)) // the first one may still be writing into p
		if a, err := fill(other, key, off, buf, ifv, policy, ask); err == nil {
			s.won, s.p, s.attrs = true, buf, a
			overtake(errOvertaken)
		}
	})
	a, err := fill(first, key, off, p, ifv, policy, ask)
	if timer.Stop() || err == nil {
		return a, err
	}
	overtaken := errors.Is(context.Cause(first), errOvertaken)
	if !overtaken && !objstore.KindOf(err).Retriable() {
		return a, err // the second would say the same
	}
	<-s.done // bounded as the first one was
	if !s.won {
		return a, err
	}
	copy(p, s.p)
	return s.attrs, nil
}
