package tracing

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/varve-io/varve/broker/vfs"
)

// gate lets no more spans wait than fit, and counts those that it turns away. The SDK's queue
// behind it is as long, and would drop them without a number that can be read.
type gate struct {
	sdktrace.SpanProcessor
	metrics *metrics
	waiting atomic.Int64
}

// OnEnd implements sdktrace.SpanProcessor.
func (g *gate) OnEnd(s sdktrace.ReadOnlySpan) {
	if g.waiting.Add(1) > maxWaiting {
		g.waiting.Add(-1)
		g.metrics.dropped.Inc()
		return
	}
	g.SpanProcessor.OnEnd(s)
}

// exit is the exporter behind the gate.
type exit struct {
	*otlptrace.Exporter
	gate *gate
}

// ExportSpans implements sdktrace.SpanExporter. A failure is counted and logged by the client, and
// is no news to the SDK, which would print it.
func (e *exit) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	defer e.gate.waiting.Add(-int64(len(spans)))
	if err := e.Exporter.ExportSpans(ctx, spans); err != nil {
		e.gate.metrics.failed.Add(float64(len(spans)))
		return nil
	}
	e.gate.metrics.sent.Add(float64(len(spans)))
	return nil
}

// client sends batches by OTLP over HTTP, as protobuf. The SDK's own client for that links gRPC and
// a gateway for it, 3.5 MB that nothing here would use.
type client struct {
	http    *http.Client
	url     string
	headers http.Header
	logger  *slog.Logger

	mu struct {
		sync.Mutex
		failures int
		told     time.Time // when a failure was logged last
	}
}

// tellAgain is how long the log is quiet about a collector that goes on failing.
const tellAgain = time.Minute

func newClient(o Options) (*client, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("varve.tracing.endpoint is no URL such as http://127.0.0.1:4318")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: sendTimeout,
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if o.CAFile != "" {
		pem, err := vfs.ReadFile(o.FS, o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("varve.tracing.ssl.truststore.location: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("varve.tracing.ssl.truststore.location: %s holds no certificate in PEM", o.CAFile)
		}
	}
	c := &client{url: u.String(), headers: http.Header{}, logger: o.Logger, http: &http.Client{
		Transport: t, Timeout: sendTimeout,
		// The headers are for this collector alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if o.HeadersFile != "" {
		raw, err := vfs.ReadFile(o.FS, o.HeadersFile)
		if err != nil {
			return nil, fmt.Errorf("varve.tracing.headers.file: %w", err)
		}
		if err := parseHeaders(c.headers, string(raw)); err != nil {
			return nil, fmt.Errorf("varve.tracing.headers.file: %s, %w", o.HeadersFile, err)
		}
	}
	c.headers.Set("Content-Type", "application/x-protobuf")
	return c, nil
}

// parseHeaders reads lines NAME: VALUE; empty ones and those with # in front say nothing.
func parseHeaders(h http.Header, text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if name, value = strings.TrimSpace(name), strings.TrimSpace(value); !found || name == "" || value == "" || strings.ContainsAny(name, " \t") {
			return fmt.Errorf("line %d: want NAME: VALUE", n)
		}
		h.Set(name, value)
	}
	return nil
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. A batch is sent once: one that is refused is dropped.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	err := c.post(ctx, spans)
	c.tell(err)
	return err
}

// post sends a batch. TracesData and the request of the OTLP service are the same on the wire.
func (c *client) post(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = c.headers
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", req.URL.Redacted(), resp.Status)
	}
	return nil
}

// tell logs that the collector fails, once a minute at most, and that it works again.
func (c *client) tell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && c.mu.failures > 0:
		c.logger.Info("the collector takes spans again", "batches.lost", c.mu.failures)
		c.mu.failures = 0
	case err != nil:
		c.mu.failures++
		if now := time.Now(); c.mu.failures == 1 || now.Sub(c.mu.told) >= tellAgain {
			c.mu.told = now
			c.logger.Warn("the collector does not take spans, which are dropped", "batches", c.mu.failures, "error", err)
		}
	}
}
