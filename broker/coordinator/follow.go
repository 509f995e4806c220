package coordinator

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
)

// Follower has a Runtime lead those partitions of its topic that an image says this broker
// leads. It belongs to who watches the metadata.
type Follower[M Machine] struct {
	Runtime  *Runtime[M]
	Topic    string
	NodeID   int32
	Replicas *replica.Manager

	led map[int32]term
}

// term is a leadership: of a topic of that name, in an epoch.
type term struct {
	topic kafka.UUID
	epoch int32
}

// Follow takes an image over that the replicas are in line with already.
func (f *Follower[M]) Follow(img *metadata.Image) {
	if f.led == nil {
		f.led = map[int32]term{}
	}
	topic := img.Topic(f.Topic)
	for index := range f.led {
		if topic == nil || int(index) >= len(topic.Partitions) || topic.Partitions[index].Leader != f.NodeID {
			f.Runtime.Resign(index)
			delete(f.led, index)
		}
	}
	if topic == nil {
		return
	}
	for i := range topic.Partitions {
		part, now := &topic.Partitions[i], term{topic.ID, topic.Partitions[i].LeaderEpoch}
		if before, ok := f.led[int32(i)]; part.Leader != f.NodeID || ok && before == now {
			continue
		}
		if err := f.lead(int32(i)); err != nil {
			f.Runtime.o.Logger.Error("coordinator: a shard has no log and is not served", "coordinator", f.Runtime.o.Name, "shard", i, "error", err)
			continue // with the next image it is tried again
		}
		f.led[int32(i)] = now
	}
}

func (f *Follower[M]) lead(index int32) error {
	p, err := f.Replicas.Partition(f.Topic, index)
	if err != nil {
		return err
	}
	log, err := replica.Own(p)
	if err != nil {
		return err
	}
	f.Runtime.Lead(index, log)
	return nil
}
