package logs

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// number is an integer from the environment, or def.
func number(t *testing.T, name string, def uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// play is one random history.
func play(t *testing.T, seed uint64) (s stats) {
	t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			defer w.report()
			w.check(w.begin(0))
			for range 1 + w.rng.IntN(4) {
				w.create()
			}
			for range 2 + w.rng.IntN(5) {
				w.life(30 + w.rng.IntN(150))
			}
			w.check(w.close())
			s = w.stats
		})
	})
	return s
}

// TestHistories plays histories for CHAOS_LOG_SECONDS (CHAOS_LOG_HISTORIES: so many instead),
// from CHAOS_SEED on. The seed of a history that failed is in its name.
func TestHistories(t *testing.T) {
	limit := time.Duration(number(t, "CHAOS_LOG_SECONDS", 4)) * time.Second
	n := number(t, "CHAOS_LOG_HISTORIES", 1<<62)
	first := number(t, "CHAOS_SEED", 1)
	var sum stats
	played, began := uint64(0), time.Now()
	for ; played < n && (n < 1<<62 || time.Since(began) < limit) && !t.Failed(); played++ {
		sum.add(play(t, first+played))
	}
	t.Logf("CHAOS_SEED=%d: %d histories, %d steps in %d lives, %d power cuts, %d kills, %d failing disks",
		first, played, sum.acts, sum.lives, sum.cuts, sum.kills, sum.flaws)
}
