package controller

import (
	"context"
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// Origin is what a topic keeps of the cluster that it comes from, so that files of that cluster
// can take the place of its logs: groups name topics by id, committed offsets and records have
// leader epochs, logs and transactions have producer ids.
type Origin struct {
	ID kafka.UUID
	// LeaderEpoch is at least that of any leader there was. Leaders here have a higher one.
	LeaderEpoch int32
	// ProducerIDs is above every producer id that was handed out there; none below is handed
	// out here any more.
	ProducerIDs int64
}

// identity is the id of a new topic, and whether the topic is there already: one that comes
// from elsewhere may be asked for again.
func (t *NewTopic) identity(img *metadata.Image) (id kafka.UUID, exists bool, err error) {
	if t.Origin == nil {
		return kafka.NewUUID(), false, nil
	}
	id = t.Origin.ID
	if id.IsZero() || t.Origin.LeaderEpoch < 0 || t.Origin.ProducerIDs < 0 {
		return id, false, fmt.Errorf("a topic that is adopted has an id, a leader epoch and producer ids of 0 or more: %w", kafka.InvalidConfig)
	}
	there := img.Topic(t.Name)
	return id, there != nil && there.ID == id, nil
}

// settleOrigins has epochs and producer ids go on above those of the clusters that topics come
// from. It is an entry of its own: a partition in a higher epoch has had data, so its log,
// which is empty, has to be made in the first one. Until this one is written the topic must be
// asked for again.
func (c *Controller) settleOrigins(ctx context.Context, topics []NewTopic, results []TopicResult) {
	img, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		for i, t := range topics {
			if t.Origin == nil || results[i].Err != nil {
				continue
			}
			if t.Origin.ProducerIDs > p.img.NextProducerID() {
				if err := p.try(metadata.ProducerIDsRecord{Next: t.Origin.ProducerIDs}); err != nil {
					return nil, err
				}
			}
			there := p.img.Topic(t.Name)
			if there == nil {
				return nil, fmt.Errorf("topic %s was deleted meanwhile: %w", t.Name, kafka.UnknownTopicOrPartition)
			}
			for index, part := range there.Partitions {
				if part.LeaderEpoch > t.Origin.LeaderEpoch {
					continue
				}
				part.LeaderEpoch = t.Origin.LeaderEpoch + 1
				part.PartitionEpoch++
				if err := p.try(metadata.PartitionRecord{TopicID: there.ID, Index: int32(index), Partition: part}); err != nil {
					return nil, err
				}
			}
		}
		return p.all, nil
	})
	for i, t := range topics {
		switch {
		case t.Origin == nil || results[i].Err != nil:
		case err != nil:
			results[i] = TopicResult{Err: err}
		default:
			results[i].Topic = img.Topic(t.Name)
		}
	}
}
