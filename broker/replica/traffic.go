package replica

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// traffic counts what comes and goes, since this process has the partition.
type traffic struct {
	records, bytesIn, bytesOut, produces, failedProduces, fetches, failedFetches atomic.Int64
}

// Traffic is what came to a partition and went from it since this process has it. Produces and
// Fetches are its parts of requests, those that failed included. Batches of coordinators count too, batches
// of producers that were repeated do not. Source: Kafka's BrokerTopicMetrics.
type Traffic struct {
	Records, BytesIn, BytesOut                       int64
	Produces, FailedProduces, Fetches, FailedFetches int64
}

// TrafficOf tells what came and went.
func TrafficOf(p *Partition) Traffic {
	t := &p.traffic
	return Traffic{
		Records: t.records.Load(), BytesIn: t.bytesIn.Load(), BytesOut: t.bytesOut.Load(),
		Produces: t.produces.Load(), FailedProduces: t.failedProduces.Load(),
		Fetches: t.fetches.Load(), FailedFetches: t.failedFetches.Load(),
	}
}

// came counts a batch of n records that was appended.
func (t *traffic) came(n, bytes int64) {
	t.records.Add(n)
	t.bytesIn.Add(bytes)
}

// produced counts the part of a Produce request.
func (t *traffic) produced(err error) {
	t.produces.Add(1)
	if err != nil {
		t.failedProduces.Add(1)
	}
}

// fetched counts the part of a Fetch request.
func (t *traffic) fetched(bytes int64, err error) {
	t.fetches.Add(1)
	if err != nil {
		t.failedFetches.Add(1)
	}
	if bytes > 0 {
		t.bytesOut.Add(bytes)
	}
}

// ReplicasOf is what the image says of the replicas: who leads (-1 for nobody), how many there are, how many
// are in sync, and how many acks=-1 asks for.
func ReplicasOf(p *Partition) (leader int32, all, inSync, minInSync int) {
	p.lead.RLock()
	defer p.lead.RUnlock()
	if p.lead.cfg != nil {
		minInSync = p.minInSyncLocked()
	}
	return p.lead.leader, p.lead.replicas, len(p.lead.isr), minInSync
}

// TimestampAt is the newest time in the batch that holds an offset, in ms; of an offset that only the
// object store has still the time at the start of the local log, which is no older. ok is false
// where there is no committed record. It reads the header of the batch from the log.
func TimestampAt(p *Partition, off int64) (tsMs int64, ok bool, err error) {
	log := p.Log()
	if log == nil {
		return 0, false, fmt.Errorf("partition %s: %w", p.tp, kafka.NotLeaderOrFollower)
	}
	r, err := log.Read(max(off, log.LocalStart()), batch.HeaderSize, p.HighWatermark(), true)
	if err != nil || r.Range.Len == 0 {
		return 0, false, err
	}
	defer r.Range.Release()
	var b [batch.HeaderSize]byte
	if _, err := r.Range.File.ReadAt(b[:], r.Range.Off); err != nil && !errors.Is(err, io.EOF) {
		return 0, false, fmt.Errorf("partition %s: read a batch header: %w", p.tp, err)
	}
	h, err := batch.ParseHeader(b[:])
	if err != nil {
		return 0, false, fmt.Errorf("partition %s: %w", p.tp, err)
	}
	return h.MaxTimestampMs, true, nil
}
