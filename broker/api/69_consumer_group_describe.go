package api

import (
	"slices"
	"sync/atomic"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ConsumerGroupDescribe, versions 0 and 1 (KIP-848): state, epochs, members and assignments of
// groups of the consumer protocol.
//
//   - Any other group, and one that does not exist, gets GROUP_ID_NOT_FOUND.
//   - 1: which protocol a member speaks (KIP-1099).
func (a groups) consumerGroupDescribe(r *server.Request) error {
	var req wire.ConsumerGroupDescribeRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.ConsumerGroupDescribeResponse
	if len(req.GroupIDs) == 0 {
		reply(r, &resp)
		return nil
	}
	ids := slices.Clone(req.GroupIDs)
	resp.Groups = make([]wire.ConsumerGroupDescribeResponseGroup, len(ids))
	var left atomic.Int64
	left.Store(int64(len(ids)))
	for i, id := range ids {
		answer := func(g wire.ConsumerGroupDescribeResponseGroup) {
			a.hideTopics(r, &g)
			if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
				g.AuthorizedOperations = a.by(r).operations(kafka.ResourceGroup, id)
			}
			resp.Groups[i] = g
			if left.Add(-1) == 0 {
				reply(r, &resp)
			}
		}
		if err := a.by(r).group(kafka.OpDescribe, id); err != nil {
			var g wire.ConsumerGroupDescribeResponseGroup
			g.Default()
			g.GroupID = id
			g.ErrorCode, g.ErrorMessage = a.failure(err)
			answer(g)
			continue
		}
		a.o.Groups.DescribeConsumer(id, answer)
	}
	return nil
}

// hideTopics refuses a group whose members read topics that the client may not describe.
// Source: Kafka's handleConsumerGroupDescribe.
func (a groups) hideTopics(r *server.Request, g *wire.ConsumerGroupDescribeResponseGroup) {
	hidden := func(t wire.ConsumerGroupDescribeResponseTopicPartitions) bool {
		return !a.by(r).allowed(kafka.OpDescribe, kafka.ResourceTopic, t.TopicName)
	}
	for i := range g.Members {
		m := &g.Members[i]
		if slices.ContainsFunc(m.Assignment.TopicPartitions, hidden) || slices.ContainsFunc(m.TargetAssignment.TopicPartitions, hidden) {
			g.ErrorCode, g.Members = int16(kafka.TopicAuthorizationFailed), nil
			g.ErrorMessage = new("The group has described topic(s) that the client is not authorized to describe.")
			return
		}
	}
}
