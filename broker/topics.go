package broker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/tiered"
	"github.com/varve-io/varve/tiered/manifest"
)

// topicRetry is how long a topic's object waits after a failed attempt.
const topicRetry = 5 * time.Second

// topicObjects keeps the topic objects of the bucket in line with the image, so that the
// bucket describes itself: one is written when a tiered topic is created or its settings
// change, and a deleted topic's objects are purged. It runs where the metadata is led.
type topicObjects struct {
	tier     *tiered.Manager
	node     func() *config.Node
	purged   func(context.Context, kafka.UUID) error // records that a purge is complete
	failures prometheus.Counter
	logger   *slog.Logger
	wake     chan struct{}

	mu struct {
		sync.Mutex
		work map[kafka.UUID]topicWork
	}
}

// topicWork is what is due for one topic: its object, or, when topic is nil, its purge.
type topicWork struct {
	name  string
	topic *metadata.Topic
}

func newTopicObjects(n *Node) *topicObjects {
	t := &topicObjects{tier: n.tier, node: n.node, purged: n.controller.TopicPurged, failures: n.metrics.topicObject, logger: n.logger, wake: make(chan struct{}, 1)}
	t.mu.work = map[kafka.UUID]topicWork{}
	return t
}

// apply takes note of what an image asks for: what d says is new, and every purge that is
// still owed, an earlier process's too.
func (t *topicObjects) apply(img *metadata.Image, d *metadata.Delta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, topic := range slices.Concat(d.Created, d.Changed) {
		t.note(topic)
	}
	for topic := range img.Purging() {
		t.mu.work[topic.ID] = topicWork{name: topic.Name}
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// note asks for the object of a tiered topic. The caller holds mu.
func (t *topicObjects) note(topic *metadata.Topic) {
	if t.node().Topic(topic.Config).RemoteStorageEnable {
		t.mu.work[topic.ID] = topicWork{name: topic.Name, topic: topic}
	}
}

// run works through what is due until ctx ends. What fails is tried again.
func (t *topicObjects) run(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-retry.C:
		}
		if !t.pass(ctx) {
			retry.Reset(topicRetry)
		}
	}
}

// pass tries everything that is due once and says whether nothing is left.
func (t *topicObjects) pass(ctx context.Context) bool {
	t.mu.Lock()
	due := make(map[kafka.UUID]topicWork, len(t.mu.work))
	for id, w := range t.mu.work {
		due[id] = w
	}
	t.mu.Unlock()
	done := true
	for id, w := range due {
		if ctx.Err() != nil {
			return false
		}
		if err := t.do(ctx, id, w); err != nil {
			t.failures.Inc()
			t.logger.Warn("topic object is not up to date; it is tried again", "topic", w.name, "topicID", id.String(), "purge", w.topic == nil, "error", err)
			done = false
			continue
		}
		t.mu.Lock()
		if t.mu.work[id] == w {
			delete(t.mu.work, id)
		}
		t.mu.Unlock()
	}
	return done
}

func (t *topicObjects) do(ctx context.Context, id kafka.UUID, w topicWork) error {
	if w.topic == nil {
		if err := t.tier.PurgeTopic(ctx, id); err != nil {
			return err
		}
		return t.purged(ctx, id)
	}
	replicas := 1
	if len(w.topic.Partitions) > 0 {
		replicas = len(w.topic.Partitions[0].Replicas)
	}
	return t.tier.WriteTopic(ctx, tiered.TopicObject{
		TopicID: id, Version: uint64(w.topic.Version), Name: w.topic.Name, Partitions: int32(len(w.topic.Partitions)),
		ReplicationFactor: int16(replicas), State: manifest.TopicLive, Configs: w.topic.Config,
	})
}
