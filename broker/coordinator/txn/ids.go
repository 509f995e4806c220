package txn

import (
	"context"
	"sync"
)

// producerIDBlock is how many producer ids the broker takes from the controller at a time,
// as Kafka does (KIP-730). What is left of a block when the broker stops is never used.
const producerIDBlock = 1000

// ProducerIDs hands out ids of a block that the controller has granted to this broker, and
// asks for the next block when it is used up. It may be used from any goroutine.
type ProducerIDs struct {
	allocate func(ctx context.Context, n int64) (first int64, err error)
	refill   sync.Mutex // held while a block is asked for; taken before mu
	mu       struct {
		sync.Mutex
		next, end int64 // ids not handed out: [next, end)
	}
}

// NewProducerIDs makes a source of ids; allocate takes n that nobody had before, from first on.
func NewProducerIDs(allocate func(ctx context.Context, n int64) (first int64, err error)) *ProducerIDs {
	return &ProducerIDs{allocate: allocate}
}

// Take hands out an id, if the block has one.
func (p *ProducerIDs) Take() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.next == p.mu.end {
		return 0, false
	}
	p.mu.next++
	return p.mu.next - 1, true
}

// Wait hands out an id and gets a block first where that is needed. One caller asks, the
// others wait for it.
func (p *ProducerIDs) Wait(ctx context.Context) (int64, error) {
	if err := p.Refill(ctx); err != nil {
		return 0, err
	}
	if id, ok := p.Take(); ok {
		return id, nil
	}
	return p.Wait(ctx) // others were faster
}

// Refill sees to it that the block has an id.
func (p *ProducerIDs) Refill(ctx context.Context) error {
	p.refill.Lock()
	defer p.refill.Unlock()
	p.mu.Lock()
	empty := p.mu.next == p.mu.end
	p.mu.Unlock()
	if !empty {
		return nil
	}
	first, err := p.allocate(ctx, producerIDBlock)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.mu.next, p.mu.end = first, first+producerIDBlock
	p.mu.Unlock()
	return nil
}
