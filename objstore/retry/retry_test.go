package retry_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

var policy = retry.Policy{Attempts: 4, Base: 100 * time.Millisecond, ThrottleBase: time.Second, Cap: 5 * time.Second}

// script answers with one kind after the other; ErrUnknown is success.
func script(n *int, kinds ...objstore.Kind) func(context.Context) error {
	return func(context.Context) error {
		k := kinds[min(*n, len(kinds)-1)]
		*n++
		if k == objstore.ErrUnknown {
			return nil
		}
		return objstore.NewError(k, "put", "k", nil)
	}
}

func TestDo(t *testing.T) {
	const (
		ok        = objstore.ErrUnknown
		transient = objstore.ErrTransient
		throttled = objstore.ErrThrottled
		lost      = objstore.ErrAmbiguous
		refused   = objstore.ErrPrecondition
		denied    = objstore.ErrAccessDenied
	)
	for _, tt := range []struct {
		kinds []objstore.Kind
		calls int
		want  objstore.Kind
	}{
		{[]objstore.Kind{ok}, 1, ok},
		{[]objstore.Kind{transient, throttled, ok}, 3, ok},
		{[]objstore.Kind{transient}, 4, transient},
		{[]objstore.Kind{denied}, 1, denied},
		{[]objstore.Kind{refused}, 1, refused},
		{[]objstore.Kind{objstore.ErrConflict, refused}, 2, refused},
		{[]objstore.Kind{lost, ok}, 2, ok},
		{[]objstore.Kind{lost, refused}, 2, lost},
		{[]objstore.Kind{transient, refused}, 2, refused},
		{[]objstore.Kind{lost, denied}, 2, lost},
		{[]objstore.Kind{lost, transient}, 4, lost},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			err := retry.New().Do(t.Context(), "put", "k", policy, script(&n, tt.kinds...))
			if n != tt.calls {
				t.Errorf("%v: %d attempts, want %d", tt.kinds, n, tt.calls)
			}
			if tt.want == ok {
				if err != nil {
					t.Errorf("%v: %v", tt.kinds, err)
				}
				return
			}
			var e *objstore.Error
			if !errors.As(err, &e) || e.Kind != tt.want || e.Attempts != tt.calls {
				t.Errorf("%v: %v, want %q after %d", tt.kinds, err, tt.want, tt.calls)
			}
		})
	}
}

// Waits stay below their growing bounds and differ; Retry-After is the least.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		p := policy
		p.Attempts = 8
		p.Cap = 400 * time.Millisecond
		retry.New().Do(t.Context(), "get", "k", p, func(context.Context) error {
			at = append(at, time.Now())
			e := objstore.NewError(objstore.ErrTransient, "get", "k", nil)
			if len(at) == 7 {
				e.RetryAfter = 7 * time.Second
			}
			return e
		})
		bounds := []time.Duration{100, 200, 400, 400, 400, 400}
		var waits []time.Duration
		for i, bound := range bounds {
			wait := at[i+1].Sub(at[i])
			waits = append(waits, wait)
			if wait > bound*time.Millisecond {
				t.Errorf("wait %d is %v, at most %v", i, wait, bound*time.Millisecond)
			}
		}
		if slices.Max(waits) == slices.Min(waits) {
			t.Errorf("the waits have no jitter: %v", waits)
		}
		if last := at[7].Sub(at[6]); last != 7*time.Second {
			t.Errorf("the store asked for 7 s, we came back after %v", last)
		}
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		n := 0
		p := policy
		p.Base, p.ThrottleBase = time.Hour, time.Hour
		p.Cap = time.Hour
		err := retry.New().Do(ctx, "get", "k", p, script(&n, objstore.ErrThrottled))
		if n != 1 || !errors.Is(err, objstore.ErrCanceled) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "throttled") {
			t.Errorf("after %d attempts: %v", n, err)
		}
	})
}

// A wait that the deadline cuts short is not begun; the error says what went wrong.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := policy
		p.Attempts, p.Deadline = 1000, 20*time.Second
		err := retry.New().Do(t.Context(), "get", "k", p, func(ctx context.Context) error {
			select {
			case <-time.After(3 * time.Second):
				return objstore.NewError(objstore.ErrTransient, "get", "k", nil)
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if !errors.Is(err, objstore.ErrTransient) {
			t.Errorf("%v, want what the attempts met", err)
		}
		err = retry.New().Do(t.Context(), "put", "k", p, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, objstore.ErrAmbiguous) {
			t.Errorf("a write that was cut short: %v", err)
		}
		start = start.Add(20 * time.Second)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// In an outage the retries dry up; requests that succeed bring them back.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := retry.New()
		n := 0
		for range 200 {
			r.Do(t.Context(), "get", "k", policy, script(&n, objstore.ErrTransient))
		}
		if n < 300 || n > 330 {
			t.Errorf("200 failing operations made %d requests, want 200 and a budget of 100 and a tenth", n)
		}
		ok := 0
		for range 1000 {
			r.Do(t.Context(), "get", "k", policy, script(&ok, objstore.ErrUnknown))
		}
		n = 0
		r.Do(t.Context(), "get", "k", policy, script(&n, objstore.ErrTransient))
		if n != policy.Attempts {
			t.Errorf("%d attempts after the recovery, want %d", n, policy.Attempts)
		}
	})
}
