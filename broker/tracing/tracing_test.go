package tracing

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/mem"
)

// collector takes spans as OTLP over HTTP defines it.
type collector struct {
	t      *testing.T
	answer func(http.ResponseWriter, *http.Request) bool // false: it has answered
	mu     sync.Mutex
	header http.Header
	path   string
	spans  map[string]*tracepb.Span // by name
	who    map[string]string        // attributes of the resource
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.answer != nil && !c.answer(w, r) {
		return
	}
	raw, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if err = errors.Join(err, proto.Unmarshal(raw, &data)); err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header, c.path = r.Header, r.URL.Path
	for _, res := range data.ResourceSpans {
		for _, a := range res.Resource.Attributes {
			c.who[a.Key] = a.Value.GetStringValue()
		}
		for _, s := range res.ScopeSpans {
			for _, span := range s.Spans {
				c.spans[span.Name] = span
			}
		}
	}
}

func newCollector(t *testing.T) *collector {
	return &collector{t: t, spans: map[string]*tracepb.Span{}, who: map[string]string{}}
}

// kit is a Tracer that sends to a collector.
type kit struct {
	*Tracer
	*collector
	reg *prometheus.Registry
	log *bytes.Buffer
}

func (k *kit) counts(result string) float64 {
	mf, err := k.reg.Gather()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, m := range mf[0].Metric {
		if m.Label[0].GetValue() == result {
			return m.Counter.GetValue()
		}
	}
	return -1
}

func (k *kit) close() {
	k.t.Helper()
	if err := k.Close(context.Background()); err != nil {
		k.t.Error(err)
	}
}

func newKit(t *testing.T, c *collector, url string, with func(*Options)) *kit {
	t.Helper()
	k := &kit{collector: c, reg: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	o := Options{Endpoint: url, Ratio: 1, Version: "1.2", NodeID: 7, FS: memfs.New(), Logger: slog.New(slog.NewTextHandler(k.log, nil)), Registerer: k.reg}
	if with != nil {
		with(&o)
	}
	var err error
	if k.Tracer, err = New(o); err != nil {
		t.Fatal(err)
	}
	return k
}

// A request, its stages, what it has the store do, and work that outlives it: one trace, as the
// collector sees it.
func TestSpansArrive(t *testing.T) {
	c := newCollector(t)
	srv := httptest.NewServer(c)
	defer srv.Close()
	fs := memfs.New()
	if err := vfs.WriteFileAtomic(fs, "/headers", []byte("# the tenant\nX-Tenant: a\n\nAuthorization: Bearer s3cret\n")); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, c, srv.URL, func(o *Options) { o.FS, o.HeadersFile = fs, "/headers" })

	begun := time.Now().Add(-time.Second)
	ctx, s := k.Request(t.Context(), "Fetch", begun)
	s.String("messaging.client.id", strings.Repeat("x", 10*maxText))
	later := Follow(context.Background(), ctx)
	s.Stage("queue", begun, begun.Add(time.Millisecond))
	s.Stage("remote", begun, begun)
	s.EndAt(begun.Add(500*time.Millisecond), nil)
	later, read := Start(later, "tier read")
	b := k.Bucket(mem.New(), "mem")
	if _, err := b.Put(later, "k", objstore.Bytes([]byte("abc")), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Head(later, "missing")
	read.End(err)
	_, job := k.Job(t.Context(), "tier copy")
	job.End(nil)
	k.close()

	request, put := k.spans["Fetch"], k.spans["objstore put"]
	if k.path != "/v1/traces" || k.header.Get("X-Tenant") != "a" || k.header.Get("Authorization") != "Bearer s3cret" || k.header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("sent to %s with %v", k.path, k.header)
	}
	if k.who["service.name"] != "varve" || k.who["service.version"] != "1.2" || k.who["service.instance.id"] != "7" {
		t.Errorf("sent by %v", k.who)
	}
	if request == nil || put == nil || len(k.spans) != 6 {
		t.Fatalf("spans %v", k.spans)
	}
	if request.Kind != tracepb.Span_SPAN_KIND_SERVER || request.StartTimeUnixNano != uint64(begun.UnixNano()) || request.EndTimeUnixNano-request.StartTimeUnixNano != 5e8 {
		t.Errorf("the request is %+v", request)
	}
	if got := request.Attributes[0].Value.GetStringValue(); len(got) != maxText {
		t.Errorf("a text of %d bytes", len(got))
	}
	for child, parent := range map[string]string{"queue": "Fetch", "tier read": "Fetch", "objstore put": "tier read", "objstore head": "tier read"} {
		if !bytes.Equal(k.spans[child].ParentSpanId, k.spans[parent].SpanId) || !bytes.Equal(k.spans[child].TraceId, request.TraceId) {
			t.Errorf("%s is no part of %s", child, parent)
		}
	}
	if bytes.Equal(k.spans["tier copy"].TraceId, request.TraceId) {
		t.Error("a job is part of a request that has nothing to do with it")
	}
	if k.spans["objstore head"].Status.Code != tracepb.Status_STATUS_CODE_ERROR || put.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		t.Error("errors are not where they happened")
	}
	var keys []string
	for _, a := range put.Attributes {
		keys = append(keys, a.Key)
	}
	if !slices.Contains(keys, "varve.objstore.provider") || !slices.Contains(keys, "varve.objstore.bytes") {
		t.Errorf("a put has %v", keys)
	}
	if k.counts("sent") != 6 {
		t.Errorf("%v spans count as sent", k.counts("sent"))
	}
}

// Without a Tracer nothing begins and nothing is allocated; with one, requests that are not chosen
// have no span.
func TestOffCostsNothing(t *testing.T) {
	reg := prometheus.NewRegistry()
	off, err := New(Options{Registerer: reg})
	if off != nil || err != nil {
		t.Fatal(off, err)
	}
	if n, err := testutil.GatherAndCount(reg); n != 3 || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
	none := newKit(t, newCollector(t), "http://127.0.0.1:1", func(o *Options) { o.Ratio = 0 })
	defer none.close()
	b := mem.New()
	if off.Bucket(b, "mem") != objstore.Bucket(b) {
		t.Error("a bucket is wrapped for nothing")
	}
	for name, tracer := range map[string]*Tracer{"off": off, "not chosen": none.Tracer} {
		if n := testing.AllocsPerRun(100, func() { untraced(t.Context(), tracer) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// untraced is what a request costs that is not traced.
func untraced(ctx context.Context, tracer *Tracer) {
	now := time.Time{}
	ctx, s := tracer.Request(ctx, "Produce", now)
	s.String("messaging.client.id", "c")
	_, part := Start(Follow(ctx, ctx), "tier read")
	part.Int("messaging.kafka.offset", 1)
	part.End(nil)
	s.Stage("local", now, now)
	s.EndAt(now, nil)
}

// A collector that hangs or fails costs spans, not memory or time; each lost span is counted, and the
// log tells of it once.
func TestACollectorThatFails(t *testing.T) {
	c, release := newCollector(t), make(chan struct{})
	c.answer = func(w http.ResponseWriter, r *http.Request) bool {
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	}
	srv := httptest.NewServer(c)
	defer srv.Close()
	k := newKit(t, c, srv.URL+"/own/path", nil)
	const spans = 3 * maxWaiting
	for range spans {
		_, s := k.Job(t.Context(), "tier load")
		s.End(nil)
	}
	if lost := k.counts("dropped"); lost != spans-maxWaiting {
		t.Errorf("%v of %d spans were dropped, want all but %d", lost, spans, maxWaiting)
	}
	close(release)
	k.close()
	if k.counts("failed") != maxWaiting || k.counts("sent") != 0 {
		t.Errorf("%v failed, %v sent", k.counts("failed"), k.counts("sent"))
	}
	if text := k.log.String(); strings.Count(text, "does not take spans") != 1 || !strings.Contains(text, "503") {
		t.Errorf("the log says %q", text)
	}
}

// A collector's certificate is checked, and a redirect does not take the headers elsewhere.
func TestTheCollectorIsTheOneThatIsMeant(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the spans went elsewhere") }))
	defer elsewhere.Close()
	c := newCollector(t)
	srv := httptest.NewTLSServer(c)
	defer srv.Close()
	fs := memfs.New()
	if err := errors.Join(vfs.WriteFileAtomic(fs, "/ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})),
		vfs.WriteFileAtomic(fs, "/empty", nil), vfs.WriteFileAtomic(fs, "/bad", []byte("Authorization Bearer s3cret"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ca, result string }{{"/ca.pem", "sent"}, {"", "failed"}} {
		k := newKit(t, c, srv.URL, func(o *Options) { o.FS, o.CAFile = fs, tt.ca })
		_, s := k.Job(t.Context(), "tier load")
		s.End(nil)
		k.close()
		if k.counts(tt.result) != 1 {
			t.Errorf("authorities %q: %v %s", tt.ca, k.counts(tt.result), tt.result)
		}
	}
	c.answer = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		return false
	}
	k := newKit(t, c, srv.URL, func(o *Options) { o.FS, o.CAFile = fs, "/ca.pem" })
	_, s := k.Job(t.Context(), "tier load")
	s.End(nil)
	k.close()
	if k.counts("failed") != 1 {
		t.Error("a redirect counts as sent")
	}
	for _, bad := range []Options{{Endpoint: "collector:4318"}, {Endpoint: "http://c", CAFile: "/empty"}, {Endpoint: "http://c", CAFile: "/none"},
		{Endpoint: "http://c", HeadersFile: "/none"}, {Endpoint: "http://c", HeadersFile: "/bad"}} {
		bad.FS, bad.Logger = fs, slog.New(slog.DiscardHandler)
		if tr, err := New(bad); err == nil || tr != nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// BenchmarkUntraced is what tracing adds to a request that is not traced.
func BenchmarkUntraced(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		untraced(context.Background(), nil)
	}
}
