package api

import (
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// InitProducerId, versions 0 to 5: an id for an idempotent or transactional producer.
//
//   - Without a transactional id every request gets a new id with epoch 0, also when the
//     client names the id it had (KIP-360).
//   - With one, the producer gets the id's next epoch, and whoever had it before is fenced. A
//     transaction that is open is aborted first: CONCURRENT_TRANSACTIONS, and the client asks again.
//   - 3: a producer that names its id and epoch goes on after an error (KIP-360). 4: one that has
//     been fenced gets PRODUCER_FENCED, before INVALID_PRODUCER_EPOCH (KIP-588).
func (a *API) initProducerID(r *server.Request) error {
	var req wire.InitProducerIDRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.InitProducerIDResponse
	resp.Default()
	resp.ProducerEpoch = -1
	denied := error(nil)
	if req.TransactionalID != nil {
		denied = a.by(r).txn(kafka.OpWrite, *req.TransactionalID)
	} else {
		denied = a.by(r).idempotent()
	}
	switch {
	case denied != nil:
		resp.ErrorCode = int16(kafka.Code(denied))
		reply(r, &resp)
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		resp.ErrorCode = int16(kafka.InvalidRequest)
		reply(r, &resp)
	case req.TransactionalID != nil:
		init := txn.InitRequest{
			TransactionalID: *req.TransactionalID, TimeoutMs: req.TransactionTimeoutMs, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch,
		}
		a.o.Txns.Init(init, func(res txn.InitResult) {
			resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = fencedBefore(r, 4, res.Err), res.ProducerID, res.Epoch
			reply(r, &resp)
		})
	default:
		a.anyProducerID(r, &resp)
	}
	return nil
}

// anyProducerID answers with a new id.
func (a *API) anyProducerID(r *server.Request, resp *wire.InitProducerIDResponse) {
	if id, ok := a.o.ProducerIDs.Take(); ok {
		resp.ProducerID, resp.ProducerEpoch = id, 0
		reply(r, resp)
		return
	}
	r.Go(func() {
		id, err := a.o.ProducerIDs.Wait(r.Ctx)
		if err != nil {
			a.o.Logger.Warn("no producer ids from the controller", "error", err)
			resp.ErrorCode = int16(kafka.CoordinatorLoadInProgress) // retriable, and what Kafka answers
		} else {
			resp.ProducerID, resp.ProducerEpoch = id, 0
		}
		reply(r, resp)
	})
}
