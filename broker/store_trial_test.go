package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/tiered"
)

// careless creates what exists, as some servers that speak S3 do.
type careless struct{ objstore.Bucket }

func (c careless) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	o.IfAbsent = false
	return c.Bucket.Put(ctx, key, src, o)
}

// A store on which two brokers would overwrite each other's data is refused, with the next step.
func TestCarelessStoreIsRefused(t *testing.T) {
	b := mem.New()
	_, err := brokertest.Node{Bucket: careless{b}}.Try(t)
	if !errors.Is(err, tiered.ErrNoFence) || !strings.Contains(err.Error(), "varve.tier.url") || !strings.Contains(err.Error(), "varve store check") {
		t.Errorf("the start: %v", err)
	}
	if page, lerr := b.List(t.Context(), "", "", 0); lerr != nil || len(page.Objects) > 0 {
		t.Errorf("left in the store: %v, %v", page.Objects, lerr)
	}
}

// A store that is out of reach at the start is told of, and the broker comes up.
func TestStoreOutOfReachAtTheStart(t *testing.T) {
	var log said
	b := fault.Wrap(mem.New(), fault.Rule{Do: fault.Fail(objstore.ErrAccessDenied)})
	brokertest.Node{Bucket: b, Logger: slog.New(slog.NewTextHandler(&log, nil))}.Start(t)
	if got := log.text(); !strings.Contains(got, "the object store can't be used now") || !strings.Contains(got, "give these credentials the rights") {
		t.Errorf("the log: %s", got)
	}
}

// said keeps what is logged.
type said struct {
	mu struct {
		sync.Mutex
		b strings.Builder
	}
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.b.Write(p)
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.b.String()
}
