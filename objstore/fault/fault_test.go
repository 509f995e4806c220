package fault_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
)

func put(t *testing.T, b objstore.Bucket, key string) error {
	t.Helper()
	_, err := b.Put(t.Context(), key, objstore.Bytes([]byte("0123456789")), objstore.PutOpts{IfAbsent: true})
	return err
}

func want(t *testing.T, what string, err error, kind objstore.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %q", what, err, kind)
	}
}

func TestConformanceWithoutRules(t *testing.T) {
	conformance.Run(t, conformance.Server{}, func(*testing.T) objstore.Bucket { return fault.Wrap(mem.New()) },
		objstore.Capabilities{IfAbsent: true, IfVersion: true, Checksum: true})
}

func TestRulesMatchInOrder(t *testing.T) {
	b := fault.Wrap(mem.New(),
		fault.Rule{Op: fault.Put, Key: "a/", Skip: 1, Times: 2, Do: fault.FailWith(&objstore.Error{Kind: objstore.ErrThrottled, HTTP: 503, Code: "SlowDown"})},
		fault.Rule{Key: "b/", Times: 1, Do: fault.Fail(objstore.ErrTransient)},
	)
	var got []objstore.Kind
	for _, key := range []string{"a/1", "a/2", "b/1", "b/2", "a/3", "a/4", "c/1"} {
		got = append(got, objstore.KindOf(put(t, b, key)))
	}
	ok := objstore.ErrUnknown // of a nil error
	if !slices.Equal(got, []objstore.Kind{ok, objstore.ErrThrottled, objstore.ErrTransient, ok, objstore.ErrThrottled, ok, ok}) {
		t.Errorf("%v", got)
	}
	if calls := b.Calls(); len(calls) != 7 || calls[2] != (fault.Call{Op: fault.Put, Key: "b/1"}) {
		t.Errorf("%v", calls)
	}
	b.Clear()
	b.Add(fault.Rule{Op: fault.List, Do: fault.Fail(objstore.ErrAccessDenied)})
	_, err := b.List(t.Context(), "", "", 0)
	want(t, "list", err, objstore.ErrAccessDenied)
	if _, err := b.Head(t.Context(), "a/1"); err != nil {
		t.Error(err)
	}
}

func TestLostReplies(t *testing.T) {
	inner := mem.New()
	b := fault.Wrap(inner,
		fault.Rule{Op: fault.Put, Key: "lost", Do: fault.LoseReply()},
		fault.Rule{Op: fault.Put, Key: "settled", Do: fault.LoseReplySettled()},
		fault.Rule{Op: fault.Head, Do: fault.LoseReply()},
		fault.Rule{Op: fault.Delete, Key: "lost", Do: fault.LoseReply()},
	)
	want(t, "put", put(t, b, "lost"), objstore.ErrAmbiguous)
	if _, err := inner.Head(t.Context(), "lost"); err != nil {
		t.Errorf("the put whose reply was lost did not happen: %v", err)
	}
	if err := put(t, b, "settled"); err != nil {
		t.Errorf("a lost reply was not settled: %v", err)
	}
	want(t, "a second writer", put(t, b, "settled"), objstore.ErrPrecondition)
	_, err := b.Head(t.Context(), "lost")
	want(t, "head", err, objstore.ErrTransient)

	err = b.Delete(t.Context(), "lost", "settled")
	want(t, "delete", err, objstore.ErrAmbiguous)
	var batch *objstore.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) != 1 || batch.Key("lost") == nil {
		t.Errorf("%v", err)
	}
	for _, key := range []string{"lost", "settled"} {
		_, err := inner.Head(t.Context(), key)
		want(t, key, err, objstore.ErrNotFound)
	}
}

func TestBrokenReads(t *testing.T) {
	inner := mem.New()
	if err := put(t, inner, "k"); err != nil {
		t.Fatal(err)
	}
	flip := fault.Wrap(inner, fault.Rule{Do: fault.FlipBit(5*8 + 1)})
	p := make([]byte, 4)
	if _, err := flip.GetRange(t.Context(), "k", 3, p, ""); err != nil || string(p) != "3476" {
		t.Errorf("%q, %v", p, err)
	}
	if got, _, err := objstore.Get(t.Context(), flip, "k", 100); err != nil || string(got) != "0123476789" {
		t.Errorf("%q, %v", got, err)
	}
	cut := fault.Wrap(inner, fault.Rule{Do: fault.Truncate(4)})
	_, err := cut.GetRange(t.Context(), "k", 0, make([]byte, 10), "")
	want(t, "get", err, objstore.ErrTransient)
	if _, err := cut.GetRange(t.Context(), "k", 0, p, ""); err != nil {
		t.Error(err)
	}
	r, _, err := cut.Open(t.Context(), "k", 2, -1, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	want(t, "read", err, objstore.ErrTransient)
	if string(got) != "23" {
		t.Errorf("%q", got)
	}
}

// A paused call is one that another overtakes, at a known place.
func TestPause(t *testing.T) {
	inner := mem.New()
	before, after := fault.NewGate(), fault.NewGate()
	b := fault.Wrap(inner,
		fault.Rule{Op: fault.Put, Times: 1, Do: fault.Stall(before)},
		fault.Rule{Op: fault.Put, Times: 1, Do: fault.StallReply(after)},
	)
	first, second := make(chan error), make(chan error)
	go func() { first <- put(t, b, "k") }()
	if c := <-before.Arrived(); c.Key != "k" {
		t.Errorf("%v is at the gate", c)
	}
	go func() { second <- put(t, b, "k") }()
	<-after.Arrived()
	before.Release()
	want(t, "the one that was overtaken", <-first, objstore.ErrPrecondition)
	after.Release()
	if err := <-second; err != nil {
		t.Errorf("the one that overtook: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	b.Add(fault.Rule{Op: fault.Head, Do: fault.Stall(fault.NewGate())})
	cancel()
	_, err := b.Head(ctx, "k")
	want(t, "a stalled call whose context ends", err, objstore.ErrCanceled)
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fault.Wrap(mem.New(), fault.Rule{Do: fault.Slow(3 * time.Second)})
		start := time.Now()
		if err := put(t, b, "k"); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Head(ctx, "k")
		want(t, "head", err, objstore.ErrCanceled)
	})
}
