package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/tracing"
)

// change decides on records by the newest image and writes them as one entry. No records, no
// entry. The image it returns has the change. An entry that was proposed is waited for, even
// when ctx ends meanwhile: its fate would be unknown.
func (c *Controller) change(ctx context.Context, decide func(*metadata.Image) ([]metadata.Record, error)) (*metadata.Image, error) {
	if err := c.WaitLeader(ctx); err != nil {
		return nil, err
	}
	c.propose.Lock()
	defer c.propose.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	img := c.Image()
	records, err := decide(img)
	if err != nil || len(records) == 0 {
		return img, err
	}
	_, span := tracing.Start(ctx, "raft apply")
	span.Int("varve.metadata.records", int64(len(records)))
	img, err = c.write(records, img.Feature(metadata.FormatFeature))
	span.End(err)
	return img, err
}

// write proposes an entry and waits until it is applied here.
func (c *Controller) write(records []metadata.Record, level int16) (*metadata.Image, error) {
	entry, err := metadata.EncodeEntry(records, level)
	if err != nil {
		return nil, err
	}
	f := c.raft.Apply(entry, 0)
	if err := c.await(f); err != nil {
		return nil, c.notWritten(err)
	}
	if err, ok := f.Response().(error); ok {
		return nil, err
	}
	return c.Image(), nil
}

// notWritten says in Kafka's terms why an entry is not known to be in the log.
func (c *Controller) notWritten(err error) error {
	if failed := c.fsm.err(); failed != nil {
		return fmt.Errorf("%w: %w", failed, kafka.KafkaStorageError)
	}
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%v: %w", err, kafka.NotController)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%v: %w", err, kafka.RequestTimedOut) // it may be in the log all the same
	default:
		return fmt.Errorf("write the metadata log: %v: %w", err, kafka.KafkaStorageError)
	}
}

// Registration is one start of a broker's process.
type Registration struct {
	ID          int32
	Incarnation kafka.UUID // random, drawn at the start of the process
	Endpoints   []metadata.Endpoint
	Rack        string
	LogDirs     []kafka.UUID // ids of the log directories that are online
}

// RegisterBroker announces the start of a broker's process in one entry: its endpoints and
// directories, a new broker epoch, and a higher leader epoch for every partition that it
// leads. Nothing may be served before it. It returns the broker epoch.
func (c *Controller) RegisterBroker(ctx context.Context, r Registration) (int64, error) {
	img, err := c.change(ctx, func(*metadata.Image) ([]metadata.Record, error) {
		return []metadata.Record{metadata.RegisterBrokerRecord{
			ID: r.ID, Incarnation: r.Incarnation, Epoch: metadata.EpochOfEntry,
			Endpoints: r.Endpoints, Rack: r.Rack, LogDirs: r.LogDirs,
		}}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("register broker %d: %w", r.ID, err)
	}
	return img.Broker(r.ID).Epoch, nil
}

// AllocateProducerIDs hands out n producer ids that nobody had before, and returns the first.
// A crash may waste them.
func (c *Controller) AllocateProducerIDs(ctx context.Context, n int64) (first int64, err error) {
	if n <= 0 {
		return 0, fmt.Errorf("a block of %d producer ids: %w", n, kafka.InvalidRequest)
	}
	_, err = c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		first = img.NextProducerID()
		if first+n < first {
			return nil, fmt.Errorf("all producer ids are used up: %w", kafka.UnknownServerError)
		}
		return []metadata.Record{metadata.ProducerIDsRecord{Next: first + n}}, nil
	})
	return first, err
}
