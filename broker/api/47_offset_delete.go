package api

import (
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// OffsetDelete, version 0 (KIP-496): deletes committed offsets, but not those of topics that
// the group's members read.
func (a groups) offsetDelete(r *server.Request) error {
	var req wire.OffsetDeleteRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.OffsetDeleteResponse
	var asked []*int16
	var partitions []kafka.TopicPartition
	if err := a.by(r).group(kafka.OpDelete, req.GroupID); err != nil {
		resp.ErrorCode, _ = a.failure(err)
		reply(r, &resp)
		return nil
	}
	topics := topicRefs{img: a.o.Cluster.Image()}
	refused := false
	resp.Topics = make([]wire.OffsetDeleteResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Name = from.Name
		to.Partitions = make([]wire.OffsetDeleteResponsePartition, len(from.Partitions))
		topic, code := topics.findFor(a.API, r, kafka.OpRead, from.Name, kafka.UUID{})
		for j := range from.Partitions {
			index, out := from.Partitions[j].PartitionIndex, &to.Partitions[j]
			out.PartitionIndex = index
			if topic == nil {
				out.ErrorCode = int16(code)
				refused = refused || code == kafka.TopicAuthorizationFailed
				continue
			}
			if !hasPartition(topic, index) {
				out.ErrorCode = int16(kafka.UnknownTopicOrPartition)
				continue
			}
			partitions = append(partitions, kafka.TopicPartition{Topic: topic.Name, Partition: index})
			asked = append(asked, &out.ErrorCode)
		}
	}
	if refused && len(partitions) == 0 { // as Kafka, which does not ask the group then
		reply(r, &resp)
		return nil
	}
	a.o.Groups.DeleteOffsets(req.GroupID, partitions, func(res group.CommitResult) {
		if res.Err != kafka.NoError { // it is the answer's, which then names no partition
			resp.ErrorCode, resp.Topics = int16(res.Err), nil
		} else {
			spread(res, asked)
			if gone := deletedOffsets(partitions, res.Errors); len(gone) > 0 {
				a.by(r).did(nil, "group", req.GroupID, "offsets", listed(gone))
			}
		}
		reply(r, &resp)
	})
	return nil
}

// deletedOffsets is the partitions of which no error tells that their offset stays.
func deletedOffsets(asked []kafka.TopicPartition, errs []kafka.Error) (gone []kafka.TopicPartition) {
	for i, tp := range asked {
		if errs[i] == kafka.NoError {
			gone = append(gone, tp)
		}
	}
	return gone
}
