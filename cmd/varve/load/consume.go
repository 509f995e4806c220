package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// span is a part of a partition that is to be read.
type span struct{ next, end int64 }

// reading checks what consumers read: each partition's offsets in order, each of our records intact. It may be used from
// many goroutines.
type reading struct {
	m      *meter
	run    uint64
	dense  bool          // no offset may be missing: nobody else writes, and nothing is compacted
	limit  int64         // records; 0 = all
	whole  chan struct{} // closed when all is read
	onOurs func(s stamp) // told of each record of this run; nil = nobody

	mu struct {
		sync.Mutex
		spans    map[int32]*span
		open     int // spans that have not come to their end
		verified int64
		foreign  int64
		over     bool
	}
}

func newReading(r *run, m *meter, spans map[int32]*span) *reading {
	c := &reading{m: m, run: r.id, dense: r.temporary, whole: make(chan struct{})}
	c.mu.spans = spans
	for _, s := range spans {
		if s.next < s.end {
			c.mu.open++
		}
	}
	if c.mu.open == 0 {
		c.finish()
	}
	return c
}

func (c *reading) finish() {
	if !c.mu.over {
		c.mu.over = true
		close(c.whole)
	}
}

// take checks the records of one partition. Those behind the end, and those that come again after a rebalance, are not counted.
func (c *reading) take(partition int32, records []*kgo.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.spans[partition]
	if s == nil || c.mu.over {
		return nil
	}
	n, bytes, sum, was := int64(0), int64(0), uint64(0), s.next
	for _, r := range records {
		if r.Offset < s.next || r.Offset >= s.end {
			continue
		}
		if c.dense && r.Offset != s.next {
			return fmt.Errorf("partition %d: offset %d came where %d was due", partition, r.Offset, s.next)
		}
		s.next = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		n, bytes = n+1, bytes+int64(len(r.Value))
		st, stamped, intact := readStamp(r.Value)
		switch {
		case stamped && !intact:
			return fmt.Errorf("partition %d, offset %d: what was read is not what was written: its checksum is wrong", partition, r.Offset)
		case stamped:
			c.mu.verified++
			if st.run == c.run {
				sum += uint64(st.crc)
				if c.onOurs != nil {
					c.onOurs(st)
				}
			}
		default:
			c.mu.foreign++
		}
		if c.limit > 0 && c.m.records.Load()+n >= c.limit {
			break
		}
	}
	if n > 0 {
		c.m.done(n, bytes, sum)
	}
	if s.next >= s.end && was < s.end {
		c.mu.open--
	}
	if c.mu.open == 0 || c.limit > 0 && c.m.records.Load() >= c.limit {
		c.finish()
	}
	return nil
}

func (c *reading) row(phase string) Row {
	row := c.m.row(phase)
	c.mu.Lock()
	defer c.mu.Unlock()
	row.Verified, row.Foreign = c.mu.verified, c.mu.foreign
	return row
}

// Consume measures consumers. A temporary topic is filled before.
func (p Plan) Consume(ctx context.Context) (rows []Row, err error) {
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close(ctx, &err)
	var wrote *meter
	if r.temporary {
		fill := *r
		fill.Duration = 0
		if wrote, err = fill.produce(ctx, "fill"); wrote == nil {
			return nil, err
		}
		rows = append(rows, wrote.row("fill"))
		if err != nil || ctx.Err() != nil {
			return rows, stopped(ctx, err)
		}
	}
	spans, err := r.spans(ctx)
	if err != nil {
		return rows, err
	}
	c, err := r.consume(ctx, "consume", spans)
	if c == nil {
		return rows, err
	}
	rows = append(rows, c.row("consume"))
	if err == nil && wrote != nil && c.mu.open == 0 {
		if err = c.same(wrote); err == nil {
			rows[0].Verified = rows[0].Records
		}
	}
	return rows, stopped(ctx, err)
}

// same checks that what was read is what was written: as many records, with the same sum of checksums.
func (c *reading) same(wrote *meter) error {
	if read, written := c.m.records.Load(), wrote.records.Load(); read != written || c.m.sum.Load() != wrote.sum.Load() {
		return fmt.Errorf("%d records were written and %d read, and they are not the same", written, read)
	}
	return nil
}

func (r *run) consumeOpts(i int, spans map[int32]*span, group string) []kgo.Opt {
	opts := []kgo.Opt{kgo.FetchMaxPartitionBytes(r.FetchBytes), kgo.KeepControlRecords()}
	if group != "" {
		// A partition changes hands only between a poll and the next: what was committed has then been checked.
		return append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(r.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll())
	}
	from := map[int32]kgo.Offset{}
	for partition, s := range spans {
		if int(partition)%max(1, r.Clients) == i && s.next < s.end {
			from[partition] = kgo.NewOffset().At(s.next)
		}
	}
	return append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: from}))
}

// consume reads the spans to their ends, or as far as the plan goes. The reading is nil if none could begin.
func (r *run) consume(ctx context.Context, phase string, spans map[int32]*span) (c *reading, err error) {
	group := ""
	if r.InGroup {
		group = fmt.Sprintf("varve-bench-%016x", r.id)
		defer func() { // after the members have left
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
			defer cancel()
			if _, derr := r.adm.DeleteGroup(ctx, group); derr != nil && c != nil {
				err = errors.Join(err, fmt.Errorf("the temporary group %s is left behind: %w", group, derr))
			}
		}()
	}
	clients, closeAll, err := r.clients(ctx, func(i int) []kgo.Opt { return r.consumeOpts(i, spans, group) })
	if err != nil {
		return nil, err
	}
	defer closeAll()
	c = newReading(r, newMeter(), spans)
	c.limit, c.m.joining = r.Records, r.InGroup
	defer c.m.tell(r.Progress, phase)()
	return c, stopped(ctx, c.poll(ctx, clients, r.Duration))
}

// poll reads with all clients until all is read, the time is over, or something is wrong.
func (c *reading) poll(ctx context.Context, clients []*kgo.Client, limit time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if limit > 0 {
		defer time.AfterFunc(limit, cancel).Stop()
	}
	var wg sync.WaitGroup
	for _, cl := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				fetches := cl.PollFetches(ctx)
				fetches.EachError(func(_ string, partition int32, err error) {
					if ctx.Err() == nil {
						c.m.fail(fmt.Errorf("partition %d: %w", partition, err))
						cancel()
					}
				})
				fetches.EachPartition(func(p kgo.FetchTopicPartition) {
					if err := c.take(p.Partition, p.Records); err != nil {
						c.m.fail(err)
						cancel()
					}
				})
				cl.AllowRebalance()
			}
		})
	}
	select {
	case <-ctx.Done():
	case <-c.whole:
	}
	cancel()
	wg.Wait()
	return c.m.firstError()
}
