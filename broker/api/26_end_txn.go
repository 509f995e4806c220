package api

import (
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// EndTxn, versions 0 to 5: commits or aborts a transaction.
//
//   - It is answered when the end is decided; readers of committed records see it when each
//     partition has its marker.
//   - A repeated request gets the same answer; one for the opposite, INVALID_TXN_STATE.
//   - 2: PRODUCER_FENCED (KIP-588). 5: transactions of version 2: the answer holds the producer id
//     and epoch of the next one, and one that has not begun may be aborted (KIP-890).
func (a *API) endTxn(r *server.Request) error {
	var req wire.EndTxnRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if err := a.by(r).txn(kafka.OpWrite, req.TransactionalID); err != nil {
		reply(r, &wire.EndTxnResponse{ErrorCode: int16(kafka.Code(err)), ProducerID: -1, ProducerEpoch: -1})
		return nil
	}
	who := txn.Request{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch, Version: txn.Version0}
	if r.Header.Version >= 5 {
		who.Version = txn.Version2
	}
	a.o.Txns.End(who, req.Committed, func(res txn.EndResult) {
		reply(r, &wire.EndTxnResponse{ErrorCode: fencedBefore(r, 2, res.Err), ProducerID: res.ProducerID, ProducerEpoch: res.Epoch})
	})
	return nil
}
