package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// interval is a median with the 95 % interval of its bootstrap.
type interval struct {
	Mid, Low, High float64
	N              int
}

// resamples of a bootstrap.
const resamples = 2000

// estimate is the median of v and how sure it is: the range in which 95 % of the medians of
// resamples lie. With fewer than four values it is the range of the values.
func estimate(v []float64) interval {
	if len(v) == 0 {
		return interval{}
	}
	if len(v) < 4 {
		return interval{median(v), slices.Min(v), slices.Max(v), len(v)}
	}
	rng := rand.New(rand.NewPCG(uint64(len(v)), 1))
	medians, again := make([]float64, resamples), make([]float64, len(v))
	for i := range medians {
		for j := range again {
			again[j] = v[rng.IntN(len(v))]
		}
		medians[i] = median(again)
	}
	slices.Sort(medians)
	return interval{median(v), medians[resamples*25/1000], medians[resamples*975/1000], len(v)}
}

func (i interval) String() string {
	if i.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f [%.2f–%.2f]", i.Mid, i.Low, i.High)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	switch n := len(v); {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	default:
		return (v[n/2-1] + v[n/2]) / 2
	}
}

// quantile of sorted values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// ratios of what one peer and another took in the same turn.
func ratios(a, b []float64) []float64 {
	var r []float64
	for i := range min(len(a), len(b)) {
		r = append(r, a[i]/b[i])
	}
	return r
}

// control compares the two samples of one peer in each A-B-B-A round with each other. A row
// whose control lies outside 0.93–1.07 says little about ratios near 1.
func control(a []float64) (text string, noisy bool) {
	var r []float64
	for i := 0; i+1 < len(a); i += 2 {
		r = append(r, a[i]/a[i+1])
	}
	if len(r) == 0 {
		return "–", true
	}
	if m := median(r); m < 0.93 || m > 1.07 {
		return fmt.Sprintf("%.2f noisy", m), true
	}
	return fmt.Sprintf("%.2f", median(r)), false
}

// spread is the median with the smallest and the largest.
func spread(format string, v []float64) string {
	return fmt.Sprintf(format+" ["+format+"–"+format+"]", median(v), slices.Min(v), slices.Max(v))
}

// column of one figure of every sample.
func column[S any](samples []S, of func(S) float64) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = of(s)
	}
	return out
}
