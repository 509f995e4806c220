package api

import (
	"context"
	"sync"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// producerIDBlock is how many producer ids the broker takes from the controller at a time,
// as Kafka does (KIP-730). What is left of a block when the broker stops is never used.
const producerIDBlock = 1000

// InitProducerId, versions 0 to 5: an id for an idempotent producer.
//
//   - Without a transactional id every request gets a new id with epoch 0, also when the
//     client names the id it had (KIP-360).
//   - Epochs of transactional producers, and the errors that 4 and 5 add for them, wait for
//     the coordinator.
//
// Gaps: there is no transaction coordinator. A request with a transactional id gets
// COORDINATOR_NOT_AVAILABLE, on which clients look for the coordinator again and then find
// that there is none for transactions.
func (a *API) initProducerID(r *server.Request) error {
	var req wire.InitProducerIDRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.InitProducerIDResponse
	resp.Default()
	resp.ProducerEpoch = -1
	switch {
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1),
		req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = int16(kafka.InvalidRequest)
	case req.TransactionalID != nil:
		resp.ErrorCode = int16(kafka.CoordinatorNotAvailable)
	default:
		if id, ok := a.producerIDs.take(); ok {
			resp.ProducerID, resp.ProducerEpoch = id, 0
			break
		}
		r.Go(func() {
			id, err := a.producerIDs.wait(r.Ctx)
			if err != nil {
				a.o.Logger.Warn("no producer ids from the controller", "error", err)
				resp.ErrorCode = int16(kafka.CoordinatorLoadInProgress) // retriable, and what Kafka answers
			} else {
				resp.ProducerID, resp.ProducerEpoch = id, 0
			}
			reply(r, &resp)
		})
		return nil
	}
	reply(r, &resp)
	return nil
}

// producerIDs hands out ids of a block that the controller has granted to this broker, and
// asks for the next block when it is used up.
type producerIDs struct {
	allocate func(ctx context.Context, n int64) (first int64, err error)
	refill   sync.Mutex // held while a block is asked for; taken before mu
	mu       struct {
		sync.Mutex
		next, end int64 // ids not handed out: [next, end)
	}
}

// take hands out an id, if the block has one.
func (p *producerIDs) take() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.next == p.mu.end {
		return 0, false
	}
	p.mu.next++
	return p.mu.next - 1, true
}

// wait hands out an id and gets a block first where that is needed. One caller asks, the
// others wait for it.
func (p *producerIDs) wait(ctx context.Context) (int64, error) {
	p.refill.Lock()
	defer p.refill.Unlock()
	if id, ok := p.take(); ok {
		return id, nil
	}
	first, err := p.allocate(ctx, producerIDBlock)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	p.mu.next, p.mu.end = first+1, first+producerIDBlock
	p.mu.Unlock()
	return first, nil
}
