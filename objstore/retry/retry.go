// Package retry is the one layer that repeats requests to object stores. The SDKs' own
// retries are off: they differ in attempts, in what they repeat and in whether they listen to
// Retry-After, and none knows which writes may be repeated.
//
// It owns when to try again and how long to wait, how many requests are under way at once
// and which reads are asked for twice (Retrier), how long a request may be silent (Watch), reads that
// go on where they broke off (Open), requests that are made without the SDK's layers (Mould), and the
// source of a write as a transport reads it (Body); what a failure means is the provider's to say, by the
// Kind of the *objstore.Error. A Retrier, a Client and a Mould may be used from any goroutine.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/varve-io/varve/objstore"
)

// Policy bounds the attempts of one operation. Waits are drawn evenly between zero and a
// bound that doubles from Base (after a throttle: from ThrottleBase) up to Cap.
type Policy struct {
	// Attempts in all, at least 1.
	Attempts                int
	Base, ThrottleBase, Cap time.Duration
	// Deadline bounds the operation with its waits, when the caller's context has none
	// earlier; 0 is none.
	Deadline time.Duration
}

// Read is for a reader who waits: few, quick attempts.
var Read = Policy{Attempts: 5, Base: 50 * time.Millisecond, ThrottleBase: 500 * time.Millisecond, Cap: 5 * time.Second, Deadline: time.Minute}

// Write is for work in the background.
var Write = Policy{Attempts: 10, Base: 50 * time.Millisecond, ThrottleBase: 500 * time.Millisecond, Cap: 5 * time.Second, Deadline: 15 * time.Minute}

const (
	// budgetMax is how many retries in a row the budget holds; budgetShare is what each
	// request adds to it. In an outage the retries end after budgetMax, and from then on are
	// at most a tenth of all requests: the store is not held down by its own clients.
	budgetMax   = 100
	budgetShare = 0.1
)

// Retrier repeats operations within a budget that they share, bounds how many are under way at
// once, and asks twice for reads that are slow. It is one bucket's.
type Retrier struct {
	limit *limiter
	hedge hedger
	mu    struct {
		sync.Mutex
		budget float64
	}
}

// New is the Retrier of one bucket, with a full budget.
func New() *Retrier {
	r := &Retrier{limit: newLimiter()}
	r.mu.budget = budgetMax
	return r
}

// earn adds the share of a first attempt to the budget.
func (r *Retrier) earn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.budget = min(r.mu.budget+budgetShare, budgetMax)
}

// spend takes a retry from the budget, if it has one left.
func (r *Retrier) spend() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.budget < 1 {
		return false
	}
	r.mu.budget--
	return true
}

// Do runs try until it succeeds, fails for good, or attempts, budget or time are used up. The
// error, an *objstore.Error, counts the attempts. If the outcome of any attempt was unknown
// (ErrAmbiguous), so is that of the operation: a later failure, even a refused condition, is
// returned as ErrAmbiguous, to be settled by looking at the object.
// When the caller's context ends the error is ErrCanceled; when only the policy's deadline
// does, it is what the last attempt met.
func (r *Retrier) Do(ctx context.Context, op, key string, p Policy, try func(context.Context) error) error {
	r.earn()
	caller := ctx
	if p.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Deadline)
		defer cancel()
	}
	var last *objstore.Error
	lost := false
	for attempt := 1; ; attempt++ {
		err := r.attempt(ctx, op, key, try)
		if err == nil {
			return nil
		}
		e := asError(op, key, err)
		switch {
		case caller.Err() != nil:
			return canceled(op, key, caller.Err(), attempt, last)
		case errors.Is(e.Err, errCrowded):
			// Our own deadline, before anything was sent.
		case e.Kind == objstore.ErrCanceled:
			// Our own deadline, in the middle of an attempt: a write may have landed.
			e.Kind = objstore.ErrTransient
			if op == "put" || op == "delete" {
				e.Kind = objstore.ErrAmbiguous
			}
			if last != nil {
				e.Err = fmt.Errorf("%w; before that: %s", e.Err, last)
			}
		}
		e.Attempts = attempt
		last = e
		lost = lost || e.Kind == objstore.ErrAmbiguous
		if !e.Kind.Retriable() || attempt >= p.Attempts || ctx.Err() != nil || !r.spend() || !wait(ctx, p.pause(attempt, e)) {
			break
		}
	}
	if caller.Err() != nil {
		return canceled(op, key, caller.Err(), last.Attempts, last)
	}
	if lost {
		last.Kind = objstore.ErrAmbiguous
	}
	return last
}

// errCrowded is the end of a wait for a turn.
var errCrowded = errors.New("the store bears no more requests at once")

// attempt makes one, when it is its turn.
func (r *Retrier) attempt(ctx context.Context, op, key string, try func(context.Context) error) error {
	if err := r.limit.enter(ctx); err != nil {
		return objstore.NewError(objstore.ErrThrottled, op, key, errCrowded)
	}
	throttled, answered, begun := false, false, time.Now()
	defer func() { r.limit.leave(begun, throttled, answered) }()
	err := try(ctx)
	throttled, answered = errors.Is(err, objstore.ErrThrottled), err == nil
	return err
}

// asError is err as an *objstore.Error that is ours to change.
func asError(op, key string, err error) *objstore.Error {
	var e *objstore.Error
	if !errors.As(objstore.Wrap(op, key, err), &e) {
		panic("BUG: objstore.Wrap returned no *Error")
	}
	c := *e
	return &c
}

func canceled(op, key string, cause error, attempts int, last *objstore.Error) error {
	if last != nil {
		cause = fmt.Errorf("%w; before that: %s", cause, last)
	}
	return &objstore.Error{Kind: objstore.ErrCanceled, Op: op, Key: key, Attempts: attempts, Err: cause}
}

// pause is how long to wait after an attempt; never less than the store asked for.
func (p Policy) pause(attempt int, e *objstore.Error) time.Duration {
	bound := p.Base
	if e.Kind == objstore.ErrThrottled || e.HTTP == http.StatusServiceUnavailable {
		bound = p.ThrottleBase
	}
	for range attempt - 1 {
		if bound >= p.Cap {
			break
		}
		bound *= 2
	}
	bound = min(bound, p.Cap)
	return max(rand.N(bound+1), e.RetryAfter)
}

// wait returns false, at once, when the context would end first.
func wait(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// After reads the Retry-After header of an answer: seconds, or a date.
func After(v string, now time.Time) time.Duration {
	const most = 5 * time.Minute // nobody means more; the policy's deadline rules anyway
	if s, err := strconv.ParseUint(v, 10, 16); err == nil {
		return min(time.Duration(s)*time.Second, most)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), most)
	}
	return 0
}
