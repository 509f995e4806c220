// Package e2e runs whole brokers inside the test process and drives them with franz-go:
// what a user does with a node, from the first record to the purge of a deleted topic.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/tiered"
)

const topic = "orders"

// tieredTopic are the settings of a topic that tiers and evicts as quickly as can be.
func tieredTopic() map[string]*string {
	on, segment, local, forever := "true", "1048576", "1", "-1" // record times lie years back
	return map[string]*string{"remote.storage.enable": &on, "segment.bytes": &segment, "local.retention.bytes": &local, "retention.ms": &forever}
}

func client(t *testing.T, n *broker.Node, opts ...kgo.Opt) (*kgo.Client, *kadm.Client) {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.KafkaAddr()), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchMaxBytes(64 << 10), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl, kadm.NewClient(cl)
}

func create(t *testing.T, adm *kadm.Client, configs map[string]*string) {
	t.Helper()
	if _, err := adm.CreateTopic(t.Context(), 1, 1, configs, topic); err != nil {
		t.Fatal(err)
	}
}

func value(i int) []byte { return fmt.Appendf(nil, "%08d %0500d", i, i) }

// produce writes the records from, from+1 … to-1, one second of record time apart.
func produce(t *testing.T, cl *kgo.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		cl.Produce(t.Context(), &kgo.Record{Value: value(i), Timestamp: stamp(i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func stamp(i int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(i)*1000) }

// readAll consumes from start and wants the records start … to-1.
func readAll(t *testing.T, n *broker.Node, start, to int) {
	t.Helper()
	cl, _ := client(t, n, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(int64(start))}}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for next := start; next < to; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("at record %d: %v", next, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(next) || string(r.Value) != string(value(next)) {
				t.Fatalf("offset %d holds %.8s, want record %d", r.Offset, r.Value, next)
			}
			next++
		})
	}
}

// layers are the four offsets that say where a log lies.
type layers struct{ start, local, remoteEnd, end int64 }

func offsets(t *testing.T, adm *kadm.Client) layers {
	t.Helper()
	one := func(l kadm.ListedOffsets, err error) int64 {
		if err != nil {
			t.Fatal(err)
		}
		o, _ := l.Lookup(topic, 0)
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		return o.Offset
	}
	ctx := t.Context()
	return layers{one(adm.ListStartOffsets(ctx, topic)), one(adm.ListLocalLogStartOffsets(ctx, topic)),
		one(adm.ListLatestRemoteOffsets(ctx, topic)) + 1, one(adm.ListEndOffsets(ctx, topic))}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// evicted waits until only the active segment is left on the disk.
func evicted(t *testing.T, adm *kadm.Client) layers {
	t.Helper()
	var l layers
	eventually(t, "closed segments are tiered and evicted", func() bool {
		l = offsets(t, adm)
		return l.local > 0 && l.local == l.remoteEnd && localBytes(t, adm) <= segmentBytes
	})
	return l
}

// segmentBytes is segment.bytes of the topic.
const segmentBytes = 1 << 20

// localBytes is the size of the partition's local segments. Two of them are larger than one may
// be: at most segmentBytes, and nothing is left to upload. What has been uploaded and evicted
// so far says less, on a busy machine the next segment is still on its way.
func localBytes(t *testing.T, adm *kadm.Client) int64 {
	t.Helper()
	dirs, err := adm.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, d := range dirs.Sorted() {
		for _, p := range d.Topics.Sorted() {
			if p.Topic == topic {
				n += p.Size
			}
		}
	}
	return n
}

func stop(t *testing.T, n *broker.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestMainJob produces, tiers, evicts and reads back, and asks for offsets and times in every layer.
func TestMainJob(t *testing.T) {
	n := brokertest.Node{Bucket: mem.New()}.Start(t)
	cl, adm := client(t, n)
	create(t, adm, tieredTopic())
	const records = 8000
	produce(t, cl, 0, records)
	l := evicted(t, adm)
	if l.start != 0 || l.end != records {
		t.Errorf("the log is [%d, %d), want [0, %d)", l.start, l.end, records)
	}
	readAll(t, n, 0, records)
	if s := n.Served(); s.RemoteBytes == 0 || s.LocalBytes == 0 {
		t.Errorf("served %+v: want bytes from both layers", s)
	}
	for _, i := range []int{0, 1, records / 2, int(l.local) - 1, int(l.local), records - 1} {
		at, err := adm.ListOffsetsAfterMilli(t.Context(), stamp(i).UnixMilli(), topic)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := at.Lookup(topic, 0); o.Offset != int64(i) {
			t.Errorf("the first record at or after %v is at offset %d, want %d", stamp(i), o.Offset, i)
		}
		readAll(t, n, i, min(i+10, records))
	}
}

// TestRestart keeps everything over a clean stop, local and remote.
func TestRestart(t *testing.T) {
	node := brokertest.Node{Dir: t.TempDir(), Bucket: mem.New()}
	n := node.Start(t)
	cl, adm := client(t, n)
	create(t, adm, tieredTopic())
	produce(t, cl, 0, 6000)
	evicted(t, adm)
	stop(t, n)

	n = node.Start(t)
	cl, adm = client(t, n)
	readAll(t, n, 0, 6000)
	produce(t, cl, 6000, 9000)
	evicted(t, adm)
	readAll(t, n, 0, 9000)
}

// TestLostPartitionFiles loses a partition's files: the log goes on behind what the bucket
// holds, under no offset that the bucket knows.
func TestLostPartitionFiles(t *testing.T) {
	node := brokertest.Node{Dir: t.TempDir(), Bucket: mem.New()}
	n := node.Start(t)
	cl, adm := client(t, n)
	create(t, adm, tieredTopic())
	produce(t, cl, 0, 6000)
	l := evicted(t, adm)
	stop(t, n)

	if err := os.RemoveAll(filepath.Join(node.Dir, "logs", topic+"-0")); err != nil {
		t.Fatal(err)
	}
	n = node.Start(t)
	cl, adm = client(t, n)
	produce(t, cl, 6000, 6001)
	after := offsets(t, adm)
	if after.start != 0 || after.end != l.remoteEnd+1 {
		t.Fatalf("the healed log is [%d, %d), want [0, %d): it goes on behind what the bucket holds", after.start, after.end, l.remoteEnd+1)
	}
	readAll(t, n, 0, int(l.remoteEnd))
}

// TestDeletedTopicIsPurged removes what a deleted topic had in the bucket, and nothing else,
// also when the broker stops before the purge is done.
func TestDeletedTopicIsPurged(t *testing.T) {
	bucket := mem.New()
	node := brokertest.Node{Dir: t.TempDir(), Bucket: bucket}
	n := node.Start(t)
	cl, adm := client(t, n)
	create(t, adm, tieredTopic())
	produce(t, cl, 0, 4000)
	evicted(t, adm)
	topics, err := adm.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	id := kafka.UUID(topics[topic].ID)
	if o, err := tiered.Topic(t.Context(), bucket, n.ClusterID(), id); err != nil || o.Name != topic || o.Configs["segment.bytes"] != "1048576" {
		t.Fatalf("the bucket says of the topic: %+v, %v", o, err)
	}
	if _, err := adm.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	n = node.Start(t)
	eventually(t, "the bucket holds nothing of the topic but its topic objects", func() bool {
		left := 0
		for a, err := range objstore.All(t.Context(), bucket, "v1/", "") {
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(filepath.Dir(a.Key)) != "topic" {
				left++
			}
		}
		return left == 0
	})
	if o, err := tiered.Topic(t.Context(), bucket, n.ClusterID(), id); err != nil || o.State.String() == "live" {
		t.Errorf("the bucket says of the deleted topic: %+v, %v", o, err)
	}
}
