package api

import (
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// OffsetCommit, versions 2 to 10: commits offsets of a group, or of a consumer outside of one.
//
//   - Partitions that do not exist get UNKNOWN_TOPIC_OR_PARTITION, from 10 on, where topics
//     are named by id, UNKNOWN_TOPIC_ID; the others are committed together.
//   - The answer waits until the offsets are committed in the offsets topic.
//   - 5: no retention time (KIP-211). 7: static members (KIP-345). 9: GROUP_ID_NOT_FOUND, before
//     ILLEGAL_GENERATION (KIP-848). 10: topics by id.
func (a groups) offsetCommit(r *server.Request) error {
	var req wire.OffsetCommitRequest
	if err := read(r, &req); err != nil {
		return err
	}
	version := r.Header.Version
	commit := group.Commit{
		GroupID: req.GroupID, MemberID: req.MemberID, Instance: req.GroupInstanceID, Generation: req.GenerationIDOrMemberEpoch,
		RetentionTimeMs: req.RetentionTimeMs, Old: version < 9,
	}
	var resp wire.OffsetCommitResponse
	var asked []*int16 // where the answer to each offset of the commit goes
	topics := topicRefs{img: a.o.Cluster.Image(), byID: version >= 10, denied: a.by(r).group(kafka.OpRead, req.GroupID)}
	resp.Topics = make([]wire.OffsetCommitResponseTopic, 0, len(req.Topics))
	for i := range req.Topics {
		from := &req.Topics[i]
		if len(from.Partitions) == 0 {
			continue
		}
		resp.Topics = append(resp.Topics, wire.OffsetCommitResponseTopic{Name: from.Name, TopicID: from.TopicID})
		to := &resp.Topics[len(resp.Topics)-1]
		to.Partitions = make([]wire.OffsetCommitResponsePartition, len(from.Partitions))
		topic, code := topics.findFor(a.API, r, kafka.OpRead, from.Name, from.TopicID)
		for j := range from.Partitions {
			p, out := &from.Partitions[j], &to.Partitions[j]
			out.PartitionIndex = p.PartitionIndex
			switch {
			case topic == nil:
				out.ErrorCode = int16(code)
				continue
			case !hasPartition(topic, p.PartitionIndex):
				out.ErrorCode = int16(kafka.UnknownTopicOrPartition)
				continue
			}
			o := group.PartitionOffset{
				TopicPartition: kafka.TopicPartition{Topic: topic.Name, Partition: p.PartitionIndex}, TopicID: topic.ID,
				Offset: group.Offset{At: p.CommittedOffset, LeaderEpoch: p.CommittedLeaderEpoch},
			}
			if p.CommittedMetadata != nil {
				o.Metadata = *p.CommittedMetadata
			}
			commit.Offsets = append(commit.Offsets, o)
			asked = append(asked, &out.ErrorCode)
		}
	}
	if len(commit.Offsets) == 0 {
		reply(r, &resp)
		return nil
	}
	a.o.Groups.Commit(commit, func(res group.CommitResult) {
		spread(res, asked)
		reply(r, &resp)
	})
	return nil
}

// spread puts the result of a commit where each of its partitions' errors goes.
func spread(res group.CommitResult, to []*int16) {
	for i, code := range to {
		*code = int16(res.Err)
		if res.Err == kafka.NoError {
			*code = int16(res.Errors[i])
		}
	}
}
