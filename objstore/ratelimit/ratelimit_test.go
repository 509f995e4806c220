package ratelimit_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/objstore/ratelimit"
)

func TestConformance(t *testing.T) {
	caps := mem.New().Capabilities()
	caps.DeleteIf = false // it passes on what a Bucket has
	conformance.Run(t, conformance.Server{}, func(*testing.T) objstore.Bucket { return without{ratelimit.Wrap(mem.New(), 0, 1<<40)} }, caps)
}

// without claims what the wrapper has.
type without struct{ *ratelimit.Bucket }

func (w without) Capabilities() objstore.Capabilities {
	c := w.Bucket.Capabilities()
	c.DeleteIf = false
	return c
}

const size = 10 << 20

// near holds a time against what the rate makes of ten times the bytes of a second, of which one
// second's worth is saved up at the start.
func near(t *testing.T, what string, took time.Duration) {
	t.Helper()
	if took < 8*time.Second || took > 11*time.Second {
		t.Errorf("%s of ten seconds' worth took %v", what, took)
	}
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ratelimit.Wrap(mem.New(), size/10, size/10)
		begun := time.Now()
		if _, err := b.Put(t.Context(), "k", objstore.Bytes(make([]byte, size)), objstore.PutOpts{}); err != nil {
			t.Fatal(err)
		}
		near(t, "a put", time.Since(begun))

		begun = time.Now()
		r, _, err := b.Open(t.Context(), "k", 0, -1, "")
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			t.Fatal(err)
		}
		near(t, "a read", time.Since(begun))

		begun = time.Now()
		for range 20 {
			if _, err := b.GetRange(t.Context(), "k", 0, make([]byte, size/20), ""); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 9*time.Second {
			t.Errorf("ranges of ten seconds' worth took %v", took)
		}
	})
}

func TestWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ratelimit.Wrap(mem.New(), 1, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Put(ctx, "k", objstore.Bytes(make([]byte, size)), objstore.PutOpts{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("put: %v", err)
		}
	})
}
