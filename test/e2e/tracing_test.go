package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// spans are what a collector has taken.
type spans struct {
	mu   sync.Mutex
	byID map[string]*tracepb.Span
}

// ServeHTTP implements http.Handler.
func (s *spans) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if err != nil || proto.Unmarshal(raw, &data) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, res := range data.ResourceSpans {
		for _, scope := range res.ScopeSpans {
			for _, span := range scope.Spans {
				s.byID[string(span.SpanId)] = span
			}
		}
	}
}

// find is a span whose name, and those of the spans above it, are these, the last one without any above.
func (s *spans) find(names ...string) *tracepb.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.byID {
		at := span
		for i, name := range names {
			if at == nil || at.Name != name || (i == len(names)-1) != (len(at.ParentSpanId) == 0) {
				break
			}
			if i == len(names)-1 {
				return span
			}
			at = s.byID[string(at.ParentSpanId)]
		}
	}
	return nil
}

// TestTracesOfAWholeNode: what a node does for a producer and a reader of cold data arrives at the
// collector, each part in the trace of what caused it.
func TestTracesOfAWholeNode(t *testing.T) {
	s := &spans{byID: map[string]*tracepb.Span{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	n := brokertest.Node{Bucket: mem.New(), Set: []string{"varve.tracing.endpoint=" + srv.URL, "varve.tracing.sample.ratio=1"}}.Start(t)
	cl, adm := client(t, n)
	create(t, adm, tieredTopic())
	produce(t, cl, 0, 4000)
	evicted(t, adm)
	readAll(t, n, 0, 4000)
	stop(t, n)
	for _, names := range [][]string{
		{"Produce"}, {"queue", "Produce"}, {"local", "Produce"}, {"response", "Produce"},
		{"raft apply", "CreateTopics"},
		{"remote", "Fetch"}, {"tier read", "Fetch"}, {"tier index", "tier read", "Fetch"},
		{"objstore get", "tier index", "tier read", "Fetch"}, {"objstore get", "tier read", "Fetch"},
		{"tier upload", "tier copy"}, {"objstore put", "tier upload", "tier copy"}, {"objstore put", "tier copy"},
	} {
		if s.find(names...) == nil {
			t.Errorf("no span %v", names)
		}
	}
	attributes := fmt.Sprint(s.find("Fetch").GetAttributes())
	for _, want := range []string{"messaging.system", "messaging.client.id", "messaging.kafka.api.key"} {
		if !strings.Contains(attributes, want) {
			t.Errorf("a Fetch without %s: %s", want, attributes)
		}
	}
}
