package api

import (
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AddOffsetsToTxn, versions 0 to 4: adds the offsets of a group to a transaction, which is the
// partition of the offsets topic that the group belongs to.
//
//   - 2: PRODUCER_FENCED (KIP-588). Clients of transactions of version 2 need no such request.
func (a *API) addOffsetsToTxn(r *server.Request) error {
	var req wire.AddOffsetsToTxnRequest
	if err := read(r, &req); err != nil {
		return err
	}
	answer := func(code kafka.Error) {
		reply(r, &wire.AddOffsetsToTxnResponse{ErrorCode: fencedBefore(r, 2, code)})
	}
	if err := a.by(r).txn(kafka.OpWrite, req.TransactionalID); err != nil {
		answer(kafka.Code(err))
		return nil
	}
	if err := a.by(r).group(kafka.OpRead, req.GroupID); err != nil {
		answer(kafka.Code(err))
		return nil
	}
	partition, ok := a.o.Groups.Partition(req.GroupID)
	if !ok {
		answer(kafka.CoordinatorNotAvailable)
		return nil
	}
	who := txn.Request{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch, Version: txn.Version0}
	a.o.Txns.Add(who, []kafka.TopicPartition{{Topic: group.OffsetsTopic, Partition: partition}}, answer)
	return nil
}
