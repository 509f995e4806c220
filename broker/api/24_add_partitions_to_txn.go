package api

import (
	"sync/atomic"

	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AddPartitionsToTxn, versions 0 to 5: adds partitions to transactions.
//
//   - All partitions of a transaction are added, or none: beside one that does not exist the
//     others get OPERATION_NOT_ATTEMPTED.
//   - 2: PRODUCER_FENCED (KIP-588). 4: what a broker asks on behalf of its clients: many
//     transactions, and whether partitions are in them (KIP-890).
func (a *API) addPartitionsToTxn(r *server.Request) error {
	var req wire.AddPartitionsToTxnRequest
	if err := read(r, &req); err != nil {
		return err
	}
	version := txn.Version0
	if r.Header.Version >= 4 {
		if err := a.by(r).cluster(kafka.OpClusterAction); err != nil {
			reply(r, &wire.AddPartitionsToTxnResponse{ErrorCode: int16(kafka.Code(err))})
			return nil
		}
		version = txn.Version2
	} else {
		req.Transactions = []wire.AddPartitionsToTxnRequestTransaction{{
			TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, Topics: req.Topics,
		}}
	}
	var resp wire.AddPartitionsToTxnResponse
	resp.Default()
	resp.ResultsByTransaction = make([]wire.AddPartitionsToTxnResponseResult, len(req.Transactions))
	var left atomic.Int64
	left.Store(1 + int64(len(req.Transactions)))
	done := func() {
		if left.Add(-1) > 0 {
			return
		}
		if r.Header.Version < 4 {
			resp.ResultsByTopic = resp.ResultsByTransaction[0].TopicResults
		}
		reply(r, &resp)
	}
	for i := range req.Transactions {
		a.addToTxn(r, &req.Transactions[i], version, &resp.ResultsByTransaction[i], done)
	}
	done()
	return nil
}

// addToTxn adds the partitions of one transaction, or looks for them, and fills the answer in.
func (a *API) addToTxn(r *server.Request, ask *wire.AddPartitionsToTxnRequestTransaction, version int8, out *wire.AddPartitionsToTxnResponseResult, done func()) {
	img := a.o.Cluster.Image()
	out.TransactionalID = ask.TransactionalID
	var partitions []kafka.TopicPartition
	var codes []*int16
	missing := false
	denied := error(nil)
	if r.Header.Version < 4 {
		denied = a.by(r).txn(kafka.OpWrite, ask.TransactionalID)
	}
	out.TopicResults = make([]wire.AddPartitionsToTxnResponseTopicResult, len(ask.Topics))
	for i, t := range ask.Topics {
		to := &out.TopicResults[i]
		to.Name = t.Name
		to.ResultsByPartition = make([]wire.AddPartitionsToTxnResponsePartitionResult, len(t.Partitions))
		topic := img.Topic(t.Name)
		refused := denied
		if refused == nil && r.Header.Version < 4 {
			refused = a.by(r).topic(kafka.OpWrite, t.Name)
		}
		for j, index := range t.Partitions {
			p := &to.ResultsByPartition[j]
			p.PartitionIndex = index
			if refused != nil {
				p.PartitionErrorCode, missing = int16(kafka.Code(refused)), true
				continue
			}
			if topic == nil || !hasPartition(topic, index) {
				p.PartitionErrorCode, missing = int16(kafka.UnknownTopicOrPartition), true
				continue
			}
			partitions = append(partitions, kafka.TopicPartition{Topic: t.Name, Partition: index})
			codes = append(codes, &p.PartitionErrorCode)
		}
	}
	who := txn.Request{TransactionalID: ask.TransactionalID, ProducerID: ask.ProducerID, Epoch: ask.ProducerEpoch, Version: version}
	all := func(code int16) {
		for _, c := range codes {
			*c = code
		}
		done()
	}
	switch {
	case missing:
		all(int16(kafka.OperationNotAttempted))
	case ask.VerifyOnly:
		a.o.Txns.Verify(who, partitions, func(found []kafka.Error) {
			for i, code := range found {
				*codes[i] = int16(code)
			}
			done()
		})
	default:
		a.o.Txns.Add(who, partitions, func(code kafka.Error) { all(fencedBefore(r, 2, code)) })
	}
}
