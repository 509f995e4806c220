package replica

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// slowWAL is a kit whose write-ahead file syncs when the test says so, with what it says.
func slowWAL(t *testing.T) (k *kit, entered chan struct{}, fate chan error, armed *atomic.Bool) {
	k = newKit(t)
	entered, fate, armed = make(chan struct{}), make(chan error), new(atomic.Bool)
	k.fate = func(op errorfs.Op, name string) error {
		if op != errorfs.FileDatasync || !strings.HasSuffix(name, "varve-wal") || !armed.Load() {
			return nil
		}
		entered <- struct{}{}
		return <-fate
	}
	return k, entered, fate, armed
}

// resolved waits for the answer to a batch.
func resolved(t *testing.T, w *Pending) error {
	t.Helper()
	done := make(chan struct{})
	Await([]*Pending{w}, time.Minute, func() { close(done) })
	<-done
	return w.Err()
}

// TestGroupModeWaitsForTheDisk: with acks 1 and -1 nothing is acknowledged, shown or tiered
// before a sync has made it durable.
func TestGroupModeWaitsForTheDisk(t *testing.T) {
	for _, acks := range []int16{1, AllReplicas} {
		k, entered, fate, armed := slowWAL(t)
		p := k.create(newTopic("t", "varve.durability", "group"))
		k.produce(p, 3) // the first append is made durable by a sync of the log itself
		if hw := p.HighWatermark(); hw != 3 {
			t.Fatalf("acks=%d: high watermark %d after the first append", acks, hw)
		}
		armed.Store(true)
		res, err := p.Append(k.records(2), AppendOptions{Acks: acks, ZstdOK: true})
		if err != nil || res.Wait == nil || res.Base != 3 {
			t.Fatalf("acks=%d: %+v, %v", acks, res, err)
		}
		<-entered
		if hw, end := p.HighWatermark(), p.StableEnd(); hw != 3 || end != 3 {
			t.Errorf("acks=%d: high watermark %d and stable end %d before the sync", acks, hw, end)
		}
		armed.Store(false)
		fate <- nil
		if err := resolved(t, res.Wait); err != nil {
			t.Errorf("acks=%d: %v", acks, err)
		}
		if hw, end := p.HighWatermark(), p.StableEnd(); hw != 5 || end != 5 {
			t.Errorf("acks=%d: high watermark %d and stable end %d after the sync", acks, hw, end)
		}
		if err := k.dirs.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailedSyncAcknowledgesNothing: who waits is told, the high watermark stays, and the
// directory is offline.
func TestFailedSyncAcknowledgesNothing(t *testing.T) {
	for _, acks := range []int16{1, AllReplicas} {
		k, entered, fate, armed := slowWAL(t)
		p := k.create(newTopic("t", "varve.durability", "group"))
		other := k.create(newTopic("other"))
		k.produce(p, 1)
		armed.Store(true)
		res, err := p.Append(k.records(2), AppendOptions{Acks: acks, ZstdOK: true})
		if err != nil || res.Wait == nil {
			t.Fatalf("acks=%d: %+v, %v", acks, res, err)
		}
		<-entered
		fate <- syscall.EIO
		if err := resolved(t, res.Wait); !errors.Is(err, kafka.KafkaStorageError) {
			t.Errorf("acks=%d: %v", acks, err)
		}
		if hw := p.HighWatermark(); hw != 1 {
			t.Errorf("acks=%d: high watermark %d", acks, hw)
		}
		for _, p := range []*Partition{p, other} {
			if _, err := p.Append(k.records(1), AppendOptions{Acks: 1, ZstdOK: true}); !errors.Is(err, kafka.KafkaStorageError) {
				t.Errorf("acks=%d: append to %s: %v", acks, p.TopicPartition(), err)
			}
		}
		if n := len(k.dirs.DirectoryIDs()); n != 0 {
			t.Errorf("acks=%d: %d directories are online", acks, n)
		}
	}
}
