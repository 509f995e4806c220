// Package tracing tells an OpenTelemetry collector on what requests and the work behind them spend
// their time.
//
// It owns the door to OpenTelemetry: its SDK, the way out (OTLP over HTTP, protobuf), the choice
// of what is traced, and what of it may wait. It does not own where spans begin: server does for
// requests, tiered for uploads and deletions, and whoever has a context goes on with Start. Which
// span a context is in travels in the context, so that rooms below need no Tracer.
//
// Tracer, Span and contexts may be used from any goroutine. Without an endpoint there is no
// Tracer: a nil *Tracer begins nothing, a nil *Span takes everything, and neither allocates.
// With one, spans that end wait for the collector in a bounded queue; what does not fit, and what
// the collector does not take, is counted and dropped. Nobody ever waits for it.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/varve-io/varve/broker/vfs"
)

// scope is the instrumentation scope of all spans.
const scope = "github.com/varve-io/varve"

// Limits of what waits for the collector. A span with its attributes takes about 2 KB.
const (
	maxWaiting  = 4096
	maxText     = 512
	batchSpans  = 512
	batchDelay  = 2 * time.Second
	sendTimeout = 10 * time.Second
)

// Options are what a Tracer is built from.
type Options struct {
	// Endpoint is where the collector is: http://HOST:PORT or https://HOST:PORT, to which
	// /v1/traces is added, or a URL with a path, which is used as it is. "": nothing is traced.
	Endpoint string
	// Ratio is the part of the requests that is traced, 0 to 1. Uploads and deletions, which
	// are few, always are.
	Ratio float64
	// HeadersFile has lines NAME: VALUE, which go with each batch; "" for none.
	HeadersFile string
	// CAFile has the certificates, in PEM, of those who may sign the collector's; "": the system's.
	CAFile string
	// Version and NodeID name this broker to the collector.
	Version string
	NodeID  int32

	FS         vfs.FS
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept and not exported
}

// Tracer begins spans that have no other one above them. A nil Tracer begins none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	ratio    float64
}

// New builds a Tracer, nil when there is no endpoint. It reads the files, and asks nothing of the
// collector: a broker starts without it. Errors say nothing of what is in the files.
func New(o Options) (*Tracer, error) {
	m := newMetrics(o.Registerer)
	if o.Endpoint == "" {
		return nil, nil
	}
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	out, err := otlptrace.New(context.Background(), c)
	if err != nil {
		return nil, fmt.Errorf("varve.tracing.endpoint: %w", err)
	}
	g := &gate{metrics: m}
	g.SpanProcessor = sdktrace.NewBatchSpanProcessor(&exit{out, g}, sdktrace.WithMaxQueueSize(maxWaiting),
		sdktrace.WithMaxExportBatchSize(batchSpans), sdktrace.WithBatchTimeout(batchDelay), sdktrace.WithExportTimeout(sendTimeout))
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxText // a client id may have 32 KB
	p := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(g),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "varve"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", fmt.Sprint(o.NodeID)))))
	return &Tracer{provider: p, tracer: p.Tracer(scope), ratio: o.Ratio}, nil
}

// Close sends what waits, within ctx, and ends the Tracer.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("the last spans were not sent: %w", err)
	}
	return nil
}

// Request begins the span of a request that was received at a time, if it is one of those that
// are traced; else the span is nil, and ctx as it was.
func (t *Tracer) Request(ctx context.Context, name string, at time.Time) (context.Context, *Span) {
	if t == nil || rand.Float64() >= t.ratio {
		return ctx, nil
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at))
	return ctx, &Span{s}
}

// Job begins the span of work that no request waits for, or, in a span, a part of that.
func (t *Tracer) Job(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	ctx, s := t.tracer.Start(ctx, name)
	return ctx, &Span{s}
}

// Start begins a part of the span that ctx is in; nil, and ctx as it was, when it is in none.
func Start(ctx context.Context, name string) (context.Context, *Span) {
	return start(ctx, name, trace.SpanKindInternal)
}

func start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, *Span) {
	above := trace.SpanFromContext(ctx)
	if !above.SpanContext().IsSampled() {
		return ctx, nil
	}
	ctx, s := above.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithSpanKind(kind))
	return ctx, &Span{s}
}

// Follow is ctx in the span of another one, for work that outlives that.
func Follow(ctx, of context.Context) context.Context {
	s := trace.SpanFromContext(of)
	if !s.SpanContext().IsSampled() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s)
}

// Span is some work with a beginning and an end. A nil Span is one that is not traced; all its
// methods do nothing.
type Span struct{ s trace.Span }

// String notes a text.
func (s *Span) String(key, value string) {
	if s != nil {
		s.s.SetAttributes(attribute.String(key, value))
	}
}

// Int notes a number.
func (s *Span) Int(key string, value int64) {
	if s != nil {
		s.s.SetAttributes(attribute.Int64(key, value))
	}
}

// Stage is a part of the span that is over already.
func (s *Span) Stage(name string, from, to time.Time) {
	if s == nil || !to.After(from) {
		return
	}
	_, part := s.s.TracerProvider().Tracer(scope).Start(trace.ContextWithSpan(context.Background(), s.s), name, trace.WithTimestamp(from))
	part.End(trace.WithTimestamp(to))
}

// End ends the span now, as failed with an error.
func (s *Span) End(err error) {
	if s != nil {
		s.EndAt(time.Now(), err)
	}
}

// EndAt is End with the time at which the work ended.
func (s *Span) EndAt(at time.Time, err error) {
	if s == nil {
		return
	}
	if err != nil {
		text := err.Error()
		s.s.SetStatus(codes.Error, text[:min(len(text), maxText)])
	}
	s.s.End(trace.WithTimestamp(at))
}
