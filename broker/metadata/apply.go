package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// ErrUnsupported marks metadata that a newer program wrote. The node must stop: going on
// without what it cannot read would make its image differ from everyone else's.
var ErrUnsupported = errors.New("written by a newer version of Varve: upgrade this node")

// change is an image in the making.
type change struct {
	img     *Image
	version int64
	topics  map[kafka.UUID]*Topic // touched so far: copies that may be written to; nil is deleted
	order   []kafka.UUID          // of first touch
	owned   map[kafka.UUID]bool   // whose Partitions are copies as well
	brokers []*Broker
	configs []ConfigResource
	quotas  bool
	acls    bool
}

// Apply returns the image after the records of the log entry at index version, and what they
// changed. All of them count or none: an error that wraps a kafka.Error says that they
// contradict the image (a topic that exists, an epoch that is stale), is the same on every
// node, and leaves the image as it is; one that wraps ErrUnsupported must stop the node.
// It shares with img whatever does not change: the cost follows the topics that are touched.
func (img *Image) Apply(version int64, records []Record) (*Image, *Delta, error) {
	c := img.change(version)
	if err := c.apply(records); err != nil {
		return nil, nil, err
	}
	return c.img, c.publish(img), nil
}

func (img *Image) change(version int64) *change {
	next := *img
	next.version = version
	return &change{img: &next, version: version, topics: map[kafka.UUID]*Topic{}, owned: map[kafka.UUID]bool{}}
}

func (c *change) apply(records []Record) error {
	for _, r := range records {
		if err := r.apply(c); err != nil {
			return err
		}
	}
	return nil
}

// Skip is the image after a log entry that changed nothing.
func (img *Image) Skip(version int64) *Image {
	next := *img
	next.version = version
	return &next
}

// publish puts the touched topics into the image.
func (c *change) publish(old *Image) *Delta {
	d := &Delta{Brokers: c.brokers, Configs: c.configs, Quotas: c.quotas, ACLs: c.acls}
	for _, id := range c.order {
		was, is := old.TopicByID(id), c.topics[id]
		if was != nil {
			c.img.partitions -= len(was.Partitions)
		}
		switch {
		case is == nil:
			c.img.byID = c.img.byID.without(string(id[:]))
			if was != nil {
				d.Deleted = append(d.Deleted, was)
			}
			continue
		case was == nil:
			d.Created = append(d.Created, is)
		default:
			d.Changed = append(d.Changed, is)
		}
		c.img.byID = c.img.byID.with(string(id[:]), is)
		c.img.byName = c.img.byName.with(is.Name, is)
		c.img.partitions += len(is.Partitions)
	}
	return d
}

// topic returns the topic as it stands within this change; nil when there is none.
func (c *change) topic(id kafka.UUID) *Topic {
	if t, touched := c.topics[id]; touched {
		return t
	}
	return c.img.TopicByID(id)
}

// touch returns a copy of the topic that may be written to; its partitions are shared still.
func (c *change) touch(id kafka.UUID) (*Topic, error) {
	t := c.topic(id)
	if t == nil {
		return nil, fmt.Errorf("there is no topic with id %s: %w", id, kafka.UnknownTopicID)
	}
	if _, touched := c.topics[id]; !touched {
		cp := *t
		t = &cp
		c.set(id, t)
	}
	return t, nil
}

func (c *change) set(id kafka.UUID, t *Topic) {
	if _, touched := c.topics[id]; !touched {
		c.order = append(c.order, id)
	}
	c.topics[id] = t
}

// own makes the partitions of a touched topic writable.
func (c *change) own(t *Topic) {
	if !c.owned[t.ID] {
		t.Partitions = slices.Clone(t.Partitions)
		c.owned[t.ID] = true
	}
}

func (r ClusterRecord) apply(c *change) error {
	if c.img.clusterID != "" {
		return fmt.Errorf("the cluster has the id %s already: %w", c.img.clusterID, kafka.InconsistentClusterID)
	}
	c.img.clusterID = r.ClusterID
	return nil
}

func (r FeatureRecord) apply(c *change) error {
	if r.Name == FormatFeature && r.Level > FormatLevel {
		return fmt.Errorf("metadata at %s level %d, this program knows levels up to %d: %w", FormatFeature, r.Level, FormatLevel, ErrUnsupported)
	}
	features := maps.Clone(c.img.features)
	if features == nil {
		features = map[string]int16{}
	}
	features[r.Name] = r.Level
	c.img.features = features
	return nil
}

func (r RegisterBrokerRecord) apply(c *change) error {
	b := &Broker{ID: r.ID, Incarnation: r.Incarnation, Epoch: r.Epoch, Endpoints: r.Endpoints, Rack: r.Rack, LogDirs: r.LogDirs, Fenced: r.Fenced}
	if r.Epoch == EpochOfEntry {
		b.Epoch = c.version
	}
	brokers := slices.Clone(c.img.brokers)
	i, found := c.img.brokerIndex(r.ID)
	sameProcess := found && brokers[i].Incarnation == r.Incarnation
	switch {
	case !found:
		brokers = slices.Insert(brokers, i, b)
	case brokers[i].Epoch >= b.Epoch:
		return fmt.Errorf("broker %d registers with epoch %d after epoch %d: %w", r.ID, b.Epoch, brokers[i].Epoch, kafka.StaleBrokerEpoch)
	default:
		brokers[i] = b
	}
	c.img.brokers = brokers
	c.brokers = append(c.brokers, b)
	if sameProcess {
		return nil // news of its directories: what it leads it goes on leading
	}
	return c.newLeaderEpochs(r.ID)
}

// newLeaderEpochs ends what the broker's former process led.
func (c *change) newLeaderEpochs(broker int32) error {
	if len(c.topics) > 0 {
		return fmt.Errorf("a broker registers in one entry with changes of topics: %w", kafka.InvalidRequest)
	}
	leads := func(p Partition) bool { return p.Leader == broker }
	for old := range c.img.Topics() {
		if !slices.ContainsFunc(old.Partitions, leads) {
			continue
		}
		t, err := c.touch(old.ID)
		if err != nil {
			return err
		}
		c.own(t)
		for i := range t.Partitions {
			if p := &t.Partitions[i]; leads(*p) {
				p.LeaderEpoch++
				p.PartitionEpoch++
			}
		}
	}
	return nil
}

func (r TopicRecord) apply(c *change) error {
	if err := ValidateTopicName(r.Name); err != nil {
		return err
	}
	if c.img.Topic(r.Name) != nil {
		return fmt.Errorf("topic '%s' already exists: %w", r.Name, kafka.TopicAlreadyExists)
	}
	if other := c.img.CollidingTopic(r.Name); other != "" {
		return collision(r.Name, other)
	}
	if c.topic(r.ID) != nil {
		return fmt.Errorf("a topic with id %s exists already: %w", r.ID, kafka.TopicAlreadyExists)
	}
	t := &Topic{Name: r.Name, ID: r.ID, Version: r.Version, Config: r.Config}
	c.set(r.ID, t)
	c.owned[r.ID] = true
	c.img.byName = c.img.byName.with(r.Name, t) // for the records that follow
	if canCollide(r.Name) {
		c.img.unified = c.img.unified.with(unify(r.Name), r.Name)
	}
	return nil
}

func collision(name, other string) error {
	return fmt.Errorf("topic '%s' collides with existing topic: %s: %w", name, other, kafka.InvalidTopic)
}

func (r PartitionRecord) apply(c *change) error {
	t, err := c.touch(r.TopicID)
	if err != nil {
		return err
	}
	n := int32(len(t.Partitions))
	if r.Index < 0 || r.Index > n {
		return fmt.Errorf("partition %d of topic '%s', which has %d: %w", r.Index, t.Name, n, kafka.InvalidPartitions)
	}
	if len(r.Dirs) != len(r.Replicas) {
		return fmt.Errorf("%s-%d names %d directories for %d replicas: %w", t.Name, r.Index, len(r.Dirs), len(r.Replicas), kafka.InvalidReplicaAssignment)
	}
	c.own(t)
	if r.Index == n {
		t.Partitions = append(t.Partitions, r.Partition)
		return nil
	}
	p := &t.Partitions[r.Index]
	if r.PartitionEpoch <= p.PartitionEpoch {
		return fmt.Errorf("%s-%d is at partition epoch %d, the change at %d: %w", t.Name, r.Index, p.PartitionEpoch, r.PartitionEpoch, kafka.InvalidUpdateVersion)
	}
	if r.LeaderEpoch < p.LeaderEpoch {
		return fmt.Errorf("%s-%d is at leader epoch %d, the change at %d: %w", t.Name, r.Index, p.LeaderEpoch, r.LeaderEpoch, kafka.FencedLeaderEpoch)
	}
	*p = r.Partition
	return nil
}

func (r TopicConfigRecord) apply(c *change) error {
	t, err := c.touch(r.TopicID)
	if err != nil {
		return err
	}
	if r.Version != t.Version+1 {
		return fmt.Errorf("topic '%s' is at version %d, the new settings at %d: %w", t.Name, t.Version, r.Version, kafka.InvalidUpdateVersion)
	}
	t.Version, t.Config = r.Version, r.Config
	return nil
}

func (r RemoveTopicRecord) apply(c *change) error {
	t, err := c.touch(r.TopicID)
	if err != nil {
		return err
	}
	c.set(r.TopicID, nil)
	c.img.byName = c.img.byName.without(t.Name)
	if canCollide(t.Name) {
		c.img.unified = c.img.unified.without(unify(t.Name))
	}
	return nil
}

func (r ProducerIDsRecord) apply(c *change) error {
	if r.Next <= c.img.nextProducerID {
		return fmt.Errorf("producer ids below %d are handed out, the new end is %d: %w", c.img.nextProducerID, r.Next, kafka.InvalidUpdateVersion)
	}
	c.img.nextProducerID = r.Next
	return nil
}

func (r PurgeRecord) apply(c *change) error {
	i, found := slices.BinarySearchFunc(c.img.purging, r.TopicID, func(p PurgingTopic, id kafka.UUID) int { return bytes.Compare(p.ID[:], id[:]) })
	switch {
	case r.Done && !found:
		return fmt.Errorf("no purge of topic %s is under way: %w", r.TopicID, kafka.UnknownTopicID)
	case r.Done:
		c.img.purging = slices.Delete(slices.Clone(c.img.purging), i, i+1)
	case !found:
		c.img.purging = slices.Insert(slices.Clone(c.img.purging), i, PurgingTopic{ID: r.TopicID, Name: r.Name})
	}
	return nil
}
