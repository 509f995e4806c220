package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

const (
	inTopic, outTopic = "in", "out"
	moverGroup        = "movers"
)

// TestExactlyOnce moves CHAOS_INPUTS records from one topic to another in transactions that
// hold the offsets of the group too, while broker and movers, which are processes of their
// own, are killed every few seconds, and a mover leaves a transaction open now and then.
// Segments of the topic that is written go to the store at once, so that aborted
// transactions are read from there. Each input comes out exactly once for who reads
// committed records.
func TestExactlyOnce(t *testing.T) {
	inputs := number(t, "CHAOS_INPUTS", 20_000)
	r := rand.New(rand.NewPCG(seed(t), 3))
	dir := t.TempDir()
	b := kit.New(t, filepath.Join(dir, "node"), "--tier", "file://"+filepath.Join(dir, "store"), "--set", "group.initial.rebalance.delay.ms=0",
		"--set", "group.min.session.timeout.ms=500",
		"--set", "remote.log.manager.task.interval.ms=50", "--set", "log.retention.check.interval.ms=50", "--set", "transaction.state.log.num.partitions=3",
		"--set", "offsets.topic.num.partitions=3", "--set", "transaction.abort.timed.out.transaction.cleanup.interval.ms=500")
	kit.Binary(t)
	b.Start()
	b.Varve("topic", "create", inTopic, "--partitions", "4")
	b.Varve("topic", "create", outTopic, "--partitions", "3", "--config", "segment.bytes=1048576", "--config", "remote.storage.enable=true",
		"--config", "local.retention.bytes=1", "--config", "file.delete.delay.ms=0")
	fill(t, b.Addr, inputs)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute+time.Duration(inputs)*2*time.Millisecond)
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	var killed atomic.Int64
	for i := range 2 {
		pick := rand.New(rand.NewPCG(uint64(i), r.Uint64()))
		wg.Go(func() { moveUnderKills(ctx, t, mover{b.Addr, fmt.Sprint("mover-", i), inputs}, pick, &killed) })
	}
	kills := 0
	for !moved(ctx, b.Addr, inputs) {
		<-time.After(time.Duration(1500+r.IntN(2500)) * time.Millisecond)
		b.Kill()
		b.Start()
		kills++
		if ctx.Err() != nil {
			t.Fatal("not all inputs were moved in time")
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d inputs were moved under %d kills of the broker and %d of the movers", inputs, kills, killed.Load())
	countOnce(t, b.Addr, inputs)
}

// mover is a process that moves records; its fields travel in the environment.
type mover struct {
	addr, id string
	inputs   int // the more there are, the more go into one transaction
}

const moverEnv = "CHAOS_MOVER"

// moveUnderKills runs the mover as a process of its own, which is killed every few seconds, until ctx ends.
func moveUnderKills(ctx context.Context, t *testing.T, m mover, r *rand.Rand, kills *atomic.Int64) {
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, time.Duration(2000+r.IntN(6000))*time.Millisecond)
		cmd := exec.CommandContext(life, os.Args[0], "-test.run=^TestMover$") // the end of life is SIGKILL
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", moverEnv, m.addr, m.id, m.inputs, r.Uint64()))
		out, err := cmd.CombinedOutput()
		if life.Err() == nil {
			t.Errorf("a mover ended by itself: %v\n%s", err, out)
		}
		kills.Add(1)
		cancel()
	}
}

// TestMover is the process of a mover; it does nothing unless TestExactlyOnce starts it.
func TestMover(t *testing.T) {
	var m mover
	var n uint64
	if _, err := fmt.Sscan(os.Getenv(moverEnv), &m.addr, &m.id, &m.inputs, &n); err != nil {
		t.Skip("this is no mover")
	}
	m.move(t.Context(), rand.New(rand.NewPCG(n, 0)))
}

// fill writes the inputs.
func fill(t *testing.T, addr string, inputs int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(inTopic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range inputs {
		cl.Produce(t.Context(), &kgo.Record{Value: value(int64(i))}, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// move moves records until ctx ends, with a new client after each error and every so often.
func (m mover) move(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(m.addr), kgo.TransactionalID(m.id), kgo.ConsumerGroup(moverGroup), kgo.ConsumeTopics(inTopic),
			kgo.DefaultProduceTopic(outTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.TransactionTimeout(5*time.Second), kgo.SessionTimeout(time.Second),
			kgo.HeartbeatInterval(200*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MetadataMinAge(20*time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 30 * time.Millisecond }), kgo.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			return // only for wrong options
		}
		for rounds := r.IntN(60); rounds > 0 && m.moveSome(ctx, s, rounds == 1, r); rounds-- {
		}
		s.Close()
	}
}

// moveSome moves some records in one transaction, or leaves that open; false: the client is of
// no more use.
func (m mover) moveSome(ctx context.Context, s *kgo.GroupTransactSession, leave bool, r *rand.Rand) bool {
	poll, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	fetches := s.PollRecords(poll, 1+r.IntN(max(40, m.inputs/1000)))
	if errors.Is(fetches.Err0(), context.DeadlineExceeded) {
		return true
	}
	if fetches.Err() != nil || s.Begin() != nil {
		return false
	}
	first := kgo.AbortingFirstErrPromise(s.Client())
	fetches.EachRecord(func(rec *kgo.Record) { s.Produce(ctx, &kgo.Record{Value: rec.Value}, first.Promise()) })
	if leave {
		_ = s.Client().Flush(poll)
		return false
	}
	_, err := s.End(ctx, kgo.TransactionEndTry(first.Err() == nil && r.IntN(8) > 0))
	return err == nil
}

// moved says whether the offsets of the group say that all inputs were moved.
func moved(ctx context.Context, addr string, inputs int) bool {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RetryTimeout(2*time.Second))
	if err != nil {
		return false
	}
	defer cl.Close()
	offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, moverGroup)
	if err != nil {
		return false
	}
	sum := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum == int64(inputs)
}

// countOnce reads what is committed: each input once, and nothing else.
func countOnce(t *testing.T, addr string, inputs int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(outTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	seen := make(map[string]int, inputs)
	for len(seen) < inputs {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%v: %d of %d inputs came out", err, len(seen), inputs)
		}
		fetches.EachRecord(func(rec *kgo.Record) { seen[string(rec.Value)]++ })
	}
	// What is behind that could only be there twice.
	more, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	for more.Err() == nil {
		cl.PollFetches(more).EachRecord(func(rec *kgo.Record) { seen[string(rec.Value)]++ })
	}
	for i := range inputs {
		if n := seen[string(value(int64(i)))]; n != 1 {
			t.Errorf("input %d came out %d times", i, n)
		}
	}
	if len(seen) != inputs {
		t.Errorf("%d different records came out of %d inputs", len(seen), inputs)
	}
}
