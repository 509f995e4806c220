package metered

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/objstore"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	dollars  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_objstore_requests_total",
			Help: "Operations on the object store by outcome: ok, or the kind of failure. not_found and precondition_failed can be answers as well as failures."}, []string{"op", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "varve_objstore_request_seconds",
			Help:    "How long operations on the object store took, with their retries; an open ends with its first byte.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}, NativeHistogramBucketFactor: 1.1}, []string{"op"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_objstore_bytes_total",
			Help: "Bytes written to and read from the object store."}, []string{"direction"}),
		dollars: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "varve_objstore_cost_dollars_total",
			Help: "What the requests cost by list prices; storage and traffic are not in it."}, []string{"op"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.bytes, m.dollars} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// done notes an operation that has ended; n bytes went through it.
func (m *metrics) done(op string, begun time.Time, err error, n int64, dollars float64) {
	m.requests.WithLabelValues(op, outcome(err)).Inc()
	m.seconds.WithLabelValues(op).Observe(time.Since(begun).Seconds())
	direction := "read"
	if op == "put" {
		direction = "written"
	}
	m.bytes.WithLabelValues(direction).Add(float64(n))
	m.dollars.WithLabelValues(op).Add(dollars)
}

// read notes a piece of a body.
func (m *metrics) read(n int, err error) {
	m.bytes.WithLabelValues("read").Add(float64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		m.requests.WithLabelValues("read", outcome(err)).Inc()
	}
}

// outcome is one of as many names as there are kinds.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return strings.ReplaceAll(objstore.KindOf(err).Error(), " ", "_")
}
