package api

import (
	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// TxnOffsetCommit, versions 0 to 6: commits offsets of a group when a transaction is committed.
//
//   - The offsets are pending until the marker of the transaction is in the partition of the
//     group, and are dropped when that aborts it.
//   - The transaction must include the partition of the group: INVALID_TXN_STATE or, from 4 on,
//     TRANSACTION_ABORTABLE if not. From 5 on it is added by this request (KIP-890).
//   - 3: a member is fenced by its generation and instance (KIP-447). 6: topics by id (KIP-1319).
func (a groups) txnOffsetCommit(r *server.Request) error {
	var req wire.TxnOffsetCommitRequest
	if err := read(r, &req); err != nil {
		return err
	}
	commit := group.TxnCommit{
		Commit: group.Commit{GroupID: req.GroupID, MemberID: req.MemberID, Instance: req.GroupInstanceID, Generation: req.GenerationID, RetentionTimeMs: -1},
		Txn:    coordinator.Txn{ProducerID: req.ProducerID, Epoch: req.ProducerEpoch},
	}
	var resp wire.TxnOffsetCommitResponse
	var asked []*int16 // where the answer to each offset of the commit goes
	topics := topicRefs{img: a.o.Cluster.Image(), byID: r.Header.Version >= 6, denied: a.by(r).txn(kafka.OpWrite, req.TransactionalID)}
	if topics.denied == nil {
		topics.denied = a.by(r).group(kafka.OpRead, req.GroupID)
	}
	resp.Topics = make([]wire.TxnOffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Name, to.TopicID = from.Name, from.TopicID
		to.Partitions = make([]wire.TxnOffsetCommitResponsePartition, len(from.Partitions))
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
	done := func(res group.CommitResult) {
		spread(res, asked)
		reply(r, &resp)
	}
	who := txn.Request{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch}
	a.enterGroup(r, who, req.GroupID, func(v *commitlog.Verification, code kafka.Error) {
		if code != kafka.NoError {
			done(group.CommitResult{Err: code})
			return
		}
		commit.Txn.Verification = v
		a.o.Groups.CommitTxn(commit, done)
	})
	return nil
}

// enterGroup sees to it that a transaction includes the partition of a group: it looks, or
// adds it where the client relies on that.
func (a groups) enterGroup(r *server.Request, who txn.Request, groupID string, done func(*commitlog.Verification, kafka.Error)) {
	if groupID == "" {
		done(nil, kafka.InvalidGroupID)
		return
	}
	index, ok := a.o.Groups.Partition(groupID)
	if !ok {
		done(nil, kafka.NotCoordinator)
		return
	}
	p, err := a.o.Replicas.Partition(group.OffsetsTopic, index)
	if err != nil {
		done(nil, coordinator.Code(err))
		return
	}
	adds := r.Header.Version >= 5
	v, err := replica.Verify(p, batch.Header{ProducerID: who.ProducerID, ProducerEpoch: who.Epoch, BaseSequence: -1}, adds)
	if err != nil || v == nil { // or the transaction is open there
		done(nil, coordinator.Code(err))
		return
	}
	answer := func(code kafka.Error) { done(v, unverified(code, r.Header.Version >= 4)) }
	partition := []kafka.TopicPartition{{Topic: group.OffsetsTopic, Partition: index}}
	if adds {
		who.Version = txn.Version2
		a.o.Txns.Add(who, partition, answer)
		return
	}
	a.o.Txns.Verify(who, partition, func(codes []kafka.Error) { answer(codes[0]) })
}
