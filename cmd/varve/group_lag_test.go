package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchGoesOnUntilItIsInterrupted: again shows at once, then at each interval; an interrupt
// is its end and no failure, a failure is.
func TestWatchGoesOnUntilItIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		shown := 0
		if err := again(ctx, 2*time.Second, func() error { shown++; return nil }); err != nil || shown != 4 {
			t.Errorf("shown %d times in 7 s at intervals of 2, want 4: %v", shown, err)
		}
		broken := errors.New("broken")
		if err := again(t.Context(), time.Second, func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("a failure came out as %v", err)
		}
	})
}
