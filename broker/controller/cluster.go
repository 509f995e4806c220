package controller

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/hashicorp/raft"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// UnregisterBroker takes a broker that is gone out of the cluster: it leads nothing and is in
// sync with nothing any more. It stays among the replicas of its partitions, as in Kafka. This
// node cannot be removed, because it runs. Errors: kafka.BrokerIDNotRegistered.
func (c *Controller) UnregisterBroker(ctx context.Context, id int32) error {
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		b := img.Broker(id)
		switch {
		case b == nil:
			return nil, fmt.Errorf("broker %d is not registered: %w", id, kafka.BrokerIDNotRegistered)
		case id == c.opts.NodeID:
			return nil, fmt.Errorf("broker %d runs, and it leads the metadata: stop it first, and ask another one: %w", id, kafka.InvalidRequest)
		}
		records := []metadata.Record{metadata.RemoveBrokerRecord{ID: id, Epoch: b.Epoch}}
		for t := range img.Topics() {
			for i, part := range t.Partitions {
				if next, changed := without(img, part, id); changed {
					records = append(records, metadata.PartitionRecord{TopicID: t.ID, Index: int32(i), Partition: next})
				}
			}
		}
		return records, nil
	})
	return err
}

// without is a partition that a broker neither leads nor is in sync with. The last one in sync
// stays so: nobody else has the data.
func without(img *metadata.Image, part metadata.Partition, id int32) (metadata.Partition, bool) {
	if part.Leader != id && !slices.Contains(part.ISR, id) {
		return part, false
	}
	if len(part.ISR) > 1 {
		part.ISR = slices.DeleteFunc(slices.Clone(part.ISR), func(r int32) bool { return r == id })
	}
	if part.Leader == id {
		part.Leader = metadata.NoLeader
		for _, r := range part.ISR {
			if b := img.Broker(r); r != id && b != nil && !b.Fenced {
				part.Leader = r
				break
			}
		}
		part.LeaderEpoch++
	}
	part.PartitionEpoch++
	return part, true
}

// Quorum is the state of the metadata log.
type Quorum struct {
	LeaderID int32 // -1 when nobody leads
	Term     int32 // of the newest election
	// CommittedEnd is behind the last committed entry, LogEnd behind this node's last one.
	CommittedEnd, LogEnd int64
	Voters, Observers    []int32
}

// Quorum tells how the metadata log stands, as this node sees it.
func (c *Controller) Quorum() (Quorum, error) {
	q := Quorum{
		LeaderID: c.LeaderID(), Term: int32(min(c.raft.CurrentTerm(), math.MaxInt32)),
		CommittedEnd: int64(c.raft.CommitIndex()) + 1, LogEnd: int64(c.raft.LastIndex()) + 1,
	}
	f := c.raft.GetConfiguration()
	if err := c.await(f); err != nil {
		return q, fmt.Errorf("members of the metadata quorum: %v: %w", err, kafka.NotController)
	}
	for _, s := range f.Configuration().Servers {
		id, err := strconv.ParseInt(string(s.ID), 10, 32)
		if err != nil {
			return q, fmt.Errorf("member %q of the metadata quorum is no node id: %w", s.ID, kafka.UnknownServerError)
		}
		if s.Suffrage == raft.Voter {
			q.Voters = append(q.Voters, int32(id))
		} else {
			q.Observers = append(q.Observers, int32(id))
		}
	}
	return q, nil
}
