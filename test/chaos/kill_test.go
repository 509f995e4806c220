// Package chaos breaks a real broker on purpose and checks that it kept its promises.
//
// What it found, and the command that shows each bug again, stands in LEDGER.md. Every
// random choice comes from a seed that is printed: CHAOS_SEED repeats a run's choices,
// though not the timing of processes.
package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

const topic = "chaos"

// seed is CHAOS_SEED or the clock.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(time.Now().UnixNano())
	if v := os.Getenv("CHAOS_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
		s = n
	}
	t.Logf("CHAOS_SEED=%d", s)
	return s
}

// number is an integer from the environment, or def.
func number(t *testing.T, name string, def int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// setup prepares a tiered one-partition topic whose segments roll, travel and go quickly.
// extra is one more topic setting, or empty.
func setup(t *testing.T, extra string, args ...string) *kit.Broker {
	t.Helper()
	dir := t.TempDir()
	b := kit.New(t, filepath.Join(dir, "node"), append(args, "--tier", "file://"+filepath.Join(dir, "store"),
		"--set", "remote.log.manager.task.interval.ms=50", "--set", "log.retention.check.interval.ms=50", "--set", "varve.tier.delete.grace.ms=1000",
		"--set", "varve.tier.clean.interval.ms=300", "--set", "varve.tier.orphan.grace.ms=500", "--set", "varve.tier.manifest.retention.ms=0")...)
	kit.Binary(t)
	b.Start()
	args = []string{"topic", "create", topic, "--partitions", "1", "--config", "segment.bytes=1048576", "--config", "remote.storage.enable=true",
		"--config", "local.retention.bytes=1", "--config", "retention.ms=-1", "--config", "file.delete.delay.ms=0"}
	if extra != "" {
		args = append(args, "--config", extra)
	}
	b.Varve(args...)
	return b
}

// producer is an idempotent acks=all producer of numbered records that never gives up.
type producer struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}
	sent   int64
	acked  atomic.Int64
	failed atomic.Pointer[error]
}

// perMillisecond is the producer's pace: a dozen segments each second, which the tier keeps up with.
const perMillisecond = 25

func value(i int64) []byte { return fmt.Appendf(nil, "%012d:%0400d", i, i) }

func startProducer(t *testing.T, addr string) *producer {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(time.Millisecond),
		kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(2000), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RetryTimeout(2*time.Minute), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &producer{cl: cl, cancel: cancel, done: make(chan struct{})}
	t.Cleanup(func() { cancel(); <-p.done; cl.Close() })
	go func() {
		defer close(p.done)
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			for range perMillisecond {
				p.cl.Produce(context.Background(), &kgo.Record{Value: value(p.sent)}, p.ack)
				p.sent++
			}
			<-pace.C
		}
	}()
	return p
}

func (p *producer) ack(_ *kgo.Record, err error) {
	if err != nil {
		p.failed.CompareAndSwap(nil, &err)
		return
	}
	p.acked.Add(1)
}

// atLeast waits until n records were acknowledged.
func (p *producer) atLeast(t *testing.T, n int64) {
	t.Helper()
	kit.Eventually(t, time.Minute, "the producer gets on", func() error {
		if got := p.acked.Load(); got < n {
			return fmt.Errorf("%d of %d records", got, n)
		}
		return nil
	})
}

// finish stops the producing and waits until every record is acknowledged.
func (p *producer) finish(t *testing.T) int64 {
	t.Helper()
	p.cancel()
	<-p.done
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := p.cl.Flush(ctx); err != nil {
		t.Fatalf("flush: %v", err)
	}
	if err := p.failed.Load(); err != nil {
		t.Fatalf("a record failed for good: %v", *err)
	}
	if p.acked.Load() != p.sent {
		t.Fatalf("%d records were sent, %d acknowledged", p.sent, p.acked.Load())
	}
	return p.sent
}

// checkAll reads the log from its start and wants exactly the records up to n-1, once each, in order.
// Without retention the log starts at offset 0.
func checkAll(t *testing.T, addr string, n int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	next := startOffset(t, cl)
	for next < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("reading at record %d of %d: %v", next, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != string(value(next)) || r.Offset != next {
				t.Fatalf("offset %d holds record %.12s, want record %d at offset %d", r.Offset, r.Value, next, next)
			}
			next++
		})
	}
}

// startOffset asks for the log start until the partition serves: right after a crash it may
// first have to read its manifest.
func startOffset(t *testing.T, cl *kgo.Client) (start int64) {
	t.Helper()
	kit.Eventually(t, 30*time.Second, "the partition tells its log start", func() error {
		starts, err := kadm.NewClient(cl).ListStartOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		l, ok := starts.Lookup(topic, 0)
		if !ok {
			return fmt.Errorf("no answer for the partition")
		}
		start = l.Offset
		return l.Err
	})
	return start
}

// TestKillAtRandomMoments kills the broker again and again while an idempotent producer
// writes: every acknowledged record is there once, in order.
func TestKillAtRandomMoments(t *testing.T) {
	kit.Binary(t)
	rng := rand.New(rand.NewPCG(seed(t), 1))
	kills := number(t, "CHAOS_KILLS", 10)
	b := setup(t, "")
	p := startProducer(t, b.Addr)
	for range kills {
		pause := time.NewTimer(time.Duration(20+rng.IntN(600)) * time.Millisecond)
		<-pause.C
		b.Kill()
		b.Start()
	}
	n := p.finish(t)
	checkAll(t, b.Addr, n)
	t.Logf("%d kills, %d records, each there once and in order", kills, n)
	b.Kill()
	b.Start()
	checkAll(t, b.Addr, n)
	checkTier(t, b)
}
