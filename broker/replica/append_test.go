package replica

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

func TestAppendMovesTheHighWatermark(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	for i, want := range []int64{0, 3, 6} {
		if res := k.produce(p, 3); res.Base != want || res.Wait != nil || res.AppendTimeMs != kafka.NoTimestamp {
			t.Errorf("batch %d: %+v, want base %d", i, res, want)
		}
	}
	if hw := p.HighWatermark(); hw != 9 {
		t.Errorf("high watermark %d, want 9", hw)
	}
	if end := p.StableEnd(); end != 9 {
		t.Errorf("stable end %d, want 9", end)
	}
}

func TestP4LogAppendTimeIsAnswered(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t", "message.timestamp.type", "LogAppendTime"))
	if res := k.produce(p, 1); res.AppendTimeMs != k.nowMs {
		t.Errorf("append time %d, want %d", res.AppendTimeMs, k.nowMs)
	}
}

func TestP9InvalidAcks(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	for _, acks := range []int16{-2, 2, math.MaxInt16} {
		if _, err := p.Append(k.records(1), AppendOptions{Acks: acks}); !errors.Is(err, kafka.InvalidRequiredAcks) {
			t.Errorf("acks %d: %v", acks, err)
		}
	}
	if end := p.Log().End(); end != 0 {
		t.Errorf("the log ends at %d, want 0", end)
	}
}

func TestP9TooFewReplicasBeforeTheAppend(t *testing.T) {
	k := newKit(t)
	alone := newTopic("t", "min.insync.replicas", "2")
	topic := pair("min.insync.replicas", "2")
	topic.Partitions[0].ISR = []int32{testNode}
	p := k.create(topic)
	if _, err := p.Append(k.records(1), AppendOptions{Acks: AllReplicas}); !errors.Is(err, kafka.NotEnoughReplicas) {
		t.Errorf("acks=-1: %v", err)
	}
	if end := p.Log().End(); end != 0 {
		t.Errorf("the log ends at %d, want 0", end)
	}
	k.produce(p, 1) // acks=1 asks for no replicas

	p = newKit(t).create(alone) // no more can be asked for than there are
	if _, err := p.Append(k.records(1), AppendOptions{Acks: AllReplicas}); err != nil {
		t.Errorf("acks=-1 on a partition of one replica: %v", err)
	}
}

// pair is a topic with a follower, broker 8, in the in-sync set.
func pair(settings ...string) *metadata.Topic {
	topic := newTopic("t", settings...)
	topic.Partitions[0].Replicas = []int32{testNode, 8}
	topic.Partitions[0].ISR = []int32{testNode, 8}
	return topic
}

// changed is topic with its partition 0 altered.
func changed(topic *metadata.Topic, alter func(*metadata.Partition)) *metadata.Delta {
	c := *topic
	c.Partitions = slices.Clone(topic.Partitions)
	alter(&c.Partitions[0])
	return &metadata.Delta{Changed: []*metadata.Topic{&c}}
}

// await appends n records with acks=-1 and waits for the in-sync set.
func (k *kit) await(p *Partition, n int, timeout time.Duration) (w *Pending, done chan error) {
	k.t.Helper()
	res, err := p.Append(k.records(n), AppendOptions{Acks: AllReplicas})
	if err != nil {
		k.t.Fatal(err)
	}
	if res.Wait == nil {
		k.t.Fatal("acknowledged at once, with a follower in the in-sync set")
	}
	done = make(chan error, 1)
	Await([]*Pending{res.Wait}, timeout, func() { done <- res.Wait.Err() })
	return res.Wait, done
}

func TestF15AcksAllWaitsForTheLeastDurableEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(pair())
		_, first := k.await(p, 3, time.Minute)
		_, second := k.await(p, 2, time.Minute)
		p.ObserveFollower(8, 2)
		synctest.Wait()
		if hw := p.HighWatermark(); hw != 2 || len(first) > 0 {
			t.Errorf("high watermark %d, %d answers; want 2 and none", hw, len(first))
		}
		p.ObserveFollower(8, 3)
		synctest.Wait()
		if len(first) != 1 || len(second) != 0 {
			t.Errorf("%d and %d answers, want 1 and 0", len(first), len(second))
		}
		p.ObserveFollower(8, 1) // an old report takes nothing back
		if hw := p.HighWatermark(); hw != 3 {
			t.Errorf("high watermark %d, want 3", hw)
		}
		p.ObserveFollower(8, 5)
		synctest.Wait()
		if a, b := <-first, <-second; a != nil || b != nil {
			t.Errorf("answers %v and %v", a, b)
		}
	})
}

func TestAcksAllTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(pair())
		_, done := k.await(p, 1, time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		if err := <-done; !errors.Is(err, kafka.RequestTimedOut) {
			t.Errorf("answer %v", err)
		}
		if p.mu.pending != nil && len(p.mu.pending) > 0 {
			t.Error("the batch is still on the list")
		}
		p.ObserveFollower(8, 1)
		if hw := p.HighWatermark(); hw != 1 {
			t.Errorf("high watermark %d, want 1", hw)
		}
	})
}

func TestP9TooFewReplicasAfterTheAppend(t *testing.T) {
	k := newKit(t)
	topic := pair("min.insync.replicas", "2")
	p := k.create(topic)
	_, done := k.await(p, 1, time.Minute)
	k.apply(changed(topic, func(part *metadata.Partition) { part.ISR = []int32{testNode} }))
	if err := <-done; !errors.Is(err, kafka.NotEnoughReplicasAfterAppend) {
		t.Errorf("answer %v", err)
	}
}

func TestAcksAllFailsWithTheLeadership(t *testing.T) {
	k := newKit(t)
	topic := pair()
	p := k.create(topic)
	_, done := k.await(p, 1, time.Minute)
	k.apply(changed(topic, func(part *metadata.Partition) { part.Leader, part.LeaderEpoch = 8, 1 }))
	if err := <-done; !errors.Is(err, kafka.NotLeaderOrFollower) {
		t.Errorf("answer %v", err)
	}
	if _, err := p.Append(k.records(1), AppendOptions{Acks: 1}); !errors.Is(err, kafka.NotLeaderOrFollower) {
		t.Errorf("append after the change: %v", err)
	}
}

func TestAwaitOfNothingIsDone(t *testing.T) {
	called := false
	Await(nil, time.Minute, func() { called = true })
	if !called {
		t.Error("done was not called")
	}
}

func TestTransactionalBatchesAreRefused(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	b := batch.Builder{ProducerID: 9, Attributes: batch.Transactional, BaseTimestampMs: k.nowMs}
	b.Append(nil, []byte("v"), nil, k.nowMs)
	if _, err := p.Append(b.Bytes(), AppendOptions{Acks: 1}); !errors.Is(err, kafka.InvalidTxnState) {
		t.Errorf("append: %v", err)
	}
}

func TestI1DuplicateAnswersTheFirstPlace(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	send := func(seq int32) (AppendResult, error) {
		b := batch.Builder{ProducerID: 9, BaseSequence: seq, BaseTimestampMs: k.nowMs}
		b.Append(nil, []byte("v"), nil, k.nowMs)
		return p.Append(b.Bytes(), AppendOptions{Acks: AllReplicas})
	}
	for seq := range int32(3) {
		if res, err := send(seq); err != nil || res.Base != int64(seq) {
			t.Fatalf("sequence %d: %+v, %v", seq, res, err)
		}
	}
	if res, err := send(1); err != nil || res.Base != 1 || res.Wait != nil {
		t.Errorf("repeated: %+v, %v", res, err)
	}
	if _, err := send(7); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
		t.Errorf("out of order: %v", err)
	}
	if end := p.Log().End(); end != 3 {
		t.Errorf("the log ends at %d, want 3", end)
	}
}

func TestCommittedEnd(t *testing.T) {
	for _, c := range []struct {
		name             string
		current, durable int64
		isr              []int32
		ends             map[int32]int64
		want             int64
	}{
		{"alone", 3, 9, []int32{testNode}, nil, 9},
		{"a follower that has not told", 3, 9, []int32{testNode, 8}, nil, 3},
		{"the slowest follower", 3, 9, []int32{testNode, 8, 9}, map[int32]int64{8: 7, 9: 5}, 5},
		{"one that fell out of the set", 3, 9, []int32{testNode, 8}, map[int32]int64{8: 7, 9: 5}, 7},
		{"never back", 6, 9, []int32{testNode, 8}, map[int32]int64{8: 2}, 6},
		{"a leader that is not durable itself", 3, 4, []int32{testNode, 8}, map[int32]int64{8: 9}, 4},
	} {
		if got := committedEnd(c.current, testNode, c.durable, c.isr, c.ends); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
