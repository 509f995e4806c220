package api

import (
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

// unverifiedBatch is the first batch of a transaction in a partition, and its place in the
// answer. It is in the request's memory.
type unverifiedBatch struct {
	topic, partition int
	target           *replica.Partition
	records          []byte
	verification     *commitlog.Verification
}

// judgeTransaction finds out who the transactional batches of a request come from, or why all
// of it is refused.
func (p *producing) judgeTransaction(req *wire.ProduceRequest) {
	found := false
	for i := range req.TopicData {
		for j := range req.TopicData[i].PartitionData {
			h, err := batch.ParseHeader(req.TopicData[i].PartitionData[j].Records)
			if err != nil || !h.IsTransactional() {
				continue
			}
			switch {
			case req.TransactionalID == nil:
				p.refused = kafka.TransactionalIDAuthorizationFailed
				return
			case !found:
				if p.refused = p.api.by(p.r).txn(kafka.OpWrite, *req.TransactionalID); p.refused != nil {
					return
				}
				p.txn = txn.Request{TransactionalID: *req.TransactionalID, ProducerID: h.ProducerID, Epoch: h.ProducerEpoch}
				found = true
			case h.ProducerID != p.txn.ProducerID || h.ProducerEpoch != p.txn.Epoch:
				p.refused = fmt.Errorf("the request holds transactional batches of several producers: %w", kafka.InvalidProducerIDMapping)
				return
			}
		}
	}
	if p.r.Header.Version >= 12 {
		p.txn.Version = txn.Version2
	}
}

// mayAppend says whether a batch may be appended at once. If not it has been refused, or it
// waits for the coordinator.
func (p *producing) mayAppend(i, j int, target *replica.Partition, records []byte) bool {
	h, err := batch.ParseHeader(records)
	if err != nil || !h.IsTransactional() {
		return true // or Append says what is wrong
	}
	v, err := replica.Verify(target, h, p.txn.Version >= txn.Version2)
	switch {
	case err != nil:
		p.placed(i, j, replica.AppendResult{LogStart: kafka.NoOffset}, err)
		return false
	case v == nil: // the transaction is open there
		return true
	}
	p.unverified = append(p.unverified, unverifiedBatch{i, j, target, records, v})
	return false
}

// enterTransaction asks the coordinator for the batches that wait for its word, appends those
// that are in the transaction, and calls done. While the transaction before is being ended, it
// asks again for a while.
func (p *producing) enterTransaction(node *config.Node, done func()) {
	partitions := make([]kafka.TopicPartition, len(p.unverified))
	for i, b := range p.unverified {
		partitions[i] = b.target.TopicPartition()
	}
	if p.txn.Version < txn.Version2 {
		p.api.o.Txns.Verify(p.txn, partitions, func(codes []kafka.Error) {
			p.entered(func(i int) kafka.Error { return codes[i] })
			done()
		})
		return
	}
	until := time.Now().Add(time.Duration(node.AddPartitionsRetryMaxMs) * time.Millisecond)
	pause := time.Duration(node.AddPartitionsRetryMs) * time.Millisecond
	var add func()
	add = func() {
		p.api.o.Txns.Add(p.txn, partitions, func(code kafka.Error) {
			if code == kafka.ConcurrentTransactions && time.Now().Before(until) && p.r.Ctx.Err() == nil {
				time.AfterFunc(pause, add)
				return
			}
			p.entered(func(int) kafka.Error { return code })
			done()
		})
	}
	add()
}

// entered goes on with the batches that waited, by what the coordinator says of each.
func (p *producing) entered(code func(int) kafka.Error) {
	for i, b := range p.unverified {
		if err := p.verdict(code(i)); err != nil {
			p.placed(b.topic, b.partition, replica.AppendResult{LogStart: kafka.NoOffset}, err)
			continue
		}
		res, err := p.appendTo(b.target, b.records, b.verification)
		p.placed(b.topic, b.partition, res, err)
	}
}

// verdict is the error that a producer is told for what the coordinator says. A coordinator
// that can't be asked just now is an error that each producer tries again after.
// Source: Kafka's ReplicaManager.handleProduceAppend.
func (p *producing) verdict(code kafka.Error) error {
	switch code = unverified(code, p.r.Header.Version >= 11); {
	case code == kafka.NoError:
		return nil
	case code == kafka.InvalidTxnState, code == kafka.TransactionAbortable:
		return fmt.Errorf("the partition is not part of the transaction: %w", code)
	case code == kafka.CoordinatorLoadInProgress, code == kafka.CoordinatorNotAvailable, code == kafka.NotCoordinator,
		code == kafka.ConcurrentTransactions && p.txn.Version < txn.Version2:
		return fmt.Errorf("the coordinator can't say whether the partition is part of the transaction (%s): %w", code.Name(), kafka.NotEnoughReplicas)
	}
	return code
}
