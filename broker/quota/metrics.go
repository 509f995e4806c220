package quota

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	throttled, seconds [kinds]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	label := []string{"quota"}
	throttled := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "varve_quota_throttled_total",
		Help: "How often a client was over a quota and was told to pause, or was refused.",
	}, label)
	seconds := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "varve_quota_throttle_seconds_total",
		Help: "The pauses that clients over a quota were told, summed up.",
	}, label)
	if reg != nil {
		reg.MustRegister(throttled, seconds)
	}
	m := &metrics{}
	for k := range kinds {
		m.throttled[k], m.seconds[k] = throttled.WithLabelValues(k.String()), seconds.WithLabelValues(k.String())
	}
	return m
}

func (m *metrics) paused(k Kind, d time.Duration) {
	if d > 0 {
		m.throttled[k].Inc()
		m.seconds[k].Add(d.Seconds())
	}
}
