package load

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Each power of two of nanoseconds has 64 buckets, so that a bucket is at most 1.6 % wide.
const (
	subBits = 6
	buckets = (64 - subBits + 1) << subBits
)

// histogram counts durations. It may be used from many goroutines.
type histogram struct {
	counts [buckets]atomic.Int64
	max    atomic.Int64
}

func bucketOf(ns uint64) int {
	shift := max(0, bits.Len64(ns)-subBits-1)
	return shift<<subBits + int(ns>>shift)
}

// upper is the largest number of a bucket.
func upper(bucket int) uint64 {
	shift := max(0, bucket>>subBits-1)
	return (uint64(bucket-shift<<subBits)+1)<<shift - 1
}

// add counts d; one below 0, which a coarse clock may give, is 0.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))].Add(1)
	for seen := h.max.Load(); int64(d) > seen && !h.max.CompareAndSwap(seen, int64(d)); seen = h.max.Load() {
	}
}

// counted is a copy of the counts, from which since can be taken.
func (h *histogram) counted() *[buckets]int64 {
	var c [buckets]int64
	for i := range h.counts {
		c[i] = h.counts[i].Load()
	}
	return &c
}

// quantiles of what was counted since an earlier copy (nil: since the beginning), in milliseconds; 0 for nothing.
func (h *histogram) quantiles(since *[buckets]int64, qs ...float64) []float64 {
	now, n := h.counted(), int64(0)
	for i := range now {
		if since != nil {
			now[i] -= since[i]
		}
		n += now[i]
	}
	out := make([]float64, len(qs))
	for k, q := range qs {
		rank, seen := max(1, int64(q*float64(n)+0.5)), int64(0)
		for i, c := range now {
			if seen += c; c > 0 && seen >= rank {
				out[k] = float64(min(upper(i), uint64(h.max.Load()))) / 1e6
				break
			}
		}
	}
	return out
}

// latency is the whole distribution; nil when nothing was counted.
func (h *histogram) latency() *Latency {
	q := h.quantiles(nil, 0.5, 0.95, 0.99, 0.999)
	if q[0] == 0 && h.max.Load() == 0 {
		return nil
	}
	return &Latency{P50: q[0], P95: q[1], P99: q[2], P999: q[3], Max: float64(h.max.Load()) / 1e6}
}
