package api

import (
	"slices"
	"sync/atomic"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeTransactions, version 0: the transactions of transactional ids (KIP-664).
func (a *API) describeTransactions(r *server.Request) error {
	var req wire.DescribeTransactionsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeTransactionsResponse
	resp.TransactionStates = make([]wire.DescribeTransactionsResponseState, len(req.TransactionalIDs))
	var left atomic.Int64
	left.Store(1 + int64(len(req.TransactionalIDs)))
	done := func() {
		if left.Add(-1) == 0 {
			reply(r, &resp)
		}
	}
	for i, id := range req.TransactionalIDs {
		if err := a.by(r).txn(kafka.OpDescribe, id); err != nil {
			resp.TransactionStates[i].Default()
			resp.TransactionStates[i].TransactionalID, resp.TransactionStates[i].ErrorCode = id, int16(kafka.Code(err))
			done()
			continue
		}
		a.o.Txns.Describe(id, func(s wire.DescribeTransactionsResponseState) {
			s.Topics = slices.DeleteFunc(s.Topics, func(t wire.DescribeTransactionsResponseTopic) bool {
				return a.by(r).topic(kafka.OpDescribe, t.Topic) != nil
			})
			resp.TransactionStates[i] = s
			done()
		})
	}
	done()
	return nil
}
