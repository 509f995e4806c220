package load

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// stragglers is how long a run waits for records that were acknowledged and not read yet.
const stragglers = 10 * time.Second

// EndToEnd measures how long a record takes from when it was due to when a consumer that waits for it has it. The plan has
// a rate: without one the time would be that in the producer's buffer.
func (p Plan) EndToEnd(ctx context.Context) (rows []Row, err error) {
	p.Clients = 1
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close(ctx, &err)
	spans, err := r.spans(ctx)
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for partition, s := range spans {
		s.next, s.end = s.end, math.MaxInt64
		from[partition] = kgo.NewOffset().At(s.next)
	}
	cl, err := r.Connect(ctx, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: from}), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	c := newReading(r, newMeter(), spans)
	c.onOurs = func(s stamp) { c.m.took.add(time.Duration(r.now() - s.due)) }
	reading, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() { err = c.poll(reading, []*kgo.Client{cl}, 0) })
	wrote, werr := r.produce(ctx, "produce")
	if wrote != nil && werr == nil && r.Acks != kgo.NoAck() {
		c.await(ctx, wrote.records.Load())
	}
	end()
	wg.Wait()
	if wrote == nil {
		return nil, werr
	}
	rows = []Row{wrote.row("produce"), c.row("end-to-end")}
	switch {
	case err != nil:
	case werr != nil:
		err = werr
	case ctx.Err() == nil && r.Acks != kgo.NoAck() && c.m.sum.Load() != wrote.sum.Load():
		err = fmt.Errorf("%d records were acknowledged, and %d came within %v, and they are not the same", wrote.records.Load(), c.m.records.Load(), stragglers)
	default:
		rows[0].Verified = c.m.records.Load()
	}
	return rows, stopped(ctx, err)
}

// await waits until n records were read, for as long as stragglers may take.
func (c *reading) await(ctx context.Context, n int64) {
	for end := time.Now().Add(stragglers); c.m.records.Load() < n && time.Now().Before(end); {
		if !sleep(ctx, 5*time.Millisecond) {
			return
		}
	}
}
