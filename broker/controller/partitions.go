package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// NewPartitions asks for a topic to grow.
type NewPartitions struct {
	Topic string
	Count int32 // of partitions afterwards
	// Assignments names the brokers of each new partition, preferred leader first; nil has
	// them chosen.
	Assignments [][]int32
	// Charge is asked when nothing else is in the way; nil means free.
	Charge Charge
}

// CreatePartitions lets topics grow, all in one entry; with validateOnly it says what would
// happen and writes nothing. The errors are in the order of topics: nil, or a wrapped kafka.Error.
// Source: Kafka's ReplicationControlManager.
func (c *Controller) CreatePartitions(ctx context.Context, topics []NewPartitions, validateOnly bool) []error {
	errs := make([]error, len(topics))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		place := newPlacement(img, c.opts.Dirs)
		for i, t := range topics {
			errs[i] = p.grow(place, t)
		}
		if validateOnly {
			return nil, nil
		}
		return p.all, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// grow adds partitions to one topic.
func (p *plan) grow(place *placement, t NewPartitions) error {
	topic := p.img.Topic(t.Topic)
	if topic == nil {
		return fmt.Errorf("there is no topic %q: %w", t.Topic, kafka.UnknownTopicOrPartition)
	}
	has := int32(len(topic.Partitions))
	more := int64(t.Count) - int64(has)
	switch {
	case more == 0:
		return fmt.Errorf("topic %s has %d partition(s) already: %w", t.Topic, has, kafka.InvalidPartitions)
	case more < 0:
		return fmt.Errorf("topic %s has %d partition(s), and %d would not be an increase: partitions are never taken away: %w", t.Topic, has, t.Count, kafka.InvalidPartitions)
	case t.Assignments != nil && int64(len(t.Assignments)) != more:
		return fmt.Errorf("%d partition(s) are to be added to topic %s, and %d assignment(s) are given: %w", more, t.Topic, len(t.Assignments), kafka.InvalidReplicaAssignment)
	case more >= maxPartitionsPerRequest:
		return fmt.Errorf("the request asks for %d partitions, a request may ask for %d: %w", more, maxPartitionsPerRequest-1, kafka.PolicyViolation)
	}
	replicas := t.Assignments
	factor := len(topic.Partitions[0].Replicas)
	if replicas == nil {
		var err error
		if replicas, err = place.spread(int32(more), int16(factor)); err != nil {
			return err
		}
	}
	var records []metadata.Record
	for i, r := range replicas {
		if err := place.assignable(r); err != nil {
			return err
		}
		if len(r) != factor {
			return fmt.Errorf("a partition with %d replica(s) does not fit those before it, which have %d: %w", len(r), factor, kafka.InvalidReplicaAssignment)
		}
		part, err := place.partition(slices.Clone(r))
		if err != nil {
			return err
		}
		records = append(records, metadata.PartitionRecord{TopicID: topic.ID, Index: has + int32(i), Partition: part})
	}
	if err := t.Charge.take(len(records)); err != nil {
		return err
	}
	return p.try(records...)
}

// assignable checks the brokers that a request names for one partition.
func (p *placement) assignable(replicas []int32) error {
	if len(replicas) == 0 {
		return fmt.Errorf("a manual assignment names no broker for a partition: %w", kafka.InvalidReplicaAssignment)
	}
	for i, id := range replicas {
		if p.img.Broker(id) == nil {
			return fmt.Errorf("a manual assignment names broker %d, which is not registered: %w", id, kafka.InvalidReplicaAssignment)
		}
		if slices.Contains(replicas[:i], id) {
			return fmt.Errorf("a manual assignment names broker %d more than once for a partition: %w", id, kafka.InvalidReplicaAssignment)
		}
	}
	return nil
}

// Election is a kind of election of a partition's leader; the numbers are Kafka's (KIP-460).
type Election int8

// The kinds.
const (
	Preferred Election = 0 // of the first replica, if it is in sync
	Unclean   Election = 1 // of any replica that lives, where nobody leads
)

// ElectLeaders elects the leaders of partitions, all in one entry. The errors are in the order
// of partitions: nil, or a wrapped kafka.Error, ELECTION_NOT_NEEDED where the leader is the
// wanted one already.
func (c *Controller) ElectLeaders(ctx context.Context, kind Election, partitions []kafka.TopicPartition) []error {
	errs := make([]error, len(partitions))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		for i, tp := range partitions {
			errs[i] = p.elect(kind, tp)
		}
		return p.all, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

func (p *plan) elect(kind Election, tp kafka.TopicPartition) error {
	topic, part, err := p.partition(tp)
	if err != nil {
		return err
	}
	if kind == Preferred && part.Leader == part.Replicas[0] || kind == Unclean && part.Leader != metadata.NoLeader {
		return kafka.ElectionNotNeeded
	}
	lives := func(id int32) bool { b := p.img.Broker(id); return b != nil && !b.Fenced }
	next := part
	if kind == Preferred {
		if next.Leader = part.Replicas[0]; !lives(next.Leader) || !slices.Contains(part.ISR, next.Leader) {
			return fmt.Errorf("broker %d, the first replica of %s, is not in sync: %w", next.Leader, tp, kafka.PreferredLeaderNotAvailable)
		}
	} else {
		i := slices.IndexFunc(part.Replicas, func(id int32) bool { return lives(id) && slices.Contains(part.ISR, id) })
		if i < 0 {
			i = slices.IndexFunc(part.Replicas, lives)
		}
		if i < 0 {
			return fmt.Errorf("no replica of %s lives: %w", tp, kafka.EligibleLeadersNotAvailable)
		}
		if next.Leader = part.Replicas[i]; !slices.Contains(part.ISR, next.Leader) {
			next.ISR = []int32{next.Leader} // it does not have what the others had
		}
	}
	next.LeaderEpoch++
	next.PartitionEpoch++
	return p.try(metadata.PartitionRecord{TopicID: topic.ID, Index: tp.Partition, Partition: next})
}

// partition finds a partition in the planned image.
func (p *plan) partition(tp kafka.TopicPartition) (*metadata.Topic, metadata.Partition, error) {
	topic := p.img.Topic(tp.Topic)
	if topic == nil {
		return nil, metadata.Partition{}, fmt.Errorf("there is no topic %q: %w", tp.Topic, kafka.UnknownTopicOrPartition)
	}
	if tp.Partition < 0 || int(tp.Partition) >= len(topic.Partitions) {
		return nil, metadata.Partition{}, fmt.Errorf("topic %s has no partition %d: %w", tp.Topic, tp.Partition, kafka.UnknownTopicOrPartition)
	}
	return topic, topic.Partitions[tp.Partition], nil
}

// Reassignment asks for a partition to be held by other brokers.
type Reassignment struct {
	kafka.TopicPartition
	// Replicas are the brokers, preferred leader first; nil cancels a move.
	Replicas []int32
}

// Reassign changes the order of a partition's replicas, which is all that can be changed while
// partitions do not move between brokers; other brokers than those of now are refused. With
// factor, another number of replicas is no error of its own kind. The errors are in the order
// of moves: nil, or a wrapped kafka.Error.
func (c *Controller) Reassign(ctx context.Context, moves []Reassignment, factor bool) []error {
	errs := make([]error, len(moves))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		for i, m := range moves {
			errs[i] = p.reassign(m, factor)
		}
		return p.all, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

func (p *plan) reassign(m Reassignment, factor bool) error {
	topic, part, err := p.partition(m.TopicPartition)
	if err != nil {
		return err
	}
	if m.Replicas == nil {
		return kafka.NoReassignmentInProgress
	}
	if err := (&placement{img: p.img}).assignable(m.Replicas); err != nil {
		return err
	}
	if !factor && len(m.Replicas) != len(part.Replicas) {
		return fmt.Errorf("%s has %d replica(s), and the request does not allow another number: %w", m.TopicPartition, len(part.Replicas), kafka.InvalidReplicationFactor)
	}
	next := part
	next.Replicas, next.Dirs = slices.Clone(m.Replicas), make([]kafka.UUID, len(m.Replicas))
	for i, id := range next.Replicas {
		at := slices.Index(part.Replicas, id)
		if at < 0 || len(next.Replicas) != len(part.Replicas) {
			return fmt.Errorf("%s is held by brokers %v: partitions do not move between brokers yet: %w", m.TopicPartition, part.Replicas, kafka.InvalidReplicaAssignment)
		}
		next.Dirs[i] = part.Dirs[at]
	}
	if slices.Equal(next.Replicas, part.Replicas) {
		return nil
	}
	next.PartitionEpoch++
	return p.try(metadata.PartitionRecord{TopicID: topic.ID, Index: m.Partition, Partition: next})
}
