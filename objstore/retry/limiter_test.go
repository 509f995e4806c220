package retry

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/objstore"
)

// A store that bears so many requests at once, and says so beyond.
func TestConcurrencyFindsWhatTheStoreBears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bears, callers = 20, 200
		r := New()
		inFlight, most, throttled, done := 0, 0, 0, 0
		lock := make(chan struct{}, 1)
		p := Policy{Attempts: 100, Base: time.Millisecond, ThrottleBase: 10 * time.Millisecond, Cap: 100 * time.Millisecond}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for ctx.Err() == nil {
					_ = r.Do(ctx, "get", "k", p, func(context.Context) error {
						lock <- struct{}{}
						inFlight++
						over := inFlight > bears
						most = max(most, inFlight)
						<-lock
						time.Sleep(20 * time.Millisecond)
						lock <- struct{}{}
						inFlight--
						if over {
							throttled++
						} else {
							done++
						}
						<-lock
						if over {
							return objstore.NewError(objstore.ErrThrottled, "get", "k", nil)
						}
						return nil
					})
				}
			})
		}
		wg.Wait()
		// 20 at once, 20 ms each, a minute long: 60,000 at best.
		if most > 2*limitStart || done < 30_000 || throttled > done/5 {
			t.Errorf("%d done, %d throttled, %d at once at most, of a store that bears %d", done, throttled, most, bears)
		}
	})
}

func TestConcurrencyGrowsWithoutThrottles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter()
		for round := range 50 {
			n := 0
			for l.mu.inFlight < int(l.mu.limit) {
				if err := l.enter(t.Context()); err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n > limitStart+round || n < limitStart+round*9/10-1 {
				t.Fatalf("round %d: %d at once, want about one more each round from %d on", round, n, limitStart)
			}
			for range n {
				l.leave(time.Now(), false, true)
			}
		}
	})
}

// An idle bucket does not grow, or its limit would mean nothing when load comes.
func TestConcurrencyStaysWhenUnused(t *testing.T) {
	l := newLimiter()
	for range 1000 {
		if err := l.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.leave(time.Now(), false, true)
	}
	if l.mu.limit != limitStart {
		t.Errorf("the limit is %v after requests one by one, want %d", l.mu.limit, limitStart)
	}
}

func TestThrottlesOfOneMomentCutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter()
		begun := time.Now()
		for range 20 {
			l.enter(t.Context())
		}
		time.Sleep(time.Millisecond)
		for range 20 {
			l.leave(begun, true, false)
		}
		if l.mu.limit != limitStart/2 {
			t.Errorf("the limit is %v, want half of %d", l.mu.limit, limitStart)
		}
	})
}

// A wait for a turn ends with the context, as a throttle that was never sent, and its turn is
// not lost.
func TestWaitForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		release := make(chan struct{})
		for range limitStart {
			go r.Do(t.Context(), "get", "k", Policy{Attempts: 1}, func(context.Context) error { <-release; return nil })
		}
		synctest.Wait()
		err := r.Do(t.Context(), "put", "k", Policy{Attempts: 3, Deadline: time.Second}, func(context.Context) error { t.Error("it was sent"); return nil })
		if !errors.Is(err, objstore.ErrThrottled) {
			t.Errorf("%v, want a throttle", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err = r.Do(ctx, "put", "k", Policy{Attempts: 3}, func(context.Context) error { return nil })
		if !errors.Is(err, objstore.ErrCanceled) {
			t.Errorf("%v, want canceled", err)
		}
		close(release)
		synctest.Wait()
		if r.limit.mu.inFlight != 0 || len(r.limit.mu.waiting) != 0 {
			t.Errorf("%d in flight and %d waiting after all have gone", r.limit.mu.inFlight, len(r.limit.mu.waiting))
		}
	})
}
