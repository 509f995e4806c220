package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// bufferBytes is what a producer holds, as Kafka's buffer.memory.
	bufferBytes = 32 << 20
	// deliveryLimit is how long a record may wait for a cluster that does not take it.
	deliveryLimit = 60 * time.Second
	// enoughErrors end a run: what comes then is more of the same.
	enoughErrors = 1000
)

// Produce measures producers. The error says that something is wrong with what was measured; the rows are valid then too.
func (p Plan) Produce(ctx context.Context) (rows []Row, err error) {
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close(ctx, &err)
	m, err := r.produce(ctx, "produce")
	if m == nil {
		return nil, err
	}
	row := m.row("produce")
	if r.temporary && err == nil && r.Acks != kgo.NoAck() {
		row.Verified, err = r.ends(ctx, row)
	}
	return []Row{row}, stopped(ctx, err)
}

// ends checks that as many records are in the topic as were acknowledged.
func (r *run) ends(ctx context.Context, row Row) (int64, error) {
	spans, err := r.spans(ctx)
	if err != nil {
		return 0, err
	}
	have := int64(0)
	for _, s := range spans {
		have += s.end - s.next
	}
	if have < row.Records || r.Idempotent && row.Errors == 0 && have > row.Records {
		return 0, fmt.Errorf("%d records were acknowledged, but the topic has %d", row.Records, have)
	}
	return row.Records, nil
}

// producing are the producers of one phase.
type producing struct {
	*run
	m      *meter
	next   atomic.Int64 // number of the next record
	slots  sync.Pool
	cancel context.CancelFunc
}

// slot is a record on its way.
type slot struct {
	rec   kgo.Record
	value []byte
	due   time.Duration // since the begin of the phase
	crc   uint32
	done  func(*kgo.Record, error)
}

func (r *run) produceOpts(int) []kgo.Opt {
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(r.Topic), kgo.ProducerBatchCompression(r.Codec), kgo.ProducerBatchMaxBytes(r.BatchBytes), kgo.ProducerLinger(r.Linger),
		kgo.RequiredAcks(r.Acks), kgo.MaxBufferedRecords(1 << 30), kgo.MaxBufferedBytes(bufferBytes), kgo.RecordDeliveryTimeout(deliveryLimit), kgo.UnknownTopicRetries(4),
	}
	if !r.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(r.InFlight))
	}
	return opts
}

// produce sends the records of the plan. The meter is nil if none could be sent.
func (r *run) produce(ctx context.Context, phase string) (*meter, error) {
	clients, closeAll, err := r.clients(ctx, r.produceOpts)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	sending, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &producing{run: r, m: newMeter(), cancel: cancel}
	p.slots.New = p.newSlot
	defer p.m.tell(r.Progress, phase)()
	var wg sync.WaitGroup
	for i, cl := range clients {
		wg.Go(func() { p.send(sending, cl, i, len(clients)) })
	}
	wg.Wait()
	if n := p.m.errors.Load(); n > 0 {
		return p.m, fmt.Errorf("%d record(s) were not acknowledged; the first: %w", n, p.m.firstError())
	}
	return p.m, nil
}

func (p *producing) newSlot() any {
	s := &slot{value: make([]byte, p.RecordBytes)}
	s.done = func(_ *kgo.Record, err error) {
		switch {
		case err == nil:
			p.m.took.add(time.Since(p.m.begun) - s.due)
			p.m.done(1, int64(len(s.value)), uint64(s.crc))
		case errors.Is(err, context.Canceled): // nobody waits for it any more
		default:
			if p.m.fail(err); p.m.errors.Load() >= enoughErrors {
				p.cancel()
			}
		}
		p.slots.Put(s)
	}
	return s
}

// send produces the share of one of n clients, and waits until all of it is done. With a rate, a record is due at its time
// whether or not the cluster keeps up, and its latency begins there; without one, when it is handed to the producer.
func (p *producing) send(ctx context.Context, cl *kgo.Client, i, n int) {
	var gap time.Duration
	if p.Rate > 0 {
		gap = time.Duration(float64(time.Second) * float64(n) / p.Rate)
	}
	due := gap * time.Duration(i) / time.Duration(n)
	for ctx.Err() == nil {
		now := time.Since(p.m.begun)
		if p.Rate == 0 {
			due = now
		} else if due > now && !sleep(ctx, due-now) {
			break
		}
		seq := p.next.Add(1) - 1
		if p.Records > 0 && seq >= p.Records || p.Duration > 0 && due >= p.Duration {
			break
		}
		s := p.slots.Get().(*slot)
		s.due = due
		s.crc = p.Payload.fill(s.value, p.id, seq, int64(p.m.begun.Sub(p.origin)+due))
		s.rec = kgo.Record{Value: s.value}
		cl.Produce(ctx, &s.rec, s.done)
		due += gap
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliveryLimit+cleanupLimit)
	defer cancel()
	if err := cl.Flush(rest); err != nil {
		p.m.fail(err)
	}
}
