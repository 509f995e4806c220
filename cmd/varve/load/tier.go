package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tierPoll is the time between two looks at where the segments are.
const tierPoll = 50 * time.Millisecond

// idleProgress is the time between two lines of progress when nothing moves.
const idleProgress = 10 * time.Second

// strata says where the offsets of a partition lie: the store has those below remoteEnd, the local disk those from localStart.
type strata struct{ localStart, remoteEnd, end int64 }

// Tier measures tiered storage: it writes a topic of small segments, waits until the closed ones are in the object store
// and gone from the local disks, and reads them back: first single batches at random places, then all.
func (p Plan) Tier(ctx context.Context) (rows []Row, err error) {
	own := p.Configs
	p.Configs = map[string]*string{}
	maps.Copy(p.Configs, own)
	for name, value := range map[string]string{"remote.storage.enable": "true", "segment.bytes": fmt.Sprint(p.SegmentBytes), "local.retention.bytes": "1"} {
		if p.Configs[name] == nil {
			p.Configs[name] = &value
		}
	}
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close(ctx, &err)
	wrote, err := r.produce(ctx, "produce")
	if wrote == nil {
		return nil, err
	}
	rows = append(rows, wrote.row("produce"))
	if err != nil || ctx.Err() != nil {
		return rows, stopped(ctx, err)
	}
	upload, err := r.upload(ctx, wrote.begun)
	if err != nil {
		return rows, stopped(ctx, err)
	}
	rows = append(rows, upload)
	where, err := r.evicted(ctx)
	if err != nil {
		return rows, stopped(ctx, err)
	}
	points, err := r.pointReads(ctx, where)
	if err != nil {
		return rows, stopped(ctx, err)
	}
	rows = append(rows, points)
	read, err := r.readBack(ctx, where, wrote)
	if err == nil {
		rows[0].Verified = rows[0].Records
	}
	return append(rows, read...), stopped(ctx, err)
}

// strata asks the special offsets of KIP-405 and KIP-1005.
func (r *run) strata(ctx context.Context) (map[int32]strata, error) {
	local, err1 := r.adm.ListLocalLogStartOffsets(ctx, r.Topic)
	remote, err2 := r.adm.ListLatestRemoteOffsets(ctx, r.Topic)
	ends, err3 := r.adm.ListEndOffsets(ctx, r.Topic)
	if err := errors.Join(err1, err2, err3, local.Error(), remote.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("asking which offsets are in the object store: %w", err)
	}
	out := map[int32]strata{}
	ends.Each(func(o kadm.ListedOffset) {
		l, _ := local.Lookup(o.Topic, o.Partition)
		re, _ := remote.Lookup(o.Topic, o.Partition)
		out[o.Partition] = strata{localStart: l.Offset, remoteEnd: re.Offset + 1, end: o.Offset}
	})
	return out, nil
}

// until looks at the strata until enough is true, and tells each second what for.
func (r *run) until(ctx context.Context, what string, enough func(map[int32]strata) bool) (map[int32]strata, error) {
	begun := time.Now()
	var last strata
	told := begun
	for {
		now, err := r.strata(ctx)
		if err != nil {
			return nil, err
		}
		if enough(now) {
			return now, nil
		}
		var sum strata
		for _, s := range now {
			sum.localStart, sum.remoteEnd, sum.end = sum.localStart+s.localStart, sum.remoteEnd+s.remoteEnd, sum.end+s.end
		}
		if time.Since(begun) > r.Patience {
			return nil, fmt.Errorf("%s: not within %v: of %d records %d are in the object store and %d have left the local disks. Has the cluster a tier, and how often does it look (remote.log.manager.task.interval.ms, log.retention.check.interval.ms)? --timeout waits longer",
				what, r.Patience, sum.end, sum.remoteEnd, sum.localStart)
		}
		if since := time.Since(told); since >= time.Second && sum != last || since >= idleProgress {
			told, last = time.Now(), sum
			fmt.Fprintf(r.Progress, "%s %4.0f s  of %d records %d are in the object store, %d have left the local disks\n", what, time.Since(begun).Seconds(), sum.end, sum.remoteEnd, sum.localStart)
		}
		if !sleep(ctx, tierPoll) {
			return nil, errInterrupted
		}
	}
}

// upload waits until all closed segments are in the store. The time begins with the first record, because uploads do.
func (r *run) upload(ctx context.Context, begun time.Time) (Row, error) {
	inOne := r.SegmentBytes / int64(r.RecordBytes) // that the open segment has at most, without compression
	m := &meter{begun: begun}
	_, err := r.until(ctx, "upload", func(now map[int32]strata) bool {
		closed, all := int64(0), true
		for _, s := range now {
			closed += s.remoteEnd
			all = all && s.end-s.remoteEnd <= inOne
		}
		if n := closed - m.records.Load(); n > 0 {
			m.done(n, n*int64(r.RecordBytes), 0)
		}
		return all
	})
	row := m.row("upload")
	if err == nil && row.Records == 0 {
		err = fmt.Errorf("nothing is in the object store: no segment was closed. Write more: --records above %d", int64(r.Partitions)*inOne)
	}
	return row, err
}

// evicted waits until what is in the store has left the local disks.
func (r *run) evicted(ctx context.Context) (map[int32]strata, error) {
	return r.until(ctx, "evict", func(now map[int32]strata) bool {
		for _, s := range now {
			if s.localStart < s.remoteEnd {
				return false
			}
		}
		return true
	})
}

// pointReads fetches one batch at each of some random offsets that only the store has.
func (r *run) pointReads(ctx context.Context, where map[int32]strata) (Row, error) {
	m := newMeter()
	defer m.tell(r.Progress, "first byte")()
	topics, err := r.adm.ListTopics(ctx, r.Topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return Row{}, fmt.Errorf("topic %s: %w", r.Topic, err)
	}
	rng := rand.New(rand.NewPCG(r.id, 1))
	for i := range r.Reads {
		partition := int32(i % len(where))
		if where[partition].localStart == 0 {
			continue
		}
		at, begun := rng.Int64N(where[partition].localStart), time.Now()
		n, err := r.fetchOne(ctx, topics[r.Topic], partition, at)
		if err != nil {
			return m.row("first byte"), fmt.Errorf("reading partition %d at offset %d from the object store: %w", partition, at, err)
		}
		m.took.add(time.Since(begun))
		m.done(1, int64(n), 0)
	}
	return m.row("first byte"), nil
}

// fetchOne asks for the one batch around an offset and returns how many bytes came.
func (r *run) fetchOne(ctx context.Context, topic kadm.TopicDetail, partition int32, at int64) (int, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, 1, 30_000
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic, t.TopicID = r.Topic, topic.ID
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, at, 1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	leader := r.cl.Broker(int(topic.Partitions[partition].Leader))
	for {
		answer, err := leader.RetriableRequest(ctx, req)
		if err != nil {
			return 0, err
		}
		resp := answer.(*kmsg.FetchResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return 0, err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return 0, errors.New("the answer has no partition")
		}
		got := resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return 0, err
		}
		if len(got.RecordBatches) > 0 {
			return len(got.RecordBatches), nil
		}
	}
}

// readBack reads all: what only the store has, then the rest, and checks that it is what was written.
func (r *run) readBack(ctx context.Context, where map[int32]strata, wrote *meter) ([]Row, error) {
	all := *r
	all.Records, all.Duration = 0, 0
	cold, hot := map[int32]*span{}, map[int32]*span{}
	for partition, s := range where {
		cold[partition], hot[partition] = &span{0, s.localStart}, &span{s.localStart, s.end}
	}
	first, err := all.consume(ctx, "cold read", cold)
	if err != nil {
		return nil, err
	}
	rows := []Row{first.row("cold read")}
	rest, err := all.consume(ctx, "local read", hot)
	if err != nil {
		return rows, err
	}
	rows = append(rows, rest.row("local read"))
	n, sum := first.m.records.Load()+rest.m.records.Load(), first.m.sum.Load()+rest.m.sum.Load()
	if n != wrote.records.Load() || sum != wrote.sum.Load() {
		return rows, fmt.Errorf("%d records were written and %d read, and they are not the same", wrote.records.Load(), n)
	}
	return rows, nil
}
