package coordinator

import "github.com/prometheus/client_golang/prometheus"

// metrics is what a runtime tells about itself.
type metrics struct {
	loaded   prometheus.Counter
	failures *prometheus.CounterVec
}

// newMetrics registers a runtime's metrics; a nil registerer keeps them unregistered.
func newMetrics(name string, reg prometheus.Registerer, counts func() (active, loading, failed int)) *metrics {
	labels := prometheus.Labels{"coordinator": name}
	x := &metrics{
		loaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "varve_coordinator_loaded_records_total", ConstLabels: labels,
			Help: "Records that were read from the internal topic to load shards.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_coordinator_failures_total", ConstLabels: labels,
			Help: "What went wrong in shards: load, append, timeout (of the wait for the high watermark), panic.",
		}, []string{"what"}),
	}
	if reg == nil {
		return x
	}
	reg.MustRegister(x.loaded, x.failures)
	for i, state := range []string{"active", "loading", "failed"} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_coordinator_shards", ConstLabels: prometheus.Labels{"coordinator": name, "state": state},
			Help: "Partitions of the internal topic that this broker coordinates.",
		}, func() float64 {
			a, l, f := counts()
			return float64([]int{a, l, f}[i])
		}))
	}
	return x
}
