package logs

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestEveryCall plays one history again and again and ends it at each call of the file system
// in turn: by a power cut, and by a kill. CHAOS_LOG_STEP=1 takes every call, n every n-th.
func TestEveryCall(t *testing.T) {
	seed, step := number(t, "CHAOS_SEED", 1), int64(number(t, "CHAOS_LOG_STEP", 7))
	total := int64(0)
	synctest.Test(t, func(t *testing.T) { total = script(t, seed, 0, false) })
	for at := int64(1); at <= total && !t.Failed(); at += step {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed=%d,call=%d,kill=%v", seed, at, kill), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { script(t, seed, at, kill) })
			})
		}
	}
	t.Logf("CHAOS_SEED=%d: a history of %d calls, ended at every %d. of them", seed, total, step)
}

// script plays the history of a seed in one process, which ends at a call, then the next
// one. It answers how many calls there were.
func script(t *testing.T, seed uint64, at int64, kill bool) int64 {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 17))}
	defer w.report()
	w.disk, w.dirs = memfs.New(), []string{"/a", "/b"}
	w.check(w.begin(0))
	for range 3 {
		w.create()
	}
	w.calls.Store(0)
	w.fuse.Store(at)
	w.seed, w.kill = seed+uint64(at), kill
	for range 120 {
		if w.ended() {
			break
		}
		w.act(w.parts[w.rng.IntN(len(w.parts))])
	}
	calls := w.calls.Load()
	if at > 0 {
		for range 2 { // a power cut ends the next process: what is read from the page cache may go
			w.end()
			w.restart()
			w.seed, w.kill = w.rng.Uint64(), false
			w.fuse.Store(1 + w.rng.Int64N(600))
			for range 20 {
				if w.ended() {
					break
				}
				w.act(w.parts[w.rng.IntN(len(w.parts))])
			}
		}
		if w.fuse.Store(0); w.ended() {
			w.restart()
		}
		for _, f := range w.parts {
			w.verify(f)
		}
	}
	w.check(w.close())
	return calls
}
