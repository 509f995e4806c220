package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/objstore/mem"
)

// leave sizes a file system so that free bytes are left on it.
func leave(t *testing.T, fsys *memfs.FS, free int64) {
	t.Helper()
	u, err := fsys.Usage("/")
	if err != nil {
		t.Fatal(err)
	}
	fsys.SetLimit(u.Total - u.Free + free)
}

// payload is a record's value that says which one it is.
func payload(i int) []byte {
	return append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte{'x'}, 300_000)...)
}

// wantRecords reads a topic from its start and wants exactly the payloads below n.
func wantRecords(t *testing.T, addr, topic string, n int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := 0; i < n; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records of %d: %v", i, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !bytes.Equal(r.Value, payload(i)) || r.Offset != int64(i) {
				t.Fatalf("record %d is %.20q at %d", i, r.Value, r.Offset)
			}
			i++
		})
	}
}

// TestAFullDiskRefusesAndComesBack: what was acknowledged is there, nothing else is, and the
// broker takes records again when there is room, without a restart.
func TestAFullDiskRefusesAndComesBack(t *testing.T) {
	fsys := memfs.New()
	n := brokertest.Node{FS: fsys, Dir: "/varve", Set: []string{"varve.disk.throttle.percent=95"}}.Start(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(n.KafkaAddr()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("t"),
		kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	segment := "1048576"
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"segment.bytes": &segment}, "t"); err != nil {
		t.Fatal(err)
	}
	leave(t, fsys, 16<<20)
	acked := 0
	for ; ; acked++ {
		err := client.ProduceSync(t.Context(), &kgo.Record{Value: payload(acked)}).FirstErr()
		if errors.Is(err, kerr.KafkaStorageError) {
			break
		}
		if err != nil || acked > 100 {
			t.Fatalf("record %d: %v", acked, err)
		}
	}
	if acked < 20 {
		t.Fatalf("refused after %d records", acked)
	}
	if u, err := fsys.Usage("/"); err != nil || u.Free < 1<<20/2 {
		t.Errorf("%d bytes are left: nothing is kept for the broker, %v", u.Free, err)
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := ends.Lookup("t", 0); o.Offset != int64(acked) {
		t.Errorf("the log ends at %d, %d records were acknowledged", o.Offset, acked)
	}
	wantRecords(t, n.KafkaAddr(), "t", acked)
	leave(t, fsys, 64<<20)
	for limit := time.Now().Add(20 * time.Second); ; {
		err := client.ProduceSync(t.Context(), &kgo.Record{Value: payload(acked)}).FirstErr()
		if err == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("with room again: %v", err)
		}
	}
	wantRecords(t, n.KafkaAddr(), "t", acked+1)
}

// TestATieredTopicOutgrowsItsDisk: a topic that wants all of it local, almost three times as large as the
// disk. Its segments give way, and nothing is lost.
func TestATieredTopicOutgrowsItsDisk(t *testing.T) {
	fsys := memfs.New()
	n := brokertest.Node{FS: fsys, Dir: "/varve", Bucket: mem.New(), Set: []string{
		"varve.disk.evict.percent=60", "varve.disk.throttle.percent=100", "varve.disk.refuse.percent=100", "varve.tier.cache.bytes=1048576"}}.Start(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(n.KafkaAddr()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("t"),
		kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	yes, segment, lag := "true", "1048576", "3600000"
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{
		"segment.bytes": &segment, "remote.storage.enable": &yes, "remote.copy.lag.ms": &lag}, "t"); err != nil {
		t.Fatal(err)
	}
	leave(t, fsys, 16<<20)
	const records = 150
	for i := range records {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Value: payload(i)}).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	wantRecords(t, n.KafkaAddr(), "t", records)
}

// TestAFillingDiskThrottles: between the marks a producer's answer tells it to wait, and its
// connection does.
func TestAFillingDiskThrottles(t *testing.T) {
	fsys := memfs.New()
	n := brokertest.Node{FS: fsys, Dir: "/varve", Set: []string{"varve.disk.evict.percent=40", "varve.disk.throttle.percent=50"}}.Start(t)
	waits := throttled{longest: new(atomic.Int64)}
	client, err := kgo.NewClient(kgo.SeedBrokers(n.KafkaAddr()), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.WithHooks(waits), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	produce := func() {
		if err := client.ProduceSync(ctx, &kgo.Record{Value: payload(0)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	leave(t, fsys, 16<<20)
	for range 10 {
		produce()
	}
	if got := waits.longest.Load(); got != 0 {
		t.Errorf("with enough room a producer was told to wait for %v", time.Duration(got))
	}
	for waits.longest.Load() == 0 { // ctx ends it where nobody is told to wait
		produce()
	}
}

// throttled notes the longest throttle time that a client was told.
type throttled struct{ longest *atomic.Int64 }

// OnBrokerThrottle implements kgo.HookBrokerThrottle.
func (w throttled) OnBrokerThrottle(_ kgo.BrokerMetadata, interval time.Duration, afterResponse bool) {
	if afterResponse {
		w.longest.Store(max(w.longest.Load(), int64(interval)))
	}
}
