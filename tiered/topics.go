package tiered

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/manifest"
)

// TopicObject is what the bucket says about a topic.
type TopicObject = manifest.TopicObject

// maxTopicBytes bounds a topic object before it is read.
const maxTopicBytes = 16 << 20

// WriteTopic creates version t.Version of the topic's object. Writing the same again is
// success; another content under that version is kafka.InvalidUpdateVersion. ClusterID
// and WrittenMs are filled in.
func (m *Manager) WriteTopic(ctx context.Context, t TopicObject) error {
	t.ClusterID, t.WrittenMs = m.cluster, m.o.Now().UnixMilli()
	raw, err := t.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := m.request(ctx)
	defer cancel()
	_, err = m.o.Bucket.Put(ctx, t.Key(), objstore.Bytes(raw), objstore.PutOpts{IfAbsent: true, Meta: map[string]string{objstore.TokenMeta: kafka.NewUUID().String()}})
	if !errors.Is(err, objstore.ErrPrecondition) {
		return wrap(err, "write topic object of %s", t.Name)
	}
	there, err := getTopic(ctx, m.o.Bucket, t.Key())
	if err != nil {
		return wrap(err, "write topic object of %s", t.Name)
	}
	there.WrittenMs = t.WrittenMs
	if again, err := there.Encode(); err != nil || string(again) != string(raw) {
		return fmt.Errorf("topic %s: version %d is in the bucket with another content: %w", t.Name, t.Version, kafka.InvalidUpdateVersion)
	}
	return nil
}

// wrap adds context to an error, if there is one.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// getTopic reads one version.
func getTopic(ctx context.Context, b objstore.Bucket, key string) (*TopicObject, error) {
	raw, _, err := objstore.Get(ctx, b, key, maxTopicBytes)
	if err != nil {
		return nil, err
	}
	t, err := manifest.DecodeTopic(raw)
	return t, wrap(err, "%s", key)
}

// Topic reads the newest version of a topic's object. Errors match objstore.ErrNotFound
// when there is none.
func Topic(ctx context.Context, b objstore.Bucket, clusterID string, topicID kafka.UUID) (*TopicObject, error) {
	cluster, err := kafka.ParseUUID(clusterID)
	if err != nil {
		return nil, err
	}
	prefix, last := manifest.TopicObjectsPrefix(cluster, topicID), ""
	for a, err := range objstore.All(ctx, b, prefix, "") {
		if err != nil {
			return nil, err
		}
		if _, ok := manifest.ParseVersion(prefix, a.Key); ok {
			last = max(last, a.Key)
		}
	}
	if last == "" {
		return nil, objstore.NewError(objstore.ErrNotFound, "list", prefix, nil)
	}
	return getTopic(ctx, b, last)
}

// PurgeTopic removes every object of a deleted topic but its topic objects, which say
// first that the topic is being purged and then that it is gone. It may be repeated after
// a failure and continues then. The partitions are no longer led anywhere.
func (m *Manager) PurgeTopic(ctx context.Context, topicID kafka.UUID) error {
	rctx, cancel := m.request(ctx)
	defer cancel()
	t, err := Topic(rctx, m.o.Bucket, m.o.ClusterID, topicID)
	if errors.Is(err, objstore.ErrNotFound) {
		t, err = &TopicObject{TopicID: topicID, Name: topicID.String()}, nil
	}
	if err != nil {
		return wrap(err, "purge topic %s", topicID)
	}
	if t.State != manifest.TopicPurging && t.State != manifest.TopicPurged {
		t.Version, t.State = t.Version+1, manifest.TopicPurging
		if err := m.WriteTopic(ctx, *t); err != nil {
			return err
		}
	}
	if err := m.drain(ctx, topicID); err != nil {
		return wrap(err, "purge topic %s: wait for its last upload", t.Name)
	}
	keep := manifest.TopicObjectsPrefix(m.cluster, topicID)
	if err := m.removeAll(ctx, manifest.TopicPrefix(m.cluster, topicID), keep); err != nil {
		return wrap(err, "purge topic %s", t.Name)
	}
	m.cache.DropPrefix(topicID.Hex() + "-")
	if t.State == manifest.TopicPurged {
		return nil
	}
	t.Version, t.State = t.Version+1, manifest.TopicPurged
	return m.WriteTopic(ctx, *t)
}

// Purge removes every object of the partition, for a topic that was deleted; the topic
// object says so before. It ends the leadership.
func (p *Partition) Purge(ctx context.Context) error {
	p.m.Stop(p.id.TopicID, p.id.Partition)
	select { // the job in hand has been cancelled: wait until it is gone
	case p.token <- struct{}{}:
		defer func() { <-p.token }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.m.removeAll(ctx, p.id.Prefix(), ""); err != nil {
		return wrap(err, "tier of %s: purge", p.tp)
	}
	p.m.cache.DropPrefix(partitionName(p.id))
	return nil
}

// purgeBatch is how many keys one delete call names, purgePasses how often the listing
// must come back empty-handed at the latest.
const (
	purgeBatch  = 500
	purgePasses = 4
)

// removeAll deletes what starts with prefix and not with keep, and looks again until
// nothing is left: a late write of a stopped leader may arrive meanwhile.
func (m *Manager) removeAll(ctx context.Context, prefix, keep string) error {
	for range purgePasses {
		var keys []string
		for a, err := range objstore.All(ctx, m.o.Bucket, prefix, "") {
			if err != nil {
				return err
			}
			if keep == "" || len(a.Key) < len(keep) || a.Key[:len(keep)] != keep {
				keys = append(keys, a.Key)
			}
		}
		if len(keys) == 0 {
			return nil
		}
		for len(keys) > 0 {
			n := min(len(keys), purgeBatch)
			rctx, cancel := m.request(ctx)
			err := m.o.Bucket.Delete(rctx, keys[:n]...)
			cancel()
			if err != nil {
				return err
			}
			m.metrics.deleted.Add(float64(n))
			keys = keys[n:]
		}
	}
	return fmt.Errorf("objects below %s keep appearing: %w", prefix, errStillThere)
}

// ErrNoFence marks a bucket that accepts the same create-only write twice.
var ErrNoFence = errors.New("the bucket does not refuse to create an object twice: two brokers could overwrite each other's manifests")

// Canary checks, with an object of its own that it removes, that the bucket is there, may
// be written, read and deleted from, and refuses to create what exists. It is called
// before the broker serves.
func (m *Manager) Canary(ctx context.Context) error {
	ctx, cancel := m.request(ctx)
	defer cancel()
	key := manifest.CanaryKey(m.cluster, kafka.NewUUID())
	put := func(content string) error {
		_, err := m.o.Bucket.Put(ctx, key, objstore.Bytes([]byte(content)), objstore.PutOpts{IfAbsent: true, Meta: map[string]string{objstore.TokenMeta: kafka.NewUUID().String()}})
		return err
	}
	if err := put("first"); err != nil {
		return wrap(err, "bucket canary")
	}
	err := put("second")
	got, _, rerr := objstore.Get(ctx, m.o.Bucket, key, 1024)
	derr := m.o.Bucket.Delete(ctx, key)
	switch {
	case err == nil || rerr == nil && string(got) != "first":
		return fmt.Errorf("bucket canary: %w", ErrNoFence)
	case !errors.Is(err, objstore.ErrPrecondition):
		return wrap(err, "bucket canary: second create")
	case rerr != nil:
		return wrap(rerr, "bucket canary: read")
	}
	return wrap(derr, "bucket canary: delete")
}
