package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// AssignDir records in which log directory a broker has its replica of a partition, after a
// move (KIP-858). What the image says already is no change. Errors wrap kafka.UnknownTopicID
// and kafka.ReplicaNotAvailable.
func (c *Controller) AssignDir(ctx context.Context, broker int32, topicID kafka.UUID, partition int32, dir kafka.UUID) error {
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		t := img.TopicByID(topicID)
		if t == nil || int(partition) >= len(t.Partitions) {
			return nil, fmt.Errorf("there is no partition %d of the topic with id %s: %w", partition, topicID, kafka.UnknownTopicID)
		}
		p := t.Partitions[partition]
		i := slices.Index(p.Replicas, broker)
		if i < 0 || i >= len(p.Dirs) {
			return nil, fmt.Errorf("broker %d has no replica of %s-%d: %w", broker, t.Name, partition, kafka.ReplicaNotAvailable)
		}
		if p.Dirs[i] == dir {
			return nil, nil
		}
		p.Dirs = slices.Clone(p.Dirs)
		p.Dirs[i] = dir
		p.PartitionEpoch++
		return []metadata.Record{metadata.PartitionRecord{TopicID: topicID, Index: partition, Partition: p}}, nil
	})
	return err
}
