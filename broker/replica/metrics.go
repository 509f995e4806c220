package replica

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the room tells about itself.
type metrics struct {
	parked      atomic.Int64
	remoteReads *prometheus.CounterVec
	heals       *prometheus.CounterVec
}

// newMetrics registers the room's metrics; a nil registerer keeps them unregistered.
func newMetrics(m *Manager, reg prometheus.Registerer) *metrics {
	x := &metrics{
		remoteReads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replica_remote_reads_total",
			Help: "Reads that the local log could not answer and the object store was asked for, by result.",
		}, []string{"result"}),
		heals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replica_heals_total",
			Help: "Attempts to open a tiered partition without trustworthy local files from its manifest, by result.",
		}, []string{"result"}),
	}
	if reg == nil {
		return x
	}
	reg.MustRegister(x.remoteReads, x.heals,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_parked_fetches",
			Help: "Fetches that wait for data.",
		}, func() float64 { return float64(x.parked.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_partitions",
			Help: "Partitions that this broker holds a replica of.",
		}, func() float64 { return float64(len(m.all())) }),
	)
	return x
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func (x *metrics) remoteRead(err error) { x.remoteReads.WithLabelValues(result(err)).Inc() }
func (x *metrics) healed(err error)     { x.heals.WithLabelValues(result(err)).Inc() }
