package api

import (
	"slices"

	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ListTransactions, versions 0 to 2: the transactional ids that this broker coordinates (KIP-664).
//
//   - A state that does not exist is told of and is no error.
//   - 1: by the age of the transaction (KIP-994). 2: by a regular expression (RE2) that the whole
//     id must match (KIP-1152).
func (a *API) listTransactions(r *server.Request) error {
	var req wire.ListTransactionsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.ListTransactionsResponse
	filter, unknown, err := txn.NewFilter(&req)
	if err != nil {
		resp.ErrorCode, _ = a.failure(err)
		reply(r, &resp)
		return nil
	}
	resp.UnknownStateFilters = unknown
	a.o.Txns.List(filter, func(ids []wire.ListTransactionsResponseState, code kafka.Error) {
		if resp.ErrorCode = int16(code); code != kafka.NoError {
			resp.UnknownStateFilters = nil
		}
		resp.TransactionStates = slices.DeleteFunc(ids, func(s wire.ListTransactionsResponseState) bool {
			return !a.by(r).allowed(kafka.OpDescribe, kafka.ResourceTransactionalID, s.TransactionalID)
		})
		reply(r, &resp)
	})
	return nil
}
