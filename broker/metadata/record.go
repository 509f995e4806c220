package metadata

import "github.com/varve-io/varve/broker/kafka"

// Kind numbers the types of records. Numbers are never used again for something else.
type Kind uint16

// The kinds of records.
const (
	KindCluster        Kind = 1
	KindFeature        Kind = 2
	KindRegisterBroker Kind = 3
	KindTopic          Kind = 4
	KindPartition      Kind = 5
	KindTopicConfig    Kind = 6
	KindRemoveTopic    Kind = 7
	KindProducerIDs    Kind = 8
	KindPurge          Kind = 9
	KindConfig         Kind = 10
	KindRemoveBroker   Kind = 11
	KindScram          Kind = 12
	KindRemoveScram    Kind = 13
	KindClientQuota    Kind = 14
	KindACL            Kind = 15

	KindDelegationToken Kind = 16
)

// Record is one change of the image.
type Record interface {
	// Kind is the record's type.
	Kind() Kind
	// apply makes the change, or says why it contradicts the image; see Image.Apply.
	apply(c *change) error
}

// ClusterRecord gives the cluster its id, once.
type ClusterRecord struct{ ClusterID string }

// FeatureRecord sets the level of a feature.
type FeatureRecord struct {
	Name  string
	Level int16
}

// RegisterBrokerRecord is the start of a broker's process, or, with the incarnation of the last
// one, news of its log directories, after which it goes on leading. With a new process, every
// partition that the broker leads gets a higher leader epoch and partition epoch.
type RegisterBrokerRecord struct {
	ID          int32
	Incarnation kafka.UUID
	// Epoch is the broker's epoch; EpochOfEntry takes the index of the log entry, which
	// nobody knows before it is written.
	Epoch     int64
	Endpoints []Endpoint
	Rack      string
	LogDirs   []kafka.UUID
	Fenced    bool
}

// EpochOfEntry stands for the index of the log entry that a record is in.
const EpochOfEntry int64 = -1

// TopicRecord creates a topic without partitions.
type TopicRecord struct {
	Name    string
	ID      kafka.UUID
	Version int64
	Config  map[string]string
}

// PartitionRecord sets a partition, or adds the one behind the last.
type PartitionRecord struct {
	TopicID kafka.UUID
	Index   int32
	Partition
}

// TopicConfigRecord replaces all settings of a topic. Version must be one more than the topic's.
type TopicConfigRecord struct {
	TopicID kafka.UUID
	Version int64
	Config  map[string]string
}

// RemoveTopicRecord deletes a topic.
type RemoveTopicRecord struct{ TopicID kafka.UUID }

// PurgeRecord says that objects of a deleted topic are still in the object store, or, with
// Done, that they are gone. The first stands in the same entry as the deletion, so that no
// crash can forget a purge, and nothing is ever purged for being absent from the image.
type PurgeRecord struct {
	TopicID kafka.UUID
	Name    string
	Done    bool
}

// ConfigRecord replaces all dynamic settings of a resource that is no topic. No settings, and
// the image forgets the resource.
type ConfigRecord struct {
	Resource ConfigResource
	Config   map[string]string
}

// RemoveBrokerRecord takes the registration with this epoch out of the cluster.
type RemoveBrokerRecord struct {
	ID    int32
	Epoch int64
}

// ProducerIDsRecord says that every producer id below Next may have been handed out.
type ProducerIDsRecord struct{ Next int64 }

// Kind implements Record.
func (ClusterRecord) Kind() Kind { return KindCluster }

// Kind implements Record.
func (FeatureRecord) Kind() Kind { return KindFeature }

// Kind implements Record.
func (RegisterBrokerRecord) Kind() Kind { return KindRegisterBroker }

// Kind implements Record.
func (TopicRecord) Kind() Kind { return KindTopic }

// Kind implements Record.
func (PartitionRecord) Kind() Kind { return KindPartition }

// Kind implements Record.
func (TopicConfigRecord) Kind() Kind { return KindTopicConfig }

// Kind implements Record.
func (RemoveTopicRecord) Kind() Kind { return KindRemoveTopic }

// Kind implements Record.
func (ProducerIDsRecord) Kind() Kind { return KindProducerIDs }

// Kind implements Record.
func (PurgeRecord) Kind() Kind { return KindPurge }

// Kind implements Record.
func (ConfigRecord) Kind() Kind { return KindConfig }

// Kind implements Record.
func (RemoveBrokerRecord) Kind() Kind { return KindRemoveBroker }
