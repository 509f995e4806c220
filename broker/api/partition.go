package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// topicRef is a topic as a request names it: by id from some version on, before by name.
type topicRef struct {
	name string
	id   kafka.UUID
	byID bool
}

// partition finds a partition that this broker holds.
func (a *API) partition(t topicRef, index int32) (*replica.Partition, error) {
	if t.byID {
		return a.o.Replicas.ByID(t.id, index)
	}
	return a.o.Replicas.Partition(t.name, index)
}

// withoutStorageError is an error code for versions that do not know KAFKA_STORAGE_ERROR:
// the client refreshes its metadata and tries again.
func withoutStorageError(code int16) int16 {
	if code == int16(kafka.KafkaStorageError) {
		return int16(kafka.NotLeaderOrFollower)
	}
	return code
}

// leader is where a client finds the leader of a partition (KIP-951).
type leader struct {
	id, epoch int32
	host      string
	port      int32
	rack      *string
}

// leaderHint is the leader of a partition as a client of the listener reaches it, for an
// answer with the given error. There is none when nobody leads, when the leader has no such
// listener, or when the image names this broker, which has just said that it is not the
// leader: a hint that is no news sends the client in circles.
func (a *API) leaderHint(t topicRef, index int32, listener string, code kafka.Error) (leader, bool) {
	if code != kafka.NotLeaderOrFollower && code != kafka.FencedLeaderEpoch {
		return leader{}, false
	}
	img := a.o.Cluster.Image()
	topic := img.Topic(t.name)
	if t.byID {
		topic = img.TopicByID(t.id)
	}
	if topic == nil || index < 0 || int(index) >= len(topic.Partitions) {
		return leader{}, false
	}
	part := &topic.Partitions[index]
	b := img.Broker(part.Leader)
	e, ok := endpoint(b, listener)
	if !ok || part.Leader == a.o.NodeID && code == kafka.NotLeaderOrFollower {
		return leader{}, false
	}
	return leader{id: part.Leader, epoch: part.LeaderEpoch, host: e.Host, port: e.Port, rack: optional(b.Rack)}, true
}
