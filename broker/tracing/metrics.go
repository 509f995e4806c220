package tracing

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ sent, dropped, failed prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "varve_tracing_spans_total",
		Help: "Spans that ended, by what became of them: sent to the collector, dropped because too many waited for it, failed because it did not take them.",
	}, []string{"result"})
	if reg != nil {
		reg.MustRegister(spans)
	}
	return &metrics{sent: spans.WithLabelValues("sent"), dropped: spans.WithLabelValues("dropped"), failed: spans.WithLabelValues("failed")}
}
