package replica

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// idempotent is a batch of one record of producer 9.
func (k *kit) idempotent(seq int32) []byte {
	b := batch.Builder{ProducerID: 9, BaseSequence: seq, BaseTimestampMs: k.nowMs}
	b.Append(nil, []byte("v"), nil, k.nowMs)
	return b.Bytes()
}

func TestARestartKeepsWhatWasAcknowledged(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 3)
	k.produce(p, 2)
	p = k.restart(nil, topic)[0]
	if hw := p.HighWatermark(); hw != 5 {
		t.Errorf("high watermark %d, want 5", hw)
	}
	res := k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, 0)}}).answer()[0]
	if got := offsets(t, res); !reflect.DeepEqual(got, []int64{0, 3}) {
		t.Errorf("batches at %v, want 0 and 3", got)
	}
	if res := k.produce(p, 1); res.Base != 5 {
		t.Errorf("appended at %d, want 5", res.Base)
	}
}

func TestI4ProducersSurviveARestart(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	for seq := range int32(3) {
		if _, err := p.Append(k.idempotent(seq), AppendOptions{Acks: AllReplicas}); err != nil {
			t.Fatal(err)
		}
	}
	p = k.restart(nil, topic)[0]
	if res, err := p.Append(k.idempotent(2), AppendOptions{Acks: AllReplicas}); err != nil || res.Base != 2 {
		t.Errorf("repeated: %+v, %v", res, err)
	}
	if _, err := p.Append(k.idempotent(7), AppendOptions{Acks: AllReplicas}); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
		t.Errorf("out of order: %v", err)
	}
}

func TestI4ProducersSurviveTheLossOfALogThatIsInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := &fakeTier{fs: k.fs}
		k.withTier(store)
		topic := newTopic("t", "remote.storage.enable", "true")
		p := k.create(topic)
		for seq := range int32(3) {
			if _, err := p.Append(k.idempotent(seq), AppendOptions{Acks: AllReplicas}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Log().Roll(); err != nil {
			t.Fatal(err)
		}
		store.upload(t, p)
		export, err := p.Log().Export(0)
		if err != nil {
			t.Fatal(err)
		}
		store.producers, store.epochs = export.ProducerSnapshot, export.Epochs
		export.Release()
		store.known = false

		p = k.restart(func() {
			if err := k.fs.RemoveAll("/data/t-0"); err != nil {
				t.Fatal(err)
			}
		}, topic)[0]
		if _, err := p.Append(k.idempotent(3), AppendOptions{Acks: AllReplicas}); !kafka.Code(err).Retriable() {
			t.Errorf("append before the manifest was read: %v", err)
		}
		synctest.Wait()
		if res, err := p.Append(k.idempotent(2), AppendOptions{Acks: AllReplicas}); err != nil || res.Base != 2 {
			t.Errorf("repeated: %+v, %v", res, err)
		}
		if res, err := p.Append(k.idempotent(3), AppendOptions{Acks: AllReplicas}); err != nil || res.Base != 3 {
			t.Errorf("next: %+v, %v", res, err)
		}
		if got := offsetAt(t, p, Earliest); got != 0 {
			t.Errorf("the log starts at %d, want 0", got)
		}
		for off, want := range map[int64][]int64{0: {0, 1, 2}, 3: {3}} {
			f := k.fetch(long(1, ask(p, off)))
			synctest.Wait()
			if got := offsets(t, f.answer()[0]); !reflect.DeepEqual(got, want) {
				t.Errorf("offset %d: batches at %v, want %v", off, got, want)
			}
		}
	})
}

func TestAPartitionOfAMissingDirectoryIsOffline(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	topic.Partitions[0].Dirs = []kafka.UUID{kafka.NewUUID()}
	if err := k.Apply(new(metadata.Image), &metadata.Delta{Created: []*metadata.Topic{topic}}); err == nil {
		t.Error("opened in a directory that is not there")
	}
	p, err := k.ByID(topic.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append(k.records(1), AppendOptions{Acks: 1}); kafka.Code(err) != kafka.KafkaStorageError {
		t.Errorf("append: %v", err)
	}
	res := k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, 0)}}).answer()[0]
	if kafka.Code(res.Err) != kafka.KafkaStorageError {
		t.Errorf("fetch: %v", res.Err)
	}
	// When the directory is back the next change of the topic opens it.
	k.apply(changed(topic, func(part *metadata.Partition) { part.Dirs = k.dirs.DirectoryIDs() }))
	k.produce(p, 1)
}

func TestACrashInsideADeletionLeavesNoOldData(t *testing.T) {
	k := newKit(t)
	old, again := newTopic("t"), newTopic("t")
	k.produce(k.create(old), 3)
	p := k.restart(nil, again)[0] // the metadata went on, the old log is still there
	if res := k.produce(p, 1); res.Base != 0 {
		t.Errorf("appended at %d, want 0", res.Base)
	}
	if _, ok := k.dirs.Log(p.tp, old.ID); ok {
		t.Error("the old topic's log is still there")
	}
}

func TestPartitionsOfAnImage(t *testing.T) {
	k := newKit(t)
	id := kafka.NewUUID()
	img, d, err := new(metadata.Image).Apply(1, []metadata.Record{
		metadata.ClusterRecord{ClusterID: "c"},
		metadata.RegisterBrokerRecord{ID: testNode, Incarnation: kafka.NewUUID(), Epoch: 1},
		metadata.TopicRecord{ID: id, Name: "t", Version: 1},
		metadata.PartitionRecord{TopicID: id, Index: 0, Partition: metadata.Partition{Replicas: []int32{testNode}, Dirs: make([]kafka.UUID, 1), ISR: []int32{testNode}, Leader: testNode}},
		metadata.PartitionRecord{TopicID: id, Index: 1, Partition: metadata.Partition{Replicas: []int32{8}, Dirs: make([]kafka.UUID, 1), ISR: []int32{8}, Leader: 8}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	p, err := k.Partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	k.produce(p, 1)
	for index, want := range map[int32]error{1: kafka.NotLeaderOrFollower, 2: kafka.UnknownTopicOrPartition, -1: kafka.UnknownTopicOrPartition} {
		if _, err := k.Partition("t", index); !errors.Is(err, want) {
			t.Errorf("partition %d: %v, want %v", index, err, want)
		}
	}
}

// TestStraysOfDeletedTopics: at a start, the log of a topic that the image names as deleted
// goes; one of which the image knows nothing stays and is counted.
func TestStraysOfDeletedTopics(t *testing.T) {
	k := newKit(t)
	deleted, unknown := newTopic("deleted"), newTopic("unknown")
	k.produce(k.create(deleted), 3)
	k.produce(k.create(unknown), 3)
	k.restart(nil)
	img, d, err := new(metadata.Image).Apply(1, []metadata.Record{
		metadata.ClusterRecord{ClusterID: "c"}, metadata.PurgeRecord{TopicID: deleted.ID, Name: "deleted"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.dirs.Log(kafka.TopicPartition{Topic: "deleted"}, deleted.ID); ok {
		t.Error("the deleted topic's log is still there")
	}
	if l, ok := k.dirs.Log(kafka.TopicPartition{Topic: "unknown"}, unknown.ID); !ok || l.End() != 3 || k.strays.Load() != 1 {
		t.Errorf("a log of which nothing is known: found %v, %d strays", ok, k.strays.Load())
	}
}
