package replica

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestPoolRunsEveryJobOnAFewGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(3, 0)
		var running, most, done atomic.Int64
		var mu sync.Mutex
		gate := make(chan struct{})
		for range 100 {
			p.submit(func() {
				n := running.Add(1)
				mu.Lock()
				most.Store(max(most.Load(), n))
				mu.Unlock()
				<-gate
				running.Add(-1)
				done.Add(1)
			})
		}
		synctest.Wait()
		close(gate)
		p.close()
		if done.Load() != 100 || most.Load() != 3 {
			t.Errorf("%d jobs done, at most %d at once; want 100 and 3", done.Load(), most.Load())
		}
		if p.submit(func() {}) {
			t.Error("a closed pool took a job")
		}
	})
}

func TestPoolRefusesWhatItCannotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, 2)
		gate := make(chan struct{})
		p.submit(func() { <-gate })
		synctest.Wait()
		for i, want := range []bool{true, true, false} {
			if got := p.submit(func() {}); got != want {
				t.Errorf("job %d: taken %v, want %v", i, got, want)
			}
		}
		close(gate)
		p.close()
	})
}

func TestPoolHoldsNothingWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4, 0)
		for range 10 {
			p.submit(func() {})
		}
		synctest.Wait()
		if p.mu.running != 0 || p.mu.queue != nil {
			t.Errorf("%d goroutines, queue of %d when idle", p.mu.running, cap(p.mu.queue))
		}
	})
}
