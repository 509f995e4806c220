package tiered

import (
	"context"
	"errors"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/tracing"
)

// String names a kind of job in traces.
func (k jobKind) String() string {
	return [...]string{"load", "claim", "copy", "expire", "truncate", "delete", "clean", "orphans", "copy state"}[k]
}

// traced does a job, as a span of its own.
func (p *Partition) traced(ctx context.Context, j job) error {
	if p.m.o.Tracer == nil {
		return p.drive(ctx, p.machine.start(j))
	}
	ctx, span := p.m.o.Tracer.Job(ctx, "tier "+j.kind.String())
	describe(span, p.tp, j.offset)
	err := p.drive(ctx, p.machine.start(j))
	if errors.Is(err, errNothing) {
		span.End(nil)
	} else {
		span.End(err)
	}
	return err
}

// describe notes which offset of which partition a span is about.
func describe(s *tracing.Span, tp kafka.TopicPartition, off int64) {
	if s == nil {
		return
	}
	s.String("messaging.destination.name", tp.Topic)
	s.Int("messaging.destination.partition.id", int64(tp.Partition))
	s.Int("messaging.kafka.offset", off)
}
