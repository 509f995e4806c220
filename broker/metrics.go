package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/commitlog/logdir"
)

// metrics counts what the background loops fail at: each is tried again, and would be
// silent but for a line in the log.
type metrics struct {
	retention, checkpoint, topicObject prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return &metrics{
		retention:   counter("varve_retention_failures_total", "Retention passes that failed for at least one partition; they are tried again."),
		checkpoint:  counter("varve_log_dir_checkpoint_failures_total", "Checkpoints of the log directories that failed; a start would scan more of the logs."),
		topicObject: counter("varve_tier_topic_object_failures_total", "Attempts to write a topic's object or to purge a deleted topic that failed; they are tried again."),
	}
}

// watchDirs shows the log directories by their state.
func watchDirs(reg prometheus.Registerer, dirs *logdir.Manager) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_log_dirs_offline",
		Help: "Log directories that are offline; their partitions refuse clients.",
	}, func() float64 {
		n := 0
		for _, d := range dirs.Dirs() {
			if d.Offline != nil {
				n++
			}
		}
		return float64(n)
	}))
}
