package server

import "testing"

// TestLargeSlabsAreReused: what a request of several MiB was received into serves the next one,
// and is not much larger than it has to be.
func TestLargeSlabsAreReused(t *testing.T) {
	p := &slabs{budget: &budget{}}
	for n := 2 << 20; n <= 32<<20; n += 1 << 20 {
		if size := sizeOf(n); size > n+n/2+slack {
			t.Errorf("a slab of %d bytes for %d", size, n)
		}
		reused := false
		for range 100 { // a pool may forget: under the race detector it does so at random
			s := p.try(n)
			first := &s.b[0]
			s.release()
			again := p.try(n - 1)
			reused = reused || &again.b[0] == first
			again.release()
			if reused {
				break
			}
		}
		if !reused {
			t.Errorf("no slab of %d bytes was used twice", n)
		}
	}
}
