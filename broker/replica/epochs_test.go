package replica

import (
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// inEpoch makes the kit's broker the leader of the partition in an epoch.
func (k *kit) inEpoch(topic *metadata.Topic, epoch int32) {
	k.t.Helper()
	k.apply(changed(topic, func(part *metadata.Partition) { part.LeaderEpoch = epoch }))
}

func TestF10EndsOfLeaderEpochs(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	want := func(what string, ends map[int32]EpochEnd) {
		t.Helper()
		for epoch, end := range ends {
			if got, err := p.EpochEnd(epoch, kafka.NoEpoch); err != nil || got != end {
				t.Errorf("%s: epoch %d ends at %+v, %v; want %+v", what, epoch, got, err, end)
			}
		}
	}
	unknown := EpochEnd{Epoch: -1, End: -1}
	want("empty", map[int32]EpochEnd{-2: {-2, 0}, -1: unknown, 0: {0, 0}, 1: unknown})
	k.inEpoch(topic, 2)
	k.produce(p, 3)
	want("written in 2", map[int32]EpochEnd{0: {0, 0}, 1: {1, 0}, 2: {2, 3}, 3: unknown})
	k.inEpoch(topic, 5)
	want("elected in 5", map[int32]EpochEnd{0: {0, 0}, 2: {2, 3}, 3: {2, 3}, 4: {2, 3}, 5: {5, 3}, 6: unknown})
	k.produce(p, 4)
	want("written in 5", map[int32]EpochEnd{1: {1, 0}, 2: {2, 3}, 4: {2, 3}, 5: {5, 7}, 6: unknown})
	k.wantDeleted(p, 5, 5)
	want("epoch 2 deleted", map[int32]EpochEnd{2: {2, 5}, 4: {4, 5}, 5: {5, 7}})
}

func TestF10WhoMayAsk(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	k.inEpoch(topic, 3)
	for epoch, want := range map[int32]kafka.Error{2: kafka.FencedLeaderEpoch, 3: kafka.NoError, 4: kafka.UnknownLeaderEpoch} {
		if end, err := p.EpochEnd(3, epoch); kafka.Code(err) != want || err != nil && end != (EpochEnd{-1, -1}) {
			t.Errorf("client of epoch %d: %+v, %v; want %v", epoch, end, err, want)
		}
	}
	k.apply(changed(topic, func(part *metadata.Partition) { part.Leader, part.LeaderEpoch = 8, 4 }))
	if _, err := p.EpochEnd(3, 4); kafka.Code(err) != kafka.NotLeaderOrFollower {
		t.Errorf("a follower: %v", err)
	}
}
