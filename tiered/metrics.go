package tiered

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/objstore"
)

// metrics are the numbers of the room. Sums over partitions are taken at scrape, so that
// a partition costs no series.
type metrics struct {
	m *Manager

	uploads, uploadedBytes, readBytes, deleted, fenced prometheus.Counter
	claims, claimFailures                              prometheus.Counter
	failures                                           *prometheus.CounterVec

	lagBytes, lagSegments, failing, failingSeconds, partitions *prometheus.Desc
	hits, misses, fillFailures, evictions, corrupt             *prometheus.Desc
	cacheBytes, cacheFiles                                     *prometheus.Desc
}

// newMetrics registers the metrics.
func newMetrics(m *Manager, reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_tier_" + name, Help: help})
	}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("varve_tier_"+name, help, nil, nil)
	}
	x := &metrics{
		m:             m,
		uploads:       counter("uploaded_segments_total", "Segments uploaded and committed."),
		uploadedBytes: counter("uploaded_bytes_total", "Bytes of segment objects uploaded."),
		readBytes:     counter("read_bytes_total", "Log bytes handed to readers from the remote part, from the cache or the store."),
		deleted:       counter("deleted_objects_total", "Segment objects deleted from the store."),
		fenced:        counter("fenced_total", "Partitions found to be owned by another broker or incarnation."),
		claims:        counter("claims_total", "Manifest claims that succeeded."),
		claimFailures: counter("claim_failures_total", "Manifest claims that failed; retention of that partition waits."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_tier_failures_total",
			Help: "Requests of the upload state machine that failed, by kind."}, []string{"kind"}),
		lagBytes:       desc("upload_lag_bytes", "Log bytes that are due for upload."),
		lagSegments:    desc("upload_lag_segments", "Segments that are due for upload."),
		failing:        desc("failing_partitions", "Partitions whose last attempt failed."),
		failingSeconds: desc("failing_seconds", "How long the longest failing partition has been failing."),
		partitions:     desc("partitions", "Partitions led with tiering."),
		hits:           desc("cache_hits_total", "Reads of a chunk that was in the cache."),
		misses:         desc("cache_misses_total", "Reads of a chunk that was not."),
		fillFailures:   desc("cache_fill_failures_total", "Fills of a chunk that failed."),
		evictions:      desc("cache_evictions_total", "Chunks evicted."),
		corrupt:        desc("cache_corrupt_total", "Chunks that did not verify, on disk or from the store."),
		cacheBytes:     desc("cache_bytes", "Bytes in the cache."),
		cacheFiles:     desc("cache_files", "Chunks in the cache."),
	}
	for _, c := range []prometheus.Collector{x.uploads, x.uploadedBytes, x.readBytes, x.deleted, x.fenced, x.claims, x.claimFailures, x.failures, x} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// claimed counts the outcome of a claim.
func (x *metrics) claimed(ok bool) {
	if ok {
		x.claims.Inc()
		return
	}
	x.claimFailures.Inc()
}

// failed counts a failed request.
func (x *metrics) failed(err error) {
	kind := objstore.KindOf(err)
	var e *objstore.Error
	if !errors.As(err, &e) {
		x.failures.WithLabelValues("local").Inc()
		return
	}
	x.failures.WithLabelValues(kind.Error()).Inc()
}

// Describe is prometheus.Collector.
func (x *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{x.lagBytes, x.lagSegments, x.failing, x.failingSeconds, x.partitions, x.hits, x.misses,
		x.fillFailures, x.evictions, x.corrupt, x.cacheBytes, x.cacheFiles} {
		ch <- d
	}
}

// Collect is prometheus.Collector.
func (x *metrics) Collect(ch chan<- prometheus.Metric) {
	var lagBytes, lagSegments, failing, total float64
	var longest time.Duration
	for p := range x.m.Partitions() {
		p.mu.Lock()
		total++
		lagBytes += float64(p.mu.lagBytes)
		lagSegments += float64(p.mu.lagCount)
		if !p.mu.failing.IsZero() {
			failing++
			longest = max(longest, time.Since(p.mu.failing))
		}
		p.mu.Unlock()
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gauge(x.lagBytes, lagBytes)
	gauge(x.lagSegments, lagSegments)
	gauge(x.failing, failing)
	gauge(x.failingSeconds, longest.Seconds())
	gauge(x.partitions, total)
	s := x.m.cache.Stats()
	counter(x.hits, s.Hits)
	counter(x.misses, s.Misses)
	counter(x.fillFailures, s.Failures)
	counter(x.evictions, s.Evictions)
	counter(x.corrupt, s.Corrupt)
	gauge(x.cacheBytes, float64(s.Bytes))
	gauge(x.cacheFiles, float64(s.Files))
}
