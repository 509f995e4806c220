package api

import (
	"cmp"
	"net"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
)

// groups is the part of the API that asks the group coordinator.
type groups struct{ *API }

// onGroups makes a handler of the table from one of that part.
func onGroups(handle func(groups, *server.Request) error) func(*API, *server.Request) error {
	return func(a *API, r *server.Request) error { return handle(groups{a}, r) }
}

// memberClient is where a request of a group's member comes from; the address is in Java's form.
func memberClient(r *server.Request) group.Client {
	host := r.Conn.RemoteAddr().String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return group.Client{ID: r.Header.ClientID, Host: "/" + host, Version: r.Header.Version}
}

// offsetsTopic is the offsets topic as it is to be created.
func offsetsTopic(node *config.Node) controller.NewTopic {
	return controller.NewTopic{
		Name: group.OffsetsTopic, Partitions: node.OffsetsTopicPartitions, ReplicationFactor: node.OffsetsTopicReplicationFactor,
		Config: map[string]string{
			"cleanup.policy": "compact", "compression.type": "producer",
			"segment.bytes": strconv.FormatInt(node.OffsetsTopicSegmentBytes, 10),
		},
	}
}

// topicRefs resolves the topics of a request as one image shows them.
type topicRefs struct {
	img    *metadata.Image
	byID   bool
	denied error // of every topic: the client may not use the group
	stable bool  // offsets that may be about to change are errors
}

// find finds a topic by name or, from some version on, by id.
func (t topicRefs) find(name string, id kafka.UUID) (*metadata.Topic, kafka.Error) {
	if t.denied != nil {
		return nil, kafka.Code(t.denied)
	}
	if t.byID {
		if topic := t.img.TopicByID(id); topic != nil {
			return topic, kafka.NoError
		}
		return nil, kafka.UnknownTopicID
	}
	if topic := t.img.Topic(name); topic != nil {
		return topic, kafka.NoError
	}
	return nil, kafka.UnknownTopicOrPartition
}

// findFor finds a topic that the client may do op with.
func (t topicRefs) findFor(a *API, r *server.Request, op kafka.ACLOperation, name string, id kafka.UUID) (*metadata.Topic, kafka.Error) {
	if t.denied == nil {
		t.denied = a.by(r).topicRef(op, topicRef{name: name, id: id, byID: t.byID})
	}
	return t.find(name, id)
}

// hasPartition says whether a topic has a partition.
func hasPartition(t *metadata.Topic, index int32) bool {
	return index >= 0 && int(index) < len(t.Partitions)
}

// compareTP orders partitions by topic, then index.
func compareTP(a, b kafka.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
