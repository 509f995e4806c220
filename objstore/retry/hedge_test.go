package retry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/objstore"
)

// store answers each request after a delay that depends on its number, from 0.
type store struct {
	asked atomic.Int64
	delay func(n int64) time.Duration
	fail  func(n int64) error
}

const storeSize = 100 << 20

func (s *store) ask(ctx context.Context, off, end int64, _ objstore.Version) (Answer, error) {
	n := s.asked.Add(1) - 1
	t := time.NewTimer(s.delay(n))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return Answer{}, objstore.Wrap("get", "k", ctx.Err())
	}
	if s.fail != nil {
		if err := s.fail(n); err != nil {
			return Answer{}, err
		}
	}
	body := io.NopCloser(bytes.NewReader(bytes.Repeat([]byte{byte(n)}, int(end-off))))
	return Answer{Body: body, Start: off, Attrs: objstore.Attrs{Key: "k", Size: storeSize, Version: "1"}}, nil
}

// warm makes n reads that take 10 ms each.
func warm(t *testing.T, r *Retrier, size, n int) {
	t.Helper()
	s := &store{delay: func(int64) time.Duration { return 10 * time.Millisecond }}
	for range n {
		if _, err := r.Fill(t.Context(), "k", 0, make([]byte, size), "", Read, s.ask); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.asked.Load(); got != int64(n) {
		t.Fatalf("%d requests for %d quick reads", got, n)
	}
}

// firstSlow is slow on even requests.
func firstSlow(n int64) time.Duration {
	if n%2 == 0 {
		return time.Second
	}
	return 10 * time.Millisecond
}

func TestSlowReadIsAskedForTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		warm(t, r, 1000, 100)
		s, p, begun := &store{delay: firstSlow}, make([]byte, 1000), time.Now()
		if _, err := r.Fill(t.Context(), "k", 0, p, "", Read, s.ask); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != hedgeFloor+10*time.Millisecond {
			t.Errorf("it took %v, want the floor and a quick read", took)
		}
		if p[0] != 1 || p[999] != 1 {
			t.Errorf("the bytes are those of request %d", p[0])
		}
	})
}

func TestFirstAnswerWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		warm(t, r, 1000, 100)
		// The first is slow, the second slower.
		s, p := &store{delay: func(n int64) time.Duration { return time.Duration(n+1) * 100 * time.Millisecond }}, make([]byte, 1000)
		begun := time.Now()
		if _, err := r.Fill(t.Context(), "k", 0, p, "", Read, s.ask); err != nil || p[0] != 0 || time.Since(begun) != 100*time.Millisecond {
			t.Errorf("%v, bytes of request %d after %v", err, p[0], time.Since(begun))
		}
		synctest.Wait()
		if s.asked.Load() != 2 {
			t.Errorf("%d requests", s.asked.Load())
		}
	})
}

func TestNoSecondRequest(t *testing.T) {
	for _, tt := range []struct {
		name    string
		size    int
		prepare func(t *testing.T, r *Retrier)
	}{
		{"large", hedgeMax + 1, func(t *testing.T, r *Retrier) { warm(t, r, hedgeMax, 100) }},
		{"too little is known", 1000, func(t *testing.T, r *Retrier) { warm(t, r, 1000, hedgeLeast-1) }},
		{"another size is known", 1000, func(t *testing.T, r *Retrier) { warm(t, r, 1<<20, 100) }},
		{"throttled", 1000, func(t *testing.T, r *Retrier) {
			warm(t, r, 1000, 100)
			r.limit.enter(t.Context())
			r.limit.leave(time.Now(), true, false)
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := New()
			tt.prepare(t, r)
			s := &store{delay: func(int64) time.Duration { return time.Second }}
			if _, err := r.Fill(t.Context(), "k", 0, make([]byte, tt.size), "", Read, s.ask); err != nil || s.asked.Load() != 1 {
				t.Errorf("%s: %d requests, %v", tt.name, s.asked.Load(), err)
			}
		})
	}
}

// When every read has become slow the second requests end with their budget.
func TestSecondRequestsHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		warm(t, r, 1000, 400)
		const reads = 400
		// Slow each time, so that the 95th percentile follows soon; the budget rules before.
		s := &store{delay: func(int64) time.Duration { return time.Second }}
		for range reads {
			if _, err := r.Fill(t.Context(), "k", 0, make([]byte, 1000), "", Read, s.ask); err != nil {
				t.Fatal(err)
			}
		}
		if extra := s.asked.Load() - reads; extra > hedgeBurst+reads/20 {
			t.Errorf("%d second requests of %d", extra, reads)
		}
	})
}

func TestErrorsOfTwoRequests(t *testing.T) {
	missing := objstore.NewError(objstore.ErrNotFound, "get", "k", nil)
	busy := objstore.NewError(objstore.ErrTransient, "get", "k", nil)
	for _, tt := range []struct {
		name          string
		first, second error
		want          error
	}{
		{"missing", missing, nil, objstore.ErrNotFound},
		{"the second saves it", busy, nil, nil},
		{"both fail", busy, missing, objstore.ErrTransient},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := New()
			warm(t, r, 1000, 100)
			s := &store{
				delay: func(n int64) time.Duration { return 100 * time.Millisecond },
				fail: func(n int64) error {
					if n == 0 {
						return tt.first
					}
					return tt.second
				},
			}
			if _, err := r.Fill(t.Context(), "k", 0, make([]byte, 1000), "", Read, s.ask); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		})
	}
}

func TestCanceledReadOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		warm(t, r, 1000, 100)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(200*time.Millisecond, cancel)
		s := &store{delay: func(int64) time.Duration { return time.Hour }}
		if _, err := r.Fill(ctx, "k", 0, make([]byte, 1000), "", Read, s.ask); !errors.Is(err, objstore.ErrCanceled) {
			t.Errorf("%v, want canceled", err)
		}
	})
}
