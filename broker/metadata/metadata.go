// Package metadata is the cluster's picture of itself: brokers, topics, partitions,
// settings and feature levels, as one immutable image that everyone reads.
//
// It owns the image, the records that change it, how a list of records turns one image
// into the next, and the bytes of records and images. It knows neither raft nor disks nor
// clocks: whatever is chosen (ids, times, placements) is in the records already, so the
// same records give the same image everywhere. An Image and what it points to never
// change; they may be read and kept by any goroutine.
// Formats: docs/formats/metadata-records.md, docs/formats/metadata-snapshot.md.
package metadata

import (
	"iter"
	"maps"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// FormatFeature is the feature level that says which record versions may be written.
const FormatFeature = "varve.format"

// FormatLevel is the highest level of FormatFeature that this program reads and writes.
const FormatLevel int16 = 1

// NoLeader is the leader of a partition that has none.
const NoLeader int32 = -1

// Topic is a topic with its partitions, which are numbered from 0.
type Topic struct {
	Name       string
	ID         kafka.UUID
	Partitions []Partition
	Config     map[string]string // the topic's own settings; nil or empty when there are none
	Version    int64             // 1 at creation, one more with each change of Config
}

// Partition is who holds a partition and who leads it.
type Partition struct {
	Replicas       []int32      // preferred leader first
	Dirs           []kafka.UUID // log directory of each replica; zero where it is not chosen yet
	ISR            []int32      // replicas that are in sync
	ELR            []int32      // replicas that may lead when the ISR is empty (KIP-966)
	Leader         int32        // NoLeader when there is none
	LeaderEpoch    int32        // grows with each change of leader and each restart of the leader
	PartitionEpoch int32        // grows with each change of the partition
}

// Broker is a registered broker: one process, from its start to the next one under this id.
type Broker struct {
	ID          int32
	Incarnation kafka.UUID // random, drawn at the start of the process
	Epoch       int64      // grows with each registration in the cluster
	Endpoints   []Endpoint
	Rack        string       // "" when unknown
	LogDirs     []kafka.UUID // ids of its log directories that are online
	Fenced      bool         // may not lead or be in an ISR
}

// Endpoint is where a listener of a broker is reached.
type Endpoint struct {
	Name     string // of the listener
	Host     string
	Port     int32
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
}

// Image is the picture at one point of the metadata log. The zero value is that of an
// empty cluster, before its first record.
type Image struct {
	version        int64
	clusterID      string
	features       map[string]int16
	brokers        []*Broker // by id
	byName         tree[*Topic]
	byID           tree[*Topic] // under the 16 bytes of the id
	unified        tree[string] // names that could collide, under their unified form
	partitions     int
	nextProducerID int64
	purging        []PurgingTopic // by id; never changed in place
	configs        map[ConfigResource]map[string]string
	scram          tree[ScramCredential] // under scramKey
	tokens         tree[DelegationToken] // by id
	quotas         map[QuotaEntity]map[string]float64
	acls           tree[kafka.ACL] // under aclKey
}

// Version is the index in the metadata log of the last entry in the image; 0 before the first.
func (img *Image) Version() int64 { return img.version }

// ClusterID is the cluster's id; "" before the first record.
func (img *Image) ClusterID() string { return img.clusterID }

// Feature is the level of a feature: what the metadata says, else what it begins with; 0 for one
// that this program does not know.
func (img *Image) Feature(name string) int16 {
	if level, said := img.features[name]; said {
		return level
	}
	for _, f := range supported {
		if f.Name == name {
			return f.Default
		}
	}
	return 0
}

// Features lists the features in the order of their names.
func (img *Image) Features() iter.Seq2[string, int16] { return sortedMap(img.features) }

// Topic finds a topic by name; nil when there is none.
func (img *Image) Topic(name string) *Topic {
	t, _ := img.byName.get(name)
	return t
}

// TopicByID finds a topic by id; nil when there is none.
func (img *Image) TopicByID(id kafka.UUID) *Topic {
	t, _ := img.byID.get(string(id[:]))
	return t
}

// Topics lists the topics in the order of their names.
func (img *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		img.byName.all(func(_ string, t *Topic) bool { return yield(t) })
	}
}

// TopicCount is how many topics there are.
func (img *Image) TopicCount() int { return img.byName.n }

// PartitionCount is how many partitions all topics have.
func (img *Image) PartitionCount() int { return img.partitions }

// Broker finds a registered broker; nil when there is none.
func (img *Image) Broker(id int32) *Broker {
	if i, ok := img.brokerIndex(id); ok {
		return img.brokers[i]
	}
	return nil
}

func (img *Image) brokerIndex(id int32) (int, bool) {
	return slices.BinarySearchFunc(img.brokers, id, func(b *Broker, id int32) int { return int(int64(b.ID) - int64(id)) })
}

// Brokers lists the registered brokers in the order of their ids.
func (img *Image) Brokers() iter.Seq[*Broker] { return slices.Values(img.brokers) }

// BrokerCount is how many brokers are registered.
func (img *Image) BrokerCount() int { return len(img.brokers) }

// NextProducerID is the first producer id that was never handed out.
func (img *Image) NextProducerID() int64 { return img.nextProducerID }

// PurgingTopic is a deleted topic of which objects are still in the object store.
type PurgingTopic struct {
	ID   kafka.UUID
	Name string
}

// Purging lists the deleted topics whose purge is not complete, in the order of their ids.
func (img *Image) Purging() iter.Seq[PurgingTopic] { return slices.Values(img.purging) }

// CollidingTopic finds the topic whose name differs from name only by '.' and '_': both
// would have the same name in metrics. It is "" when there is none.
func (img *Image) CollidingTopic(name string) string {
	if !canCollide(name) {
		return ""
	}
	other, _ := img.unified.get(unify(name))
	return other
}

// Delta is what changed from one image to the next. Each topic is in one of the lists at
// most, as it stands in the newer image (in the older one for Deleted).
type Delta struct {
	Created, Changed, Deleted []*Topic
	Brokers                   []*Broker        // registered anew
	Configs                   []ConfigResource // resources other than topics that got other settings
	Quotas                    bool             // some entity got other quotas
	ACLs                      bool             // there are other rules of access
}

// Empty says whether nothing changed.
func (d *Delta) Empty() bool {
	return len(d.Created) == 0 && len(d.Changed) == 0 && len(d.Deleted) == 0 && len(d.Brokers) == 0 && len(d.Configs) == 0 && !d.Quotas && !d.ACLs
}

// Diff is the delta between two images that need not be neighbours, such as around a snapshot.
// It takes time in proportion to their size. A topic that was deleted and created anew under
// its name is both Deleted and Created, by different ids.
func Diff(from, to *Image) *Delta {
	d := &Delta{}
	for t := range from.Topics() {
		if to.TopicByID(t.ID) == nil {
			d.Deleted = append(d.Deleted, t)
		}
	}
	for t := range to.Topics() {
		switch old := from.TopicByID(t.ID); {
		case old == nil:
			d.Created = append(d.Created, t)
		case old != t: // equal topics in different memory count as changed: harmless, and cheap to tell
			d.Changed = append(d.Changed, t)
		}
	}
	d.Configs = diffConfigs(from, to)
	d.Quotas = !maps.EqualFunc(from.quotas, to.quotas, maps.Equal)
	d.ACLs = !slices.Equal(slices.Collect(from.ACLs()), slices.Collect(to.ACLs()))
	for b := range to.Brokers() {
		if old := from.Broker(b.ID); old == nil || old.Epoch != b.Epoch {
			d.Brokers = append(d.Brokers, b)
		}
	}
	return d
}
