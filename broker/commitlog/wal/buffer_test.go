package wal

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// buffersOf is the memory of a WAL's buffers, by its first byte, and how much that is.
func buffersOf(w *WAL) (of map[*byte]bool, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of = map[*byte]bool{}
	for _, s := range []*buffer{w.mu.stage, w.mu.spare} {
		if s != nil {
			of[&s.b[:1][0]] = true
			n += cap(s.b)
		}
	}
	return of, n
}

// TestBuffersStay: a producer who waits for each of its large batches has no buffer made anew
// for it, and an idle file lets go of them.
func TestBuffersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newDisk(t), func(o *Options) { o.Bytes = 32 << 20 })
		o := join(r.w, key(1, 0), 0)
		large := content(0, 3<<20)
		send := func() {
			if err := o.append(t, large, true); err != nil {
				t.Fatal(err)
			}
		}
		send()
		send()
		synctest.Wait()
		of, _ := buffersOf(r.w)
		for range 20 {
			send()
			time.Sleep(keptFor / 2)
			synctest.Wait()
			if now, _ := buffersOf(r.w); !maps.Equal(now, of) {
				t.Fatal("buffers were made anew")
			}
		}
		time.Sleep(2 * keptFor)
		synctest.Wait()
		if _, n := buffersOf(r.w); n > 2*keptBuffer {
			t.Errorf("an idle file holds buffers of %d bytes", n)
		}
		send()
		if err := r.w.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}
