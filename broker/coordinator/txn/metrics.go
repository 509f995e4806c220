package txn

import "github.com/prometheus/client_golang/prometheus"

// metrics is what the coordinator tells about itself, beside its runtime.
type metrics struct {
	markers *prometheus.CounterVec
}

// newMetrics registers the metrics; a nil registerer keeps them unregistered.
func newMetrics(reg prometheus.Registerer) *metrics {
	x := &metrics{markers: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "varve_txn_markers_total",
		Help: "Ends of transactions that were written into partitions, by result: written, failed (and tried again), fenced (the partition knows a later producer or coordinator).",
	}, []string{"result"})}
	if reg != nil {
		reg.MustRegister(x.markers)
	}
	return x
}
