package telemetry

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// seriesKey is one metric of one client.id: instances that share it are one client to people.
type seriesKey struct {
	metric, client string
	sum            bool
}

// series is what a client said last of a metric, or what it said in all.
type series struct {
	value float64
	at    time.Time
}

// seriesLife is how long a series stays that nobody pushes any more: three pushes at the
// longest interval that a subscription may have.
const seriesLife = 3 * time.Hour

// metrics are what Prometheus reads of clients.
type metrics struct {
	m              *Manager
	dropped        prometheus.Counter
	refused        prometheus.Counter
	gauge, counter *prometheus.Desc
}

func newMetrics(m *Manager, reg prometheus.Registerer) *metrics {
	c := &metrics{
		m: m,
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "varve_client_telemetry_dropped_points_total",
			Help: "Values that clients pushed and that were dropped, because there are too many series already.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "varve_client_telemetry_refused_pushes_total",
			Help: "Pushes of clients that could not be read.",
		}),
		gauge:   prometheus.NewDesc("varve_client_telemetry_value", "The last value of a gauge that clients pushed (KIP-714), the largest of its points.", []string{"metric", "client_id"}, nil),
		counter: prometheus.NewDesc("varve_client_telemetry_accumulated", "The total of a sum that clients pushed (KIP-714), over all its points.", []string{"metric", "client_id"}, nil),
	}
	if reg != nil {
		reg.MustRegister(c, c.dropped, c.refused)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.gauge
	ch <- c.counter
}

// Collect implements prometheus.Collector. Series whose clients have gone are dropped here.
func (c *metrics) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	now := c.m.now()
	for key, s := range c.m.mu.series {
		if now.Sub(s.at) > seriesLife {
			delete(c.m.mu.series, key)
			continue
		}
		desc := c.gauge
		if key.sum {
			desc = c.counter
		}
		ch <- prometheus.MustNewConstMetric(desc, prometheus.UntypedValue, s.value, key.metric, key.client)
	}
}

// keep takes the values that were asked for, as far as there is room for their series.
func (m *Manager) keep(points []point, sub Subscription, c Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	client := strings.Clone(strings.ToValidUTF8(c.ID[:min(len(c.ID), maxName)], "?"))
	for _, p := range points {
		if !sub.subscribed(p.name) {
			continue
		}
		key := seriesKey{strings.ToValidUTF8(p.name, "?"), client, p.sum}
		s := m.mu.series[key]
		if s == nil {
			if len(m.mu.series) >= maxSeries {
				m.metrics.dropped.Inc()
				continue
			}
			s = &series{}
			m.mu.series[key] = s
		}
		if s.at = now; p.delta {
			s.value += p.value
		} else {
			s.value = p.value
		}
	}
}
