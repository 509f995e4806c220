package api

import (
	"slices"
	"sync/atomic"

	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// OffsetFetch, versions 1 to 10: reads committed offsets.
//
//   - A group or partition without an offset is no error: the offset is -1, also of a group
//     that does not exist.
//   - 2: all topics where the list is null, an error for the whole group; before, it is in each
//     partition. 7: an offset that an open transaction is about to change is an error where the
//     client asks for stable ones, UNSTABLE_OFFSET_COMMIT (KIP-447). 8: many groups (KIP-709).
//     9: a member of a group of the consumer protocol says so, and gets STALE_MEMBER_EPOCH when
//     it is not in its epoch (KIP-848). 10: topics by id.
func (a groups) offsetFetch(r *server.Request) error {
	var req wire.OffsetFetchRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if r.Header.Version < 8 {
		a.fetchOneGroup(r, &req)
		return nil
	}
	var resp wire.OffsetFetchResponse
	resp.Groups = make([]wire.OffsetFetchResponseGroup, len(req.Groups))
	if len(req.Groups) == 0 {
		reply(r, &resp)
		return nil
	}
	var left atomic.Int64
	left.Store(int64(len(req.Groups)))
	for i := range req.Groups {
		a.fetchGroup(r, req.RequireStable, &req.Groups[i], &resp.Groups[i], func() {
			if left.Add(-1) == 0 {
				reply(r, &resp)
			}
		})
	}
	return nil
}

// fetchOneGroup answers in the layout of versions before 8.
func (a groups) fetchOneGroup(r *server.Request, req *wire.OffsetFetchRequest) {
	ask := &wire.OffsetFetchRequestGroup{GroupID: req.GroupID, MemberEpoch: -1}
	for _, t := range req.Topics {
		ask.Topics = append(ask.Topics, wire.OffsetFetchRequestGroupTopic{Name: t.Name, PartitionIndexes: t.PartitionIndexes})
	}
	if req.Topics != nil && ask.Topics == nil {
		ask.Topics = []wire.OffsetFetchRequestGroupTopic{} // none, which is not all
	}
	got := new(wire.OffsetFetchResponseGroup)
	a.fetchGroup(r, req.RequireStable, ask, got, func() {
		if r.Header.Version < 2 && got.ErrorCode != 0 {
			got.Topics = failedTopics(ask, got.ErrorCode)
		}
		resp := wire.OffsetFetchResponse{ErrorCode: got.ErrorCode}
		for _, t := range got.Topics {
			out := wire.OffsetFetchResponseTopic{Name: t.Name}
			for _, p := range t.Partitions {
				out.Partitions = append(out.Partitions, wire.OffsetFetchResponsePartition(p))
			}
			resp.Topics = append(resp.Topics, out)
		}
		reply(r, &resp)
	})
}

// failedTopics is the answer of a group with an error, in version 1.
func failedTopics(ask *wire.OffsetFetchRequestGroup, code int16) []wire.OffsetFetchResponseGroupTopic {
	var topics []wire.OffsetFetchResponseGroupTopic
	for _, t := range ask.Topics {
		out := wire.OffsetFetchResponseGroupTopic{Name: t.Name}
		for _, index := range t.PartitionIndexes {
			out.Partitions = append(out.Partitions, fetched(index, group.NoOffset(), kafka.Error(code)))
		}
		topics = append(topics, out)
	}
	return topics
}

// fetched is an offset in an answer.
func fetched(index int32, o group.Offset, code kafka.Error) wire.OffsetFetchResponseGroupPartition {
	return wire.OffsetFetchResponseGroupPartition{
		PartitionIndex: index, CommittedOffset: o.At, CommittedLeaderEpoch: o.LeaderEpoch, Metadata: &o.Metadata, ErrorCode: int16(code),
	}
}

// fetched is an offset in an answer, or an error where it is not stable.
func (t topicRefs) fetched(index int32, o group.Offset) wire.OffsetFetchResponseGroupPartition {
	if t.stable && o.Unstable {
		return fetched(index, group.NoOffset(), kafka.UnstableOffsetCommit)
	}
	return fetched(index, o, kafka.NoError)
}

// fetchGroup fills the answer for one group in, then calls done.
func (a groups) fetchGroup(r *server.Request, stable bool, ask *wire.OffsetFetchRequestGroup, out *wire.OffsetFetchResponseGroup, done func()) {
	out.GroupID = ask.GroupID
	if err := a.by(r).group(kafka.OpDescribe, ask.GroupID); err != nil {
		out.ErrorCode, _ = a.failure(err)
		done()
		return
	}
	topics := topicRefs{img: a.o.Cluster.Image(), byID: r.Header.Version >= 10, stable: stable}
	who := group.Reader{MemberID: ask.MemberID, Epoch: ask.MemberEpoch}
	if ask.Topics == nil {
		a.o.Groups.FetchAll(ask.GroupID, who, func(offsets []group.PartitionOffset, code kafka.Error) {
			out.ErrorCode = int16(code)
			offsets = slices.DeleteFunc(offsets, func(o group.PartitionOffset) bool {
				return !a.by(r).allowed(kafka.OpDescribe, kafka.ResourceTopic, o.Topic)
			})
			out.Topics = topics.group(offsets)
			done()
		})
		return
	}
	var partitions []kafka.TopicPartition
	out.Topics = make([]wire.OffsetFetchResponseGroupTopic, len(ask.Topics))
	for i := range ask.Topics {
		from, to := &ask.Topics[i], &out.Topics[i]
		to.Name, to.TopicID = from.Name, from.TopicID
		name, code := from.Name, kafka.NoError
		if err := a.by(r).topicRef(kafka.OpDescribe, topicRef{name: name, id: from.TopicID, byID: topics.byID}); err != nil {
			code = kafka.Code(err)
		} else if topics.byID {
			name = ""
			topic, missing := topics.find("", from.TopicID)
			if code = missing; topic != nil {
				name = topic.Name
			}
		}
		for _, index := range from.PartitionIndexes {
			to.Partitions = append(to.Partitions, fetched(index, group.NoOffset(), code))
			if code == kafka.NoError {
				partitions = append(partitions, kafka.TopicPartition{Topic: name, Partition: index})
			}
		}
	}
	a.o.Groups.Fetch(ask.GroupID, who, partitions, func(offsets []group.Offset, code kafka.Error) {
		if out.ErrorCode = int16(code); code != kafka.NoError {
			out.Topics = nil
		}
		for i := range out.Topics {
			for j := range out.Topics[i].Partitions {
				if p := &out.Topics[i].Partitions[j]; p.ErrorCode == 0 {
					*p = topics.fetched(p.PartitionIndex, offsets[0])
					offsets = offsets[1:]
				}
			}
		}
		done()
	})
}

// group puts offsets together by topic, in order. Where topics are named by id, those that
// are no more have none and are left out.
func (t topicRefs) group(offsets []group.PartitionOffset) []wire.OffsetFetchResponseGroupTopic {
	slices.SortFunc(offsets, func(a, b group.PartitionOffset) int { return compareTP(a.TopicPartition, b.TopicPartition) })
	var out []wire.OffsetFetchResponseGroupTopic
	for i := range offsets {
		o := &offsets[i]
		if n := len(out); n == 0 || out[n-1].Name != o.Topic {
			next := wire.OffsetFetchResponseGroupTopic{Name: o.Topic}
			if topic := t.img.Topic(o.Topic); topic != nil {
				next.TopicID = topic.ID
			}
			out = append(out, next)
		}
		last := &out[len(out)-1]
		last.Partitions = append(last.Partitions, t.fetched(o.Partition, o.Offset))
	}
	if t.byID {
		out = slices.DeleteFunc(out, func(o wire.OffsetFetchResponseGroupTopic) bool { return o.TopicID.IsZero() })
	}
	return out
}
