package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// readCommitted reads n records of the topic at read_committed, and fails on more that come soon.
func readCommitted(t *testing.T, n *broker.Node, want ...string) {
	t.Helper()
	cl, _ := client(t, n, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < len(want) {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%v, with %q of %q", err, got, want)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("read_committed has %q, want %q", got, want)
	}
}

func createParts(t *testing.T, adm *kadm.Client, name string, partitions int32) {
	t.Helper()
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
}

// TestTransactions commits and aborts, with transactions of both versions, and reads what is
// committed, also after a restart with a transaction that is open.
func TestTransactions(t *testing.T) {
	for name, versions := range map[string]*kversion.Versions{"version2": nil, "version1": kversion.V3_8_0()} {
		t.Run(name, func(t *testing.T) {
			f := brokertest.Node{}
			n := f.Start(t)
			opts := []kgo.Opt{kgo.TransactionalID("mover"), kgo.DefaultProduceTopic(topic), kgo.TransactionTimeout(30 * time.Second)}
			if versions != nil {
				opts = append(opts, kgo.MaxVersions(versions))
			}
			cl, adm := client(t, n, opts...)
			createParts(t, adm, topic, 3)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			var want []string
			for round := range 10 {
				if err := cl.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				commit := round%3 != 1
				for i := range 20 {
					v := fmt.Sprintf("%d-%d", round, i)
					cl.Produce(ctx, kgo.StringRecord(v), nil)
					if commit {
						want = append(want, v)
					}
				}
				if err := cl.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				if err := cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			readCommitted(t, n, want...)
			// The next one with the id fences this one, and aborts what it has begun.
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := cl.ProduceSync(ctx, kgo.StringRecord("never")).FirstErr(); err != nil {
				t.Fatal(err)
			}
			next, _ := client(t, n, opts...)
			if err := next.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := next.ProduceSync(ctx, kgo.StringRecord("next")).FirstErr(); err != nil {
				t.Fatal(err)
			}
			err := cl.ProduceSync(ctx, kgo.StringRecord("never")).FirstErr()
			if !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidTxnState) && !errors.Is(err, kerr.TransactionAbortable) {
				t.Errorf("a fenced producer: %v", err)
			}
			if err := next.EndTransaction(ctx, kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
			readCommitted(t, n, append(want, "next")...)
		})
	}
}

// TestGroupTransactions moves records from one topic to another, with the offsets of the
// group in the same transactions; some are aborted. Each comes out exactly once.
func TestGroupTransactions(t *testing.T) {
	f := groupNode()
	n := f.Start(t)
	cl, adm := client(t, n, kgo.DefaultProduceTopic("in"))
	createParts(t, adm, "in", 2)
	createParts(t, adm, topic, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const inputs = 300
	var want []string
	for i := range inputs {
		want = append(want, fmt.Sprint(i))
		cl.Produce(ctx, kgo.StringRecord(want[i]), nil)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	seeds := kgo.SeedBrokers(n.KafkaAddr())
	sess, err := kgo.NewGroupTransactSession(seeds, kgo.TransactionalID("movers"), kgo.ConsumerGroup("movers"), kgo.ConsumeTopics("in"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DefaultProduceTopic(topic), kgo.RequireStableFetchOffsets(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer sess.Close()
	for moved, round := 0, 0; moved < inputs; round++ {
		fetches := sess.PollRecords(ctx, 40)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if err := sess.Begin(); err != nil {
			t.Fatal(err)
		}
		commit := round%4 != 2
		fetches.EachRecord(func(r *kgo.Record) {
			sess.Produce(ctx, kgo.StringRecord(string(r.Value)), func(_ *kgo.Record, err error) {
				if err != nil && commit {
					t.Error(err)
				}
			})
		})
		ok, err := sess.End(ctx, kgo.TransactionEndTry(commit))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			moved += fetches.NumRecords()
		}
	}
	readCommitted(t, n, want...)
	offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, "movers")
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	if sum != inputs {
		t.Errorf("the offsets of the group sum up to %d, want %d: %v", sum, inputs, offsets)
	}
}

// TestI11AbortedTransactionsFromTheStore: readers of committed records skip the aborted ones
// when the records, and the index of what was aborted, come from the object store.
func TestI11AbortedTransactionsFromTheStore(t *testing.T) {
	f := brokertest.Node{Bucket: mem.New()}
	n := f.Start(t)
	cl, adm := client(t, n, kgo.TransactionalID("mover"))
	create(t, adm, tieredTopic())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const rounds, each = 24, 200 // of half a KiB: two segments and more
	var want []string
	for round := range rounds {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range each {
			v := string(value(round*each + i))
			cl.Produce(ctx, kgo.StringRecord(v), nil)
			if round%3 != 1 {
				want = append(want, v)
			}
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, kgo.TransactionEndTry(round%3 != 1)); err != nil {
			t.Fatal(err)
		}
	}
	if l := evicted(t, adm); l.local < 2*(each+1) {
		t.Fatalf("local records start at %d: the first aborted transaction is not only in the store", l.local)
	}
	readCommitted(t, n, want...)
}
