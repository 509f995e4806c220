package replica

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the room tells about itself.
type metrics struct {
	parked      atomic.Int64
	localBytes  atomic.Int64
	remoteBytes atomic.Int64
	remoteReads *prometheus.CounterVec
	heals       *prometheus.CounterVec
	moves       *prometheus.CounterVec
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
		moves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replica_log_moves_total",
			Help: "Moves of logs between log directories that have ended, by result.",
		}, []string{"result"}),
	}
	if reg == nil {
		return x
	}
	served := func(layer string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "varve_replica_fetched_bytes_total",
			Help:        "Record bytes that fetches were answered with, by the layer they came from.",
			ConstLabels: prometheus.Labels{"layer": layer},
		}, func() float64 { return float64(n.Load()) })
	}
	reg.MustRegister(x.remoteReads, x.heals, x.moves, served("local", &x.localBytes), served("remote", &x.remoteBytes),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_parked_fetches",
			Help: "Fetches that wait for data.",
		}, func() float64 { return float64(x.parked.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_offline_partitions",
			Help: "Partitions whose log is offline, damaged or waits for its manifest: they refuse appends.",
		}, func() float64 { return float64(m.Offline()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_moving_logs",
			Help: "Logs that are being copied into another log directory.",
		}, func() float64 { return float64(len(m.dirs.Moving())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_damaged_ranges",
			Help: "Ranges of offsets whose local records are damaged and whose loss nobody has accepted; those that the object store holds are read from there.",
		}, func() float64 { return float64(m.holes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_stray_logs",
			Help: "Logs found at the start that belong to no topic of the cluster; they are left alone.",
		}, func() float64 { return float64(m.strays.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_replica_partitions",
			Help: "Partitions that this broker holds a replica of.",
		}, func() float64 { return float64(len(m.all())) }),
	)
	return x
}

// Served counts the record bytes that fetches were answered with since the start, by the
// layer they came from.
func (m *Manager) Served() (localBytes, remoteBytes int64) {
	return m.metrics.localBytes.Load(), m.metrics.remoteBytes.Load()
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func (x *metrics) remoteRead(err error) { x.remoteReads.WithLabelValues(result(err)).Inc() }
func (x *metrics) moved(err error)      { x.moves.WithLabelValues(result(err)).Inc() }
func (x *metrics) healed(err error)     { x.heals.WithLabelValues(result(err)).Inc() }

// Offline counts the partitions that refuse appends although this broker leads them.
func (m *Manager) Offline() int {
	n := 0
	for _, p := range m.all() {
		p.lead.RLock()
		log, refused := p.lead.log, p.lead.refused
		p.lead.RUnlock()
		if refused != nil || log == nil || log.Err() != nil || log.Damage() != nil || p.heal.Load() != healed {
			n++
		}
	}
	return n
}
