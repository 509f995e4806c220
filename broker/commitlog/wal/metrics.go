package wal

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what the write-ahead files of a node tell about themselves. A nil Metrics
// counts nothing.
type Metrics struct {
	appends, bytes, syncs, stalls, fullStops, fences prometheus.Counter
	syncSeconds, batch                               prometheus.Histogram

	open struct {
		sync.Mutex
		byDir map[*WAL]string
	}
}

var (
	dirLabel   = []string{"dir"}
	usedDesc   = prometheus.NewDesc("varve_wal_used_bytes", "Bytes of the write-ahead file that no sync of the logs' own files covers yet.", dirLabel, nil)
	sizeDesc   = prometheus.NewDesc("varve_wal_size_bytes", "Size of the write-ahead file's ring.", dirLabel, nil)
	directDesc = prometheus.NewDesc("varve_wal_direct", "1 when the write-ahead file is written past the page cache, 0 where the file system refuses that.", dirLabel, nil)
)

// NewMetrics registers the metrics; a nil registerer keeps them unregistered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	x := &Metrics{
		appends:   counter("varve_wal_appends_total", "Record batches written to the write-ahead files."),
		bytes:     counter("varve_wal_bytes_total", "Bytes of those batches."),
		syncs:     counter("varve_wal_syncs_total", "Syncs of the write-ahead files: each acknowledges all that was written since the one before."),
		stalls:    counter("varve_wal_stalls_total", "Appends that waited because a whole frame was staged already."),
		fullStops: counter("varve_wal_full_total", "Times the write-ahead file was full, so that appends waited for a sync of the logs' own files."),
		fences:    counter("varve_wal_fences_total", "Log dirs that went offline because a write or sync of the write-ahead file failed."),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_wal_sync_seconds", Help: "Time to write and sync one frame.", Buckets: prometheus.ExponentialBuckets(0.00005, 2, 18),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_wal_batches_per_sync", Help: "Records that one sync made durable.", Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
	}
	x.open.byDir = map[*WAL]string{}
	if reg != nil {
		reg.MustRegister(x.appends, x.bytes, x.syncs, x.stalls, x.fullStops, x.fences, x.syncSeconds, x.batch, x)
	}
	return x
}

// Describe implements prometheus.Collector.
func (x *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- usedDesc
	ch <- sizeDesc
	ch <- directDesc
}

// Collect implements prometheus.Collector.
func (x *Metrics) Collect(ch chan<- prometheus.Metric) {
	x.open.Lock()
	defer x.open.Unlock()
	for w, dir := range x.open.byDir {
		w.mu.Lock()
		used := w.mu.head - w.mu.tail
		w.mu.Unlock()
		direct := 0.0
		if w.direct {
			direct = 1
		}
		ch <- prometheus.MustNewConstMetric(usedDesc, prometheus.GaugeValue, float64(used), dir)
		ch <- prometheus.MustNewConstMetric(sizeDesc, prometheus.GaugeValue, float64(w.ring), dir)
		ch <- prometheus.MustNewConstMetric(directDesc, prometheus.GaugeValue, direct, dir)
	}
}

func (x *Metrics) opened(dir string, w *WAL) {
	if x != nil {
		x.open.Lock()
		defer x.open.Unlock()
		x.open.byDir[w] = dir
	}
}

func (x *Metrics) closed(w *WAL) {
	if x != nil {
		x.open.Lock()
		defer x.open.Unlock()
		delete(x.open.byDir, w)
	}
}

func (x *Metrics) staged(n int) {
	if x != nil {
		x.appends.Inc()
		x.bytes.Add(float64(n))
	}
}

func (x *Metrics) synced(records int, _ int64, took time.Duration) {
	if x != nil {
		x.syncs.Inc()
		x.syncSeconds.Observe(took.Seconds())
		if records > 0 {
			x.batch.Observe(float64(records))
		}
	}
}

func (x *Metrics) stalled() {
	if x != nil {
		x.stalls.Inc()
	}
}

func (x *Metrics) full() {
	if x != nil {
		x.fullStops.Inc()
	}
}

func (x *Metrics) fenced() {
	if x != nil {
		x.fences.Inc()
	}
}
