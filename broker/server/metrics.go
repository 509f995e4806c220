package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/wire"
)

// Why connections end, as the reason label of varve_server_connections_closed_total.
const (
	endPeer       = "peer_closed"
	endIdle       = "idle"
	endStalled    = "stalled"
	endProtocol   = "protocol"
	endMemory     = "memory"
	endPanic      = "panic"
	endDraining   = "shutdown"
	endRequest    = "by_request"
	endLimit      = "max_connections"
	endLimitPerIP = "max_connections_per_ip"
	endHandshake  = "tls_handshake"
	endHandshakes = "max_tls_handshakes"
	endLogin      = "login"
	endLoginTime  = "login_timeout"
	endExpired    = "session_expired"
	endThrottled  = "connection_rate"
)

// maxKeys bounds the API keys with metrics of their own; the rest count as "unknown".
const maxKeys = 128

// metrics are the server's figures. Hot paths bump plain atomics and histograms that were
// looked up at start.
type metrics struct {
	apis        [maxKeys]*apiMetrics
	unknown     *apiMetrics
	muted       atomic.Int64 // connections that are held up
	accepted    prometheus.Counter
	closed      *prometheus.CounterVec
	panics      prometheus.Counter
	memoryWaits prometheus.Counter
}

// apiMetrics are the figures of one API key.
type apiMetrics struct {
	requests, requestBytes atomic.Int64
	seconds                prometheus.Observer
	stages                 [stages]atomic.Int64 // nanoseconds
}

// stage is a part of a request's time, as Kafka tells them apart.
type stage int8

// The stages, in the order in which a request goes through them.
const (
	stageQueue    stage = iota // from its last byte until it is handled
	stageLocal                 // inside the handler
	stageRemote                // parked after that: for data, other replicas, a disk or an object store
	stageThrottle              // held up by quotas; it is told to the client, which is answered at once
	stageResponse              // from the answer until the socket has taken it, answers to earlier requests included
	stages
)

// String is the label of the stage.
func (s stage) String() string {
	return [...]string{"queue", "local", "remote", "throttle", "response"}[s]
}

// spent adds to the time that requests of a key have spent in a stage.
func (m *metrics) spent(key int16, s stage, d time.Duration) {
	if d > 0 {
		m.api(key).stages[s].Add(int64(d))
	}
}

func newMetrics(s *Server, reg prometheus.Registerer) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "varve_server_connections_accepted_total", Help: "Connections accepted."}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_server_connections_closed_total", Help: "Connections closed or refused, by reason."}, []string{"reason"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "varve_server_handler_panics_total", Help: "Requests whose handler panicked; each closed its connection."}),
		memoryWaits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "varve_server_memory_waits_total", Help: "Times a connection waited for request memory."}),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "varve_server_request_seconds", Help: "Time from the last byte of a request to its answer, waiting included.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}, []string{"api"})
	for key := range m.apis {
		if name := s.apiName(int16(key)); name != "" {
			m.apis[key] = &apiMetrics{seconds: seconds.WithLabelValues(name)}
		}
	}
	m.unknown = &apiMetrics{seconds: seconds.WithLabelValues("unknown")}
	if reg != nil {
		reg.MustRegister(m.accepted, m.closed, m.panics, m.memoryWaits, seconds, &collector{s: s, m: m,
			connections: prometheus.NewDesc("varve_server_connections", "Open connections.", nil, nil),
			muted:       prometheus.NewDesc("varve_server_connections_muted", "Connections of which nothing is read for a while, because their clients are throttled.", nil, nil),
			coldBytes:   prometheus.NewDesc("varve_server_cold_bytes_total", "Bytes of answers that were not in memory, or not known to be, and read from disk.", nil, nil),
			coldWaits:   prometheus.NewDesc("varve_server_cold_waits_total", "Times an answer waited because others were reading from disk.", nil, nil),
			strangerWaits: prometheus.NewDesc("varve_server_stranger_waits_total",
				"Times a TLS handshake or a login waited because others had the quarter of the processors that is for them.", nil, nil),
			strangerSeconds: prometheus.NewDesc("varve_server_stranger_wait_seconds_total", "Time that TLS handshakes and logins waited for that.", nil, nil),
			memory:          prometheus.NewDesc("varve_server_request_memory_bytes", "Request memory in use.", nil, nil),
			requests:        prometheus.NewDesc("varve_server_requests_total", "Requests received.", []string{"api"}, nil),
			requestBytes:    prometheus.NewDesc("varve_server_request_bytes_total", "Bytes of requests received.", []string{"api"}, nil),
			stages: prometheus.NewDesc("varve_server_request_stage_seconds_total",
				"Time that requests spent, by stage: queue (until handled), local (handled), remote (parked for data, replicas, disk or object store), throttle (held up by quotas), response (until the socket took the answer).",
				[]string{"api", "stage"}, nil),
		})
	}
	return m
}

// api finds the figures of a key.
func (m *metrics) api(key int16) *apiMetrics {
	if key >= 0 && key < maxKeys && m.apis[key] != nil {
		return m.apis[key]
	}
	return m.unknown
}

// request counts a request of n bytes.
func (m *metrics) request(key int16, n int) {
	a := m.api(key)
	a.requests.Add(1)
	a.requestBytes.Add(int64(n))
}

// answered observes how long a request took.
func (m *metrics) answered(r *Request, now time.Time) {
	key := r.Header.Key
	m.api(key).seconds.Observe(now.Sub(r.Received).Seconds())
	if parked := r.parked.Swap(-1); parked != 0 {
		r.local = time.Duration(parked)
		m.spent(key, stageRemote, now.Sub(r.handled)-r.local)
	} else {
		r.local = now.Sub(r.handled)
		m.spent(key, stageLocal, r.local)
	}
	m.spent(key, stageThrottle, r.pause)
}

// collector reads at scrape time what is counted elsewhere.
type collector struct {
	s *Server
	m *metrics

	connections, muted, memory, requests, requestBytes, coldBytes, coldWaits, strangerWaits, strangerSeconds, stages *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connections, c.muted, c.coldBytes, c.coldWaits, c.strangerWaits, c.strangerSeconds, c.memory, c.requests, c.requestBytes, c.stages} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.s.mu.Lock()
	conns := len(c.s.mu.conns)
	c.s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(conns))
	ch <- prometheus.MustNewConstMetric(c.muted, prometheus.GaugeValue, float64(c.m.muted.Load()))
	ch <- prometheus.MustNewConstMetric(c.memory, prometheus.GaugeValue, float64(c.s.slabs.budget.inUse()))
	ch <- prometheus.MustNewConstMetric(c.coldBytes, prometheus.CounterValue, float64(c.s.cold.bytes.Load()))
	ch <- prometheus.MustNewConstMetric(c.coldWaits, prometheus.CounterValue, float64(c.s.cold.waits.Load()))
	ch <- prometheus.MustNewConstMetric(c.strangerWaits, prometheus.CounterValue, float64(c.s.strangers.waits.Load()))
	ch <- prometheus.MustNewConstMetric(c.strangerSeconds, prometheus.CounterValue, time.Duration(c.s.strangers.waited.Load()).Seconds())
	for key, a := range c.m.apis {
		if a != nil {
			c.api(ch, c.s.apiName(int16(key)), a)
		}
	}
	c.api(ch, "unknown", c.m.unknown)
}

func (c *collector) api(ch chan<- prometheus.Metric, name string, a *apiMetrics) {
	ch <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(a.requests.Load()), name)
	ch <- prometheus.MustNewConstMetric(c.requestBytes, prometheus.CounterValue, float64(a.requestBytes.Load()), name)
	if a.requests.Load() == 0 {
		return // five series for each key that nobody uses would say nothing
	}
	for s := range a.stages {
		ch <- prometheus.MustNewConstMetric(c.stages, prometheus.CounterValue, time.Duration(a.stages[s].Load()).Seconds(), name, stage(s).String())
	}
}

// endReason sorts the error that ended a connection.
func endReason(err error) string {
	switch {
	case errors.Is(err, errHandshake):
		return endHandshake
	case errors.Is(err, errHandshakes):
		return endHandshakes
	case errors.Is(err, errLoginTimeout):
		return endLoginTime
	case errors.Is(err, ErrLogin):
		return endLogin
	case errors.Is(err, ErrSessionExpired):
		return endExpired
	case errors.Is(err, errIdle):
		return endIdle
	case errors.Is(err, errStalled), errors.Is(err, os.ErrDeadlineExceeded):
		return endStalled
	case errors.Is(err, errNoMemory):
		return endMemory
	case errors.Is(err, errPanicked):
		return endPanic
	case errors.Is(err, errDraining):
		return endDraining
	case errors.Is(err, errFrameLength), errors.Is(err, errHeader), errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrVersion):
		return endProtocol
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, errConnClosed):
		return endPeer
	}
	return endRequest
}
